"""Tables about runs and records: costs of a run, lineage, withdrawn data."""

from __future__ import annotations

from catalog.tables.spec import (
    RECORDED,
    Column,
    TableSpec,
    number,
    text,
)

RUNS = TableSpec(
    "runs",
    ("run_id",),
    "One row per flow run with its costs",
    (
        text("run_id", "run:<flow>@sha12"),
        text("flow", "night, or the step that was asked for"),
        text("outcome", "ok, unchanged or failed"),
        Column("started_at", "TIMESTAMPTZ", "start", "UTC"),
        Column("ended_at", "TIMESTAMPTZ", "end", "UTC"),
        text("plan_sha256", "plan in force"),
        number("wall_seconds", "elapsed time", "seconds"),
        number("cpu_seconds", "processor time, children included", "seconds"),
        Column("peak_memory_bytes", "BIGINT", "largest resident set, children included", "bytes"),
        Column("written_bytes", "BIGINT", "bytes written", "bytes"),
        Column("threads", "BIGINT", "torch threads", "threads"),
        text("steps_json", "per step: outcome, wall and CPU seconds, peak memory, bytes"),
        text("faults_json", "faults without values"),
        text("versions_json", "library versions"),
        RECORDED,
    ),
)
LINEAGE = TableSpec(
    "lineage",
    ("child_id", "parent_id", "role"),
    "Edges from what was made to what it was made of",
    (
        text("child_id", "what was made"),
        text("parent_id", "what it was made of"),
        text("role", "batch, dataset, base, representation, member, target"),
        RECORDED,
    ),
)
RETRACTIONS = TableSpec(
    "retractions",
    ("retraction_id",),
    "Certificates of withdrawn data",
    (
        text("retraction_id", "sha12 of the certificate"),
        text("subject_id", "source or dataset version withdrawn"),
        text("reason", "why"),
        text("certificate_json", "what was erased, with hashes"),
        RECORDED,
    ),
)

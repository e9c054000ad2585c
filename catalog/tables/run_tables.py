"""Tables about runs and records: costs of a run, lineage, withdrawn data."""

from __future__ import annotations

from catalog.tables.spec import (
    RECORDED,
    Column,
    TableSpec,
    count,
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
        text("outcome", "ok, unchanged, alert, refused or failed"),
        Column("started_at", "TIMESTAMPTZ", "start", "UTC"),
        Column("ended_at", "TIMESTAMPTZ", "end", "UTC"),
        text("plan_sha256", "plan in force"),
        number("wall_seconds", "elapsed time", "seconds"),
        number("cpu_seconds", "processor time, children included", "seconds"),
        Column("peak_memory_bytes", "BIGINT", "largest resident set, children included", "bytes"),
        Column("written_bytes", "BIGINT", "bytes written to storage", "bytes"),
        Column("read_bytes", "BIGINT", "bytes read from storage, not from its cache", "bytes"),
        count("n_rows", "rows delivered while it ran, accepted or not"),
        Column("threads", "BIGINT", "torch threads", "threads"),
        text("steps_json", "per step: outcome, wall and CPU seconds, peak memory, bytes"),
        text("faults_json", "faults without values"),
        text("alerts_json", "what no step can mend and holds when the run ends, see mart.alerts"),
        text("versions_json", "library versions"),
        text(
            "files_json",
            "sha256 by name of the lake's files that were written since the close before, as JSON,"
            " and sha256 and length by path of LoRA-VecDB's; its own come with the next; null of"
            " runs made before they were recorded",
        ),
        text("link_sha256", "sha256 over the link before, and runs and core.links recorded since"),
        RECORDED,
    ),
)
LINKS = TableSpec(
    "links",
    ("table_name", "event", "moment", "recorded_at"),
    "What was recorded, by commit: hashes of rows of core, chained by core.runs.link_sha256",
    (
        text("run_id", "run whose close, or withdrawal whose commit, wrote it"),
        text("table_name", "table of core"),
        text("event", "recorded, superseded or retracted"),
        Column("moment", "TIMESTAMPTZ", "time of the event that the rows share", "UTC"),
        count("n_rows", "rows of the commit"),
        text("rows_sha256", "sha256 over the sorted hashes of the rows"),
        text(
            "row_hashes",
            "first 12 digits of each row's hash, sorted, of up to 4,096; of a run its first",
        ),
        text("reason", "'', or why rows were taken out since; the newest link of a commit counts"),
        RECORDED,
    ),
)
INTENTS = TableSpec(
    "intents",
    ("record_id", "run_id"),
    "Records that are being written to several stores; gone when they are true",
    (
        text("record_id", "base, representation, adapter or ensemble, or aliases:<target>"),
        text("run_id", "run that writes it"),
        text("workspace", "workspace of that run, by a name of its own"),
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
    "Withdrawn data: what is being erased, then the certificate",
    (
        text("retraction_id", "sha12 over the subject and all that it went into"),
        text("subject_id", "source or dataset version withdrawn"),
        text("source", "source of it"),
        text("reason", "why"),
        text("state", "withdrawn, erased or certified: how far it has come"),
        text("certificate_json", "what was erased, with hashes; before that what will be, by id"),
        Column("completed_at", "TIMESTAMPTZ", "when it was certified; null until then", "UTC"),
        RECORDED,
    ),
)

"""A lake whose report has every block: many targets and nights, long names, faults, drifts."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from catalog.report.page import write_report
from catalog.stores.lake.lake import Lake
from catalog.stores.vectors.vectors import Vectors
from rpe_core.records import Representation
from tests.catalog.lakes import fresh_lake
from tests.catalog.nights import Nights, day

ENCODER = "encoder:pico@0123456789ab"
ARMS = ("average", "nearest", "similarity", "linear", "linear_l1")
LONG = "letters_of_the_northern_regional_hospital_for_children_and_youth"
OWNER = "department-of-radiology-and-nuclear-medicine@hospital.example.org"
FAULT = "\n".join(
    ["ContractInvalid: 30 faults.", *(f"  in: sources/a.yaml, columns.c{n}" for n in range(30))]
)


def write_world(home: Path, *, n_sources: int = 12, n_targets: int = 5, n_nights: int = 4) -> Path:
    """Write the report of an eventful world below `home`; returns the page."""
    vectors = Vectors.open(str(home / "vectors"), lock_path=home / "writer.lock")
    sources, targets = names_of(n_sources, n_targets)
    with fresh_lake(home) as lake:
        _deliver(lake, sources, until=n_nights)
        _file(lake, vectors, sources)
        for number, target in enumerate(targets):
            _serve(lake, target, sources[number % n_sources], sources, number, n_nights)
        _add(lake, "runs", *(_run(number, number + 1 == n_nights) for number in range(n_nights)))
        file = home / "report" / "index.html"
        write_report(lake, vectors, file, targets=targets, min_groups=10)
    return file


def names_of(n_sources: int, n_targets: int) -> tuple[list[str], list[str]]:
    """Names of sources and targets, one of them as long as a name gets."""
    sources = [f"reports_of_site_{number:02d}" for number in range(n_sources - 1)]
    targets = [f"reports-of-site-{number:02d}" for number in range(n_targets - 1)]
    return [*sources, LONG], [LONG.replace("_", "-"), *targets]


def _deliver(lake: Lake, sources: list[str], *, until: int) -> None:
    """Contracts, files and dataset versions: one source is silent, one refused, two drift."""
    limits = json.dumps({"freshness": {"max_age_days": 7}})
    _add(lake, "sources", *(
        {"source": s, "contract_sha256": f"c-{s}", "title": f"Reports, sentences by section, {s}",
         "owner": OWNER, "license": "CC-BY-NC-4.0", "recorded_at": day(0) + timedelta(seconds=n),
         "contract_json": limits if n < 3 else "{}"}
        for n, s in enumerate(sources)
    ))  # fmt: skip
    _add(lake, "batches", *(
        {"batch_id": f"batch:{s}@1", "source": s, "file_uri": f"/deliveries/{s}.parquet",
         "file_sha256": f"{n:064x}", "outcome": "refused" if n == 1 else "accepted",
         "reason": "max_quarantined_ratio: 12 of 100 rows" if n == 1 else None,
         "n_rows": 12345, "n_accepted": 12000, "n_quarantined": 5 * (n % 3), "n_phi": n % 3}
        for n, s in enumerate(sources)
    ))  # fmt: skip
    versions = [(s, 1) for s in sources] + [(s, 2) for s in sources[:2]]
    _add(lake, "dataset_versions", *(
        {"dataset_version_id": f"dataset:{s}@{v:012d}", "source": s, "n_rows": 12000 + v,
         "n_labelled": 9000, "recorded_at": day(v - 1),
         "superseded_at": day(1) if v == 1 and s in sources[:2] else None}
        for s, v in versions
    ))  # fmt: skip


def _file(lake: Lake, vectors: Vectors, sources: list[str]) -> None:
    """Representations as reference and as target, crowded in two heaps; two of them have moved."""
    rng = np.random.default_rng(0)
    rows = []
    for number, source in enumerate(sources):
        for role in ("reference", "target"):
            middle = np.array([3.0 * (number % 2), 0.3 * (number % 5), 0.0, 0.0])
            z = tuple((middle + 0.02 * rng.standard_normal(4)).tolist())
            version = 2 if number < 2 else 1
            name, dataset = f"representation:{source}@{role}", f"dataset:{source}@{version:012d}"
            vectors.put(Representation(name, dataset, ENCODER, role, 100, z, (0.5,) * 4))
            rows.append({"representation_id": name, "dataset_version_id": dataset, "role": role,
                         "encoder_id": ENCODER, "n_items": 1000, "n_groups": 100})  # fmt: skip
    for source in sources[:2]:
        rows.append({"representation_id": f"representation:{source}@before", "role": "target",
                     "dataset_version_id": f"dataset:{source}@{1:012d}", "encoder_id": ENCODER,
                     "n_items": 900, "n_groups": 90})  # fmt: skip
    _add(lake, "representations", *rows)
    _add(lake, "drifts", *(
        {"representation_id": f"representation:{s}@target", "distance": far, "noise": 0.1,
         "former_id": f"representation:{s}@before", "standard_error": 0.01}
        for s, far in zip(sources[:2], (0.42, 0.09), strict=True)
    ))  # fmt: skip


def _serve(
    lake: Lake, target: str, own: str, sources: list[str], number: int, n_nights: int
) -> None:
    """Nights of a target: the first promotes, the rest refuse; every fourth target abstains.

    Only even targets are asked again after the second night: of the others verdicts stand.
    """
    nights = Nights(lake, target)
    last = n_nights if number % 2 == 0 else min(2, n_nights)
    for n in range(last):
        scores = {arm: 0.9 - 0.03 * i - 0.02 * n for i, arm in enumerate(("base", *ARMS)[::-1])}
        names = {arm: f"{arm}{n}" for arm in ARMS}
        if n and number % 4 != 3:
            scores["champion"], names["champion"] = 0.93 - 0.1 * n, "linear_l10"
        nights.evaluation(n, scores, names)
        if number % 4 == 3:
            nights.verdict(n + 0.05, "abstained", "base", "", reasons=_GUARD)
        elif n == 0:
            nights.verdict(0.05, "promoted", "linear_l1", "linear_l10", version="1")
        else:
            nights.verdict(n + 0.05, "refused", "linear_l1", f"linear_l1{n}",
                           champion="linear_l10", version=str(n + 1), reasons=_REFUSED)  # fmt: skip
    for row in nights.rows.get("promotions", []):
        row["dataset_version_id"] = f"dataset:{own}@{1:012d}"
    for row in nights.rows.get("ensembles", []):
        row.update(reason=_GUARD, abstained=number % 4 == 3, distance_ratio=2.4)
    for row in nights.rows.get("comparisons", []):
        row.update(level=0.0042, p_value=0.01, n_new_groups=12, wealth=1.5, wealth_asked=40.0)
    nights.write()
    members = [(s, w) for s, w in zip(sources[:4], (0.5, 0.4, 0.3, -0.2), strict=False)]
    _add(lake, "adapters", *(
        {"adapter_id": f"adapter:{s}@1", "source": s, "base_id": "pico@1",
         "dataset_version_id": f"dataset:{s}@{1:012d}"}
        for s, _ in members
    ))  # fmt: skip
    _add(lake, "ensemble_members", *(
        {"ensemble_id": nights.ensemble(f"{arm}{n}"), "adapter_id": f"adapter:{s}@1",
         "strategy": arm, "weight": w, "distance": 0.5}
        for n in range(last) for arm in ARMS for s, w in members
    ))  # fmt: skip
    _add(lake, "lineage", *(
        {"child_id": f"dataset:{s}@{1:012d}", "parent_id": f"batch:{s}@1", "role": "batch"}
        for s, _ in members
    ))  # fmt: skip


_GUARD = "out of domain: distance ratio 2.37 > 1.5 (uncalibrated, 6 references)"
_REFUSED = (
    "Wins against base: accuracy +0.200 (0.95 interval +0.100 to +0.300, 50 items in 40 groups).\n"
    "Ties against the champion: accuracy +0.000 (0.95 interval -0.010 to +0.010, 50 items).\n"
    "Challenger 2 on this test set: 0.0167 of 0.025 is spent."
)


def _run(number: int, is_last: bool) -> dict[str, Any]:
    """A run of a night; the last one failed and has something to look at."""
    step = {"done": ["a", "b"], "failed": [], "wall_seconds": 83.2, "cpu_seconds": 71.5,
            "peak_memory_bytes": 1.3e9, "read_bytes": 1 << 20, "written_bytes": 4096}  # fmt: skip
    names = ("ingest", "embed", "train", "ensemble", "evaluate", "promote")
    fault = {"step": "ingest", "unit": LONG, "kind": "ContractInvalid", "message": FAULT,
             "exit_code": 2}  # fmt: skip
    drift = {
        "kind": "drift",
        "source": "reports_of_site_00",
        "subject": "reports_of_site_00",
        "message": "4.2 times what chance would move it",
        "remedy": "`rpe source findings`",
    }
    alert = {"kind": "silent", "source": LONG, "message": f"{LONG} has been silent for 9.1 days",
             "remedy": f"ask who delivers it; `rpe source show {LONG}` lists it"}  # fmt: skip
    return {
        "run_id": f"run:night@{number:012d}", "flow": "night",
        "outcome": "failed" if is_last else "ok", "started_at": day(number),
        "ended_at": day(number + 0.1), "recorded_at": day(number + 0.1), "wall_seconds": 8640.0,
        "cpu_seconds": 800.0, "peak_memory_bytes": 1_300_000_000, "read_bytes": 1 << 30,
        "written_bytes": 1 << 20, "n_rows": 123456,
        "steps_json": json.dumps([{"name": n, **step} for n in names], separators=(",", ":")),
        "faults_json": json.dumps([fault] if is_last else []),
        "alerts_json": json.dumps([alert, drift] if is_last else []),
    }  # fmt: skip


def _add(lake: Lake, table: str, *rows: dict[str, Any]) -> None:
    with lake.transaction(message="test", run=None) as commit:
        commit.insert_new(table, rows)

"""The report: one static HTML file, no server, no network, readable at phone width."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from catalog.report import charts, queries
from catalog.report.experiments import (
    ExperimentTables,
    MethodComparison,
    heading,
    newest_experiments,
    read_experiment,
    shown,
    shown_quantity,
    told,
)
from catalog.stores.disk import disk_errors
from catalog.stores.lake import Lake
from catalog.stores.vectors import Vectors

CHARTED = 24  # targets with charts, which take 0.4 s each; the table above them has every target


def write_report(
    lake: Lake, vectors: Vectors, file: Path, *, targets: Sequence[str], min_groups: int
) -> None:
    """Write the page from the lake, whole or not at all; it maps z of `min_groups` or more."""
    template = files("catalog.report").joinpath("page.html").read_text()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    html = environment.from_string(template).render(_facts(lake, vectors, targets, min_groups))
    with disk_errors("the report", file):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".part")
        temporary.write_text(html)
        temporary.replace(file)


def _facts(lake: Lake, vectors: Vectors, targets: Sequence[str], min_groups: int) -> dict[str, Any]:
    run = queries.read_last_run(lake) or {}
    experiments = [read_experiment(lake, name) for name in newest_experiments(lake)]
    verdicts = queries.read_verdicts(lake, targets=targets)
    return {
        "run": run,
        "steps": json.loads(run.get("steps_json") or "[]"),
        "faults": json.loads(run.get("faults_json") or "[]"),
        "alerts": queries.read_alerts(lake),
        "verdicts": verdicts,
        "spending": queries.read_spending(lake, targets=targets),
        "counts": _counts(verdicts),
        "targets": _targets(lake, verdicts[:CHARTED]),
        "map": _map(lake, vectors, min_groups),
        "min_groups": min_groups,
        "experiments": [x for x in experiments if isinstance(x, ExperimentTables)],
        "comparisons": [_compared(x) for x in experiments if isinstance(x, MethodComparison)],
        "shown": shown,
        "shown_quantity": shown_quantity,
        "heading": heading,
        "told": told,
        "sources": queries.read_sources(lake),
        "drifts": queries.read_drifts(lake),
        "served": queries.read_served(lake, targets=targets),
    }


def _counts(verdicts: Sequence[queries.Row]) -> dict[str, int]:
    found = [row["verdict"] for row in verdicts]
    return {name: found.count(name) for name in sorted(set(found))}


def _targets(lake: Lake, verdicts: Sequence[queries.Row]) -> list[dict[str, Any]]:
    names = [row["target"] for row in verdicts]
    arms = queries.by_target(queries.read_arms(lake, targets=names))
    members = queries.by_target(queries.read_members(lake, targets=names))
    return [_target(v, arms.get(v["target"], []), members.get(v["target"], [])) for v in verdicts]


def _target(
    verdict: queries.Row, arms: Sequence[queries.Row], members: Sequence[queries.Row]
) -> dict[str, Any]:
    metric = arms[0]["metric"] if arms else ""
    shown = [row for row in arms if row["metric"] == metric]
    challenger = verdict.get("challenger", "")
    if shown and shown[0]["split"] == "leave_one_out":
        challenger = "auto"
    return {
        **verdict,
        "name": verdict["target"],
        "arms": charts.draw_arms(shown, challenger=challenger) if shown else "",
        "weights": charts.draw_weights(members) if members else "",
        "guards": sorted({row["reason"] for row in members if row["reason"]}),
    }


def _compared(found: MethodComparison) -> dict[str, Any]:
    drawn = ("own", "elsewhere", *found.asked["strategies"])
    return {"tables": found, "chart": charts.draw_methods(found.table(), drawn)}


def _map(lake: Lake, vectors: Vectors, min_groups: int) -> str:
    places = queries.read_places(lake, min_groups=min_groups)
    known = vectors.representations([row["representation_id"] for row in places])
    encoders = sorted({row["encoder_id"] for row in places})
    drawn = []
    for encoder in encoders:
        rows = [row for row in places if row["encoder_id"] == encoder]
        if len(rows) < 2:
            continue
        z = np.array([known[row["representation_id"]].z for row in rows])
        drawn.append(charts.draw_map([r["source"] for r in rows], [r["role"] for r in rows], z))
    return "".join(drawn)

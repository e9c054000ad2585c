"""What the page tells, read from the lake once: plain values for the templates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from catalog.errors import StoreError
from catalog.report import blocks, charts, experiment_blocks, map_chart, queries, words
from catalog.report.colours import colours_of
from catalog.report.experiments import (
    ExperimentTables,
    MethodComparisonTable,
    newest_experiments,
    read_experiment,
)
from catalog.report.tables import count_of, in_words, to_the_second
from catalog.stores.lake.lake import Lake
from catalog.stores.vectors.vectors import Vectors

CHARTED = 60  # targets with charts; the tables above them have every target
_BREACH = 3  # exit code of a fault that says that a delivery was refused
FIRST_LINES = 12  # of a fault; the rest is folded
Row = Mapping[str, Any]


def read_facts(
    lake: Lake, vectors: Vectors, run: Row, targets: Sequence[str], min_groups: int
) -> dict[str, Any]:
    """All that a page of this run tells, but for what depends on where the page lies."""
    hues = colours_of(queries.read_order(lake))
    colours = {source: f"var(--s{number})" for number, source in enumerate(hues)}
    alerts = queries.read_alerts(lake)
    ended = queries.read_ended(lake, run_id=run.get("run_id", ""))
    facts = {
        "palette": _palette(hues),
        "colours": colours,
        "alerts": alerts,
        "ended": ended,
        "drawn": targets[:CHARTED],
        "maps": _maps(lake, vectors, min_groups),
        "height": map_chart.HEIGHT,
        "min_groups": min_groups,
        **_night(lake, run, targets, colours, alerts=alerts),
        **_sources(lake, targets, colours, alerts),
        **_experiments(lake),
    }
    return facts | {"blocks": _blocks(facts)}


def _night(
    lake: Lake,
    run: Row,
    targets: Sequence[str],
    colours: Mapping[str, str],
    *,
    alerts: Sequence[Row],
) -> dict[str, Any]:
    """What became of the run: outcome, faults, decisions, costs."""
    run_id = run.get("run_id", "")
    tonight = queries.read_decisions(lake, targets=targets, run_id=run_id)
    before = queries.read_standing_verdicts(lake, targets=targets, run_id=run_id)
    by_target = {row["target"]: row for row in (*tonight, *before)}  # a person's word came later
    verdicts = [by_target[name] for name in targets]
    steps = json.loads(run.get("steps_json") or "[]")
    faults = _untold(json.loads(run.get("faults_json") or "[]"), alerts)
    spent = queries.read_spending(lake, targets=targets)
    cards = _targets(lake, verdicts[:CHARTED], colours)
    guards = [guard for card in cards for guard in card["guards"]]
    return {
        "title": _title(run),
        "run": run,
        "outcome": words.OUTCOMES.get(run.get("outcome", ""), ""),
        "tiles": _tiles(tonight, verdicts, len(faults), len(alerts)),
        "faults": [_fault(fault) for fault in faults],
        "tonight": blocks.decisions(tonight, targets[:CHARTED]) if tonight else None,
        "before": before,
        "spending": blocks.spending_table(spent) if spent else None,
        "targets": cards,
        "guard_terms": words.terms_in(" ".join([*guards, *(row["reason"] for row in verdicts)])),
        "n_targets": len(verdicts),
        "steps": blocks.costs(steps) if steps else None,
        "steps_told": words.of_steps(steps),
    }


def _sources(
    lake: Lake, targets: Sequence[str], colours: Mapping[str, str], alerts: Sequence[Row]
) -> dict[str, Any]:
    """Health and drift of the sources, and what of them is served."""
    sources, drifts = queries.read_sources(lake), queries.read_drifts(lake)
    served = queries.read_served(lake, targets=targets)
    refused = {alert["source"] for alert in alerts if alert["kind"] == "refused"}
    drifting = {alert["source"] for alert in alerts if alert["kind"] == "drift"}
    return {
        "sources": blocks.sources(sources, colours, refused) if sources else None,
        "sources_told": words.of_sources(sources, refused),
        "drifts": blocks.drifts(drifts, colours, drifting) if drifts else None,
        "served": blocks.champions_table(served, colours) if served else None,
    }


def _title(run: Row) -> str:
    if not run:
        return "The night"
    day = to_the_second(run["started_at"])[:10]
    name = "The night" if run["flow"] == "night" else f"Run of {in_words(run['flow'])}"
    return f"{name} of {day}" if run["flow"] == "night" else f"{name}, {day}"


def _blocks(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    known = (
        ("failed", "Failed", "faults"),
        ("alerts", "Alerts", "alerts"),
        ("ended", "Resolved", "ended"),
        ("tonight", "Decided tonight", "tonight"),
        ("standing", "Still in force", "before"),
        ("spending", "Error budget", "spending"),
        ("targets", "Targets", "targets"),
        ("map", "Map", "maps"),
        ("sources", "Sources", "sources"),
        ("drift", "Drift", "drifts"),
        ("served", "Champions", "served"),
        ("costs", "Costs", "steps"),
    )
    return [(anchor, name) for anchor, name, key in known if facts[key]]


def _palette(hues: Mapping[str, tuple[str, str]]) -> Markup:
    """Style sheet of the colours: two of each source, for either scheme."""

    def sheet(which: int) -> str:
        return "".join(f"--s{n}:{pair[which]};" for n, pair in enumerate(hues.values()))

    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {sheet(1)} }} }}"
    return Markup(f":root {{ {sheet(0)} }}\n{dark}")  # noqa: S704 (numbers of ours alone)


def _tiles(
    tonight: Sequence[Row],
    verdicts: Sequence[Row],
    n_faults: int,
    n_alerts: int,
) -> list[tuple[int, str]]:
    actions = [row["verdict"] for row in tonight]
    tiles = [(actions.count(name), f"{in_words(name)} tonight") for name in sorted(set(actions))]
    if verdicts:
        served = sum(bool(row["serves_version"]) for row in verdicts)
        tiles.append((served, f"of {count_of(len(verdicts), 'target')} served by an ensemble"))
    for n, name in ((n_faults, "fault"), (n_alerts, "alert")):
        if n:
            tiles.append((n, count_of(n, name).split(" ", 1)[1]))
    return tiles


def _untold(faults: Sequence[Row], alerts: Sequence[Row]) -> list[Row]:
    """The faults but for refused deliveries that stand among the alerts: once is enough."""
    alerted = {
        fault["unit"]
        for fault in faults
        for alert in alerts
        if (alert["kind"], alert["subject"]) == ("refused", fault["unit"])
        and alert["cause"] in fault["message"]
    }
    return [
        fault
        for fault in faults
        if fault.get("exit_code") != _BREACH or fault["unit"] not in alerted
    ]


def _fault(fault: Row) -> dict[str, Any]:
    lines = str(fault["message"]).split("\n")
    return {
        **fault,
        "begin": "\n".join(lines[:FIRST_LINES]),
        "rest": "\n".join(lines[FIRST_LINES:]),
        "n_more": max(len(lines) - FIRST_LINES, 0),
    }


def _targets(
    lake: Lake,
    verdicts: Sequence[queries.Row],
    colours: Mapping[str, str],
) -> list[dict[str, Any]]:
    names = [row["target"] for row in verdicts]
    arms = queries.by_target(queries.read_arms(lake, targets=names))
    members = queries.by_target(queries.read_members(lake, targets=names))
    history = queries.by_target(queries.read_history(lake, targets=names))
    owners = queries.read_owners(lake, targets=names)
    return [
        _target(
            verdict,
            arms.get(verdict["target"], []),
            members.get(verdict["target"], []),
            charts.nights_of(history.get(verdict["target"], [])),
        )
        | {"colour": colours.get(owners.get(verdict["target"], ""), "var(--link)")}
        for verdict in verdicts
    ]


def _target(
    verdict: queries.Row,
    arms: Sequence[queries.Row],
    members: Sequence[queries.Row],
    trend: Sequence[Row],
) -> dict[str, Any]:
    metric = arms[0]["metric"] if arms else ""
    shown = [row for row in arms if row["metric"] == metric]
    challenger = verdict.get("challenger", "")
    if shown and shown[0]["split"] == "leave_one_out":
        challenger = "auto"
    challenger = "" if challenger == "base" else challenger
    text = f"{blocks.served_by(verdict)} answers."
    if verdict["verdict"] == "abstained":
        text += f" {words.of_abstention(shown)}"
    else:
        text += f" Last verdict: {words.of_verdict(verdict)}."
    return {
        "name": verdict["target"],
        "anchor": blocks.anchor(verdict["target"]),
        "verdict": verdict["verdict"],
        "told": text,
        "arms": charts.arms_chart(shown, marked=challenger) if shown else None,
        "weights": charts.weights_chart(members) if members else None,
        "trend": charts.trend_chart(trend),
        "trend_told": words.of_trend(trend),
        "guards": words.of_guards(sorted({row["reason"] for row in members if row["reason"]})),
    }


def _experiments(lake: Lake) -> dict[str, Any]:
    tables = [read_experiment(lake, name) for name in newest_experiments(lake)]
    drawn = experiment_blocks
    return {
        "experiments": [
            {
                "tables": x,
                "stated": drawn.expectations_table(x.findings),
                "blocks": [
                    *((metric, drawn.scores(x, metric)) for metric in x.metrics),
                    ("Weights", drawn.weights(x)),
                    *(
                        (f"Distance: {in_words(kind)}", drawn.distances(x, kind))
                        for kind in x.distances
                    ),
                    ("What each distance picks as nearest", drawn.nearest(x)),
                ],
            }
            for x in tables
            if isinstance(x, ExperimentTables)
        ],
        "comparisons": [
            {
                "tables": x,
                "stated": drawn.expectations_table(x.findings),
                "charts": drawn.method_charts(x),
                "blocks": [(s or "All sources", drawn.methods(x, s)) for s in ["", *x.sources]],
            }
            for x in tables
            if isinstance(x, MethodComparisonTable)
        ],
    }


def _maps(lake: Lake, vectors: Vectors, min_groups: int) -> list[map_chart.Map]:
    places = queries.read_places(lake, min_groups=min_groups)
    try:
        known = vectors.representations([row["representation_id"] for row in places])
    except StoreError:  # damage, which a step or `rpe doctor` tells; the page goes without a map
        return []
    drawn = []
    for encoder in sorted({row["encoder_id"] for row in places}):
        rows = [row for row in places if row["encoder_id"] == encoder]
        if len(rows) < 2:
            continue
        z = np.array([known[row["representation_id"]].z for row in rows])
        names, roles = [row["source"] for row in rows], [row["role"] for row in rows]
        drawn.append(map_chart.library_map(names, roles, z))
    return drawn

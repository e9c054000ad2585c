"""The report: one static HTML file, no server, no script, no network, readable at phone width."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from catalog.report import archive, blocks, charts, experiment_blocks, map_chart, queries, words
from catalog.report.colours import colours_of
from catalog.report.experiments import (
    ExperimentTables,
    MethodComparison,
    newest_experiments,
    read_experiment,
)
from catalog.report.tables import counted, duration, in_words, size, to_the_second
from catalog.stores.lake import Lake
from catalog.stores.vectors import Vectors

CHARTED = 60  # targets with charts; the tables above them have every target
LISTED = 14  # nights that the page lists; the archive has them all
FIRST_LINES = 12  # of a fault; the rest is folded
Row = Mapping[str, Any]


def write_report(
    lake: Lake, vectors: Vectors, file: Path, *, targets: Sequence[str], min_groups: int
) -> None:
    """Write the page from the lake, whole or not at all; it maps z of `min_groups` or more.

    The page tells of the newest run that found something to do. It is kept a second time under
    `nights/`, once; a page that lies there is never written again.
    """
    template, run = _environment().get_template, queries.read_last_run(lake)
    facts = _facts(lake, vectors, run or {}, targets, min_groups)
    folder, pages = file.parent / archive.FOLDER, archive.pages_of(file)
    if run and run["run_id"] not in pages:
        html = template("page.html").render(facts | _placed(lake, facts, pages, is_newest=False))
        archive.write_page(folder / archive.page_name(run), html)
        pages = archive.pages_of(file)
    if pages:
        listed = blocks.nights(queries.read_runs(lake, runs=list(pages)), pages)
        archive.write_page(folder / archive.LIST, template("nights.html").render(nights=listed))
    html = template("page.html").render(facts | _placed(lake, facts, pages, is_newest=True))
    archive.write_page(file, html)


def is_written(lake: Lake, file: Path) -> bool:
    """Whether the newest run that found something to do has its report."""
    run = queries.read_last_run(lake)
    return file.exists() and (run is None or run["run_id"] in archive.pages_of(file))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("catalog.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = _coded
    environment.globals.update(at=to_the_second, duration=duration, size=size)
    return environment


def _coded(text: str) -> Markup:
    """A text in which what stands between backticks is a command."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _placed(
    lake: Lake, facts: Mapping[str, Any], pages: Mapping[str, str], *, is_newest: bool
) -> dict[str, Any]:
    """What of a page depends on where it lies: links to other reports, and tables with them."""
    prefix = f"{archive.FOLDER}/" if is_newest else ""
    own = facts["run"].get("run_id", "")
    there = {run_id: prefix + name for run_id, name in pages.items()}
    before = [name for run_id, name in there.items() if run_id != own]
    nights = queries.read_nights(lake)
    told = "Each report is kept as it was written."
    if len(nights) > LISTED:
        told += f" These are the last {LISTED} of {len(nights):,} nights."
    standing = facts["before"]
    return {
        "newer": "" if is_newest else f"../{archive.NEWEST}",
        "previous": before[-1] if before else "",
        "all_nights": f"{prefix}{archive.LIST}" if own else "",
        "standing": blocks.standing(standing, facts["drawn"], there) if standing else None,
        "nights": blocks.nights(nights[:LISTED], there) if nights else None,
        "nights_told": told,
    }


def _facts(
    lake: Lake, vectors: Vectors, run: Row, targets: Sequence[str], min_groups: int
) -> dict[str, Any]:
    run_id = run.get("run_id", "")
    tonight = queries.read_decisions(lake, targets=targets, run_id=run_id)
    before = queries.read_standing_verdicts(lake, targets=targets, run_id=run_id)
    found = {row["target"]: row for row in (*tonight, *before)}  # a person's word came later
    verdicts = [found[name] for name in targets]
    hues = colours_of(queries.read_order(lake))
    colours = {source: f"var(--s{number})" for number, source in enumerate(hues)}
    steps = json.loads(run.get("steps_json") or "[]") if run else []
    faults = json.loads(run.get("faults_json") or "[]") if run else []
    alerts = json.loads(run.get("alerts_json") or "[]") if run else []
    spent, drifts = queries.read_spending(lake, targets=targets), queries.read_drifts(lake)
    served, sources = queries.read_served(lake, targets=targets), queries.read_sources(lake)
    facts = {
        "title": _title(run),
        "run": run,
        "outcome": words.OUTCOMES.get(run["outcome"], "") if run else "",
        "palette": _palette(hues),
        "colours": colours,
        "tiles": _tiles(tonight, verdicts, faults, alerts),
        "faults": [_fault(fault) for fault in faults],
        "alerts": alerts,
        "tonight": blocks.decisions(tonight, targets[:CHARTED]) if tonight else None,
        "before": before,
        "drawn": targets[:CHARTED],
        "spending": blocks.spending(spent) if spent else None,
        "targets": _targets(lake, verdicts[:CHARTED], colours),
        "n_targets": len(verdicts),
        "maps": _maps(lake, vectors, min_groups),
        "height": map_chart.HEIGHT,
        "min_groups": min_groups,
        "sources": blocks.sources(sources, colours) if sources else None,
        "sources_told": _told_of_sources(sources),
        "drifts": blocks.drifts(drifts, colours) if drifts else None,
        "served": blocks.served(served, colours) if served else None,
        "steps": blocks.costs(steps) if steps else None,
        "steps_told": words.of_steps(steps),
        **_experiments(lake),
    }
    return facts | {"blocks": _blocks(facts)}


def _title(run: Row) -> str:
    if not run:
        return "The night"
    day = to_the_second(run["started_at"])[:10]
    name = "The night" if run["flow"] == "night" else f"Run of {in_words(run['flow'])}"
    return f"{name} of {day}" if run["flow"] == "night" else f"{name}, {day}"


def _blocks(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    known = (
        ("failed", "Failed", "faults"),
        ("alerts", "Needs a look", "alerts"),
        ("tonight", "Decided tonight", "tonight"),
        ("standing", "Standing", "before"),
        ("targets", "Targets", "targets"),
        ("map", "Map", "maps"),
        ("sources", "Sources", "sources"),
        ("drift", "Drift", "drifts"),
        ("served", "Behind champions", "served"),
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
    faults: Sequence[Row],
    alerts: Sequence[Row],
) -> list[tuple[int, str]]:
    found = [row["verdict"] for row in tonight]
    tiles = [(found.count(name), f"{in_words(name)} tonight") for name in sorted(set(found))]
    if verdicts:
        served = sum(bool(row["serves_version"]) for row in verdicts)
        tiles.append((served, f"of {counted(len(verdicts), 'target')} served by an ensemble"))
    tiles += [(len(rows), counted(len(rows), name).split(" ", 1)[1])
              for name, rows in (("fault", faults), ("alert", alerts)) if rows]  # fmt: skip
    return tiles


def _fault(fault: Row) -> dict[str, Any]:
    lines = str(fault["message"]).split("\n")
    return {
        **fault,
        "begin": "\n".join(lines[:FIRST_LINES]),
        "rest": "\n".join(lines[FIRST_LINES:]),
        "n_more": max(len(lines) - FIRST_LINES, 0),
    }


def _told_of_sources(sources: Sequence[Row]) -> str:
    silent = [row["source"] for row in sources if row["is_stale"]]
    refused = [row["source"] for row in sources if row["last_outcome"] == "refused"]
    parts = []
    if silent:
        parts.append(f"Silent for longer than allowed: {', '.join(silent)}; ask their owners.")
    if refused:
        parts.append(
            f"The last file of {', '.join(refused)} was refused; `rpe source findings SOURCE` tells"
            " which rows and why."
        )
    return " ".join(parts) or "Every source has delivered within its limits; nothing to do."


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
    told = f"{blocks.served_by(verdict)} answers."
    if verdict["verdict"] == "abstained":
        told += f" {words.of_abstention(shown)}"
    else:
        told += f" Last verdict: {words.ACTIONS.get(verdict['verdict'], verdict['verdict'])}."
    return {
        "name": verdict["target"],
        "anchor": blocks.anchor(verdict["target"]),
        "verdict": verdict["verdict"],
        "told": told,
        "arms": charts.arms_chart(shown, marked=challenger) if shown else None,
        "weights": charts.weights_chart(members) if members else None,
        "trend": charts.trend_chart(trend),
        "trend_told": words.of_trend(trend),
        "guards": words.of_guards(sorted({row["reason"] for row in members if row["reason"]})),
    }


def _experiments(lake: Lake) -> dict[str, Any]:
    found = [read_experiment(lake, name) for name in newest_experiments(lake)]
    drawn = experiment_blocks
    return {
        "experiments": [
            {
                "tables": x,
                "stated": drawn.stated(x.findings),
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
            for x in found
            if isinstance(x, ExperimentTables)
        ],
        "comparisons": [
            {
                "tables": x,
                "stated": drawn.stated(x.findings),
                "charts": drawn.method_charts(x),
                "blocks": [(s or "All sources", drawn.methods(x, s)) for s in ["", *x.sources]],
            }
            for x in found
            if isinstance(x, MethodComparison)
        ],
    }


def _maps(lake: Lake, vectors: Vectors, min_groups: int) -> list[map_chart.Map]:
    places = queries.read_places(lake, min_groups=min_groups)
    known = vectors.representations([row["representation_id"] for row in places])
    drawn = []
    for encoder in sorted({row["encoder_id"] for row in places}):
        rows = [row for row in places if row["encoder_id"] == encoder]
        if len(rows) < 2:
            continue
        z = np.array([known[row["representation_id"]].z for row in rows])
        names, roles = [row["source"] for row in rows], [row["role"] for row in rows]
        drawn.append(map_chart.library_map(names, roles, z))
    return drawn

"""Results are kept as JSON, and the pages that show them are written anew; a command.

    python -m tests.experiments.keep EXPERIMENT WORKSPACE

EXPERIMENT is a name of `protocols.py` whose run lies in a workspace: the newest of its kind there
is kept, `*_leave_one_out` from mart.experiment_scores, `*_methods` from mart.experiment_methods and
`*_night` from mart.leaderboard. It is refused where its sources, arms, methods or metric are not
those of the protocol. Contracts, plan and versions are taken as they are now: keep a run by the
commit and in the environment that made it. The other experiments keep their rows themselves, by
`--keep`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from flows.workspace.settings import Settings
from tests.experiments import medquad
from tests.experiments.protocols import PROTOCOLS
from tests.experiments.result_files import (
    FOLDER,
    Cell,
    Result,
    ResultTable,
    installed_versions,
    protocol_fingerprint,
    read_result,
    write_result,
)
from tests.house.write_docs import write_pages
from tests.lake_rows import read_rows_of

Row = Mapping[str, Any]
SCORES = """
    SELECT source, arm, value, ci_low AS low, ci_high AS high, n_items
    FROM mart.experiment_scores AS s
    WHERE is_newest AND kind = 'leave_one_out' AND NOT contains(arm, ':')
        AND metric = (SELECT metric FROM core.experiments AS x
                      WHERE x.experiment_id = s.experiment_id)
"""
METHODS = """
    SELECT method, quantity, value, ci_low AS low, ci_high AS high, seed_low, seed_high, result
    FROM mart.experiment_methods WHERE is_newest AND source = ''
"""
LEADERBOARD = """
    SELECT target_name AS source, arm, value, ci_low AS low, ci_high AS high, n_items
    FROM mart.leaderboard WHERE metric IN ('accuracy', 'dice', 'rouge_l')
"""
LEAVE_ONE_OUT, METHODS_RUN, NIGHT = KINDS = ("_leave_one_out", "_methods", "_night")
RUNS = {  # what was measured by the run that is kept, and when
    LEAVE_ONE_OUT: """
        SELECT source, arm AS variant, metric, max(recorded_at) AS recorded_at
        FROM mart.experiment_scores WHERE is_newest AND kind = 'leave_one_out' GROUP BY ALL
    """,
    METHODS_RUN: """
        SELECT source, method AS variant, metric, max(recorded_at) AS recorded_at
        FROM mart.experiment_methods WHERE is_newest GROUP BY ALL
    """,
    NIGHT: """
        SELECT target_name AS source, arm AS variant, metric, max(recorded_at) AS recorded_at
        FROM mart.leaderboard GROUP BY ALL
    """,
}
COMMANDS = {  # of an experiment that has no result yet
    LEAVE_ONE_OUT: "RPE_HOME=WORKSPACE rpe experiment leave-one-out --sources",
    METHODS_RUN: "RPE_HOME=WORKSPACE rpe experiment methods --source",
    NIGHT: "RPE_HOME=WORKSPACE rpe nightly --targets",
}
QUANTITIES = {
    "elsewhere": "elsewhere",
    "average": "ensemble `average`",
    "linear_l1": "ensemble `linear_l1`",
    "rank": "ranks filed",
    "train_seconds": "seconds",
}


def keep_and_write(
    experiment: str,
    tables: Mapping[str, ResultTable],
    commands: Sequence[str],
    *,
    measured_on: date | None = None,
) -> Path:
    """Keep tables of a day, today if none is said, and write the pages that show them."""
    path = keep_result(experiment, tables, commands, measured_on=measured_on)
    write_pages()
    return path


def keep_result(
    experiment: str,
    tables: Mapping[str, ResultTable],
    commands: Sequence[str],
    *,
    measured_on: date | None = None,
    folder: Path = FOLDER,
) -> Path:
    """Keep tables in a folder; those that were not measured now stand if the protocol does."""
    path, protocol = folder / f"{experiment}.json", protocol_fingerprint(PROTOCOLS[experiment]())
    known = read_result(path) if path.is_file() else None
    stands = known.tables if known and known.protocol == protocol else {}
    day = f"{measured_on or datetime.now(UTC).date():%Y-%m-%d}"
    result = Result(experiment, protocol, day, tuple(commands), installed_versions(), tables)
    return write_result(replace(result, tables={**stands, **tables}), folder=folder)


def scores_table(rows: Iterable[Row], arms: Sequence[str]) -> ResultTable:
    """Arms by source with their intervals; what is of all sources comes last."""
    cells = {(row["source"], row["arm"]): row for row in rows}
    sources = sorted({source for source, _ in cells}, key=lambda source: (not source, source))
    lines = []
    for source in sources:
        counts = [cells[source, arm]["n_items"] for arm in arms if (source, arm) in cells]
        scores = [_interval(cells.get((source, arm))) for arm in arms]
        lines.append((source or "all items", max(counts, default=None), *scores))
    return ResultTable(("target", "n", *arms), tuple(lines))


def methods_table(rows: Iterable[Row]) -> ResultTable:
    """Methods with their verdicts against the one that they are compared with, which is first."""
    cells = {(row["method"], row["quantity"]): row for row in rows}
    names = sorted({name for name, _ in cells}, key=lambda name: (bool(_own(cells, name)), name))
    lines = []
    for name in names:
        own = cells[name, "own"]
        seeds = {"low": own["seed_low"], "high": own["seed_high"]}
        others = [_quantity(cells[name, quantity]) for quantity in QUANTITIES]
        lines.append((name, _interval(own), seeds, *others))
    columns = ("method", "own", "seeds", *QUANTITIES.values())
    return ResultTable(columns, tuple(lines), {"elsewhere": "signed"})


def _own(cells: Mapping[tuple[str, str], Row], name: str) -> str:
    return str(cells[name, "own"]["result"])


def _quantity(row: Row) -> Cell:
    return round(row["value"]) if row["low"] is None else _interval(row)


def _interval(row: Row | None) -> Cell:
    if row is None:
        return None
    verdict = {"verdict": row["result"]} if row.get("result") else {}
    return {"value": row["value"], "low": row["low"], "high": row["high"], **verdict}


def tables_of(experiment: str, ask: Callable[[str], Iterable[Row]]) -> dict[str, ResultTable]:
    """The tables of an experiment, from the rows that a lake answers with."""
    protocol = PROTOCOLS[experiment]()
    if experiment.endswith(METHODS_RUN):
        return {"methods": methods_table(ask(METHODS))}
    if experiment.endswith(LEAVE_ONE_OUT):
        return {"scores": scores_table(ask(SCORES), protocol["arms"])}
    sources = asked_sources(protocol)
    rows = [row for row in ask(LEADERBOARD) if row["source"] in sources]
    return {"scores": with_mean(scores_table(rows, medquad.ARMS))}


def with_mean(table: ResultTable) -> ResultTable:
    """The table with the mean over its targets last, where every target has a score."""
    scores = list(zip(*table.rows, strict=True))[2:]
    means = [None if None in cells else fmean(cell["value"] for cell in cells) for cells in scores]
    return replace(table, rows=(*table.rows, ("mean", None, *means)))


def asked_sources(protocol: Mapping[str, Any]) -> set[str]:
    """The sources whose contracts a protocol holds."""
    contracts = protocol.get("contracts", protocol).values()
    return {said["source"] for said in contracts if isinstance(said, Mapping) and "source" in said}


def faults_of(experiment: str, measured: Sequence[Row]) -> list[str]:
    """Why what a workspace measured is no run of this experiment; nothing where it is one."""
    protocol = PROTOCOLS[experiment]()
    asked = {
        "source": asked_sources(protocol),
        "variant": set(protocol.get("methods", protocol.get("arms", medquad.ARMS))),
        "metric": set(protocol.get("metric", ())[:1]),
    }
    faults = []
    for what, names in asked.items():
        present = {row[what] for row in measured} - {""}
        if absent := names - present:
            faults.append(f"{what} not measured: {', '.join(sorted(absent))}")
        if what == "source" and not experiment.endswith(NIGHT) and (other := present - names):
            faults.append(f"{what} not of the protocol: {', '.join(sorted(other))}")
    return faults


def commands_of(experiment: str) -> tuple[str, ...]:
    """The commands of the result that is kept already, or those that its kind takes."""
    path = FOLDER / f"{experiment}.json"
    if path.is_file():
        return read_result(path).commands
    sources = " ".join(sorted(asked_sources(PROTOCOLS[experiment]())))
    (command,) = (said for kind, said in COMMANDS.items() if experiment.endswith(kind))
    return (f"{command} {sources}",)


def main(arguments: Sequence[str]) -> int:
    """Keep what a workspace holds."""
    kept_here = [name for name in PROTOCOLS if name.endswith(KINDS)]
    if len(arguments) != 2 or arguments[0] not in kept_here:
        print(__doc__, f"EXPERIMENT is one of {', '.join(kept_here)}.", sep="\n", file=sys.stderr)
        return 2
    experiment, home = arguments[0], Path(arguments[1]).absolute()

    def ask(sql: str) -> list[dict[str, Any]]:
        return read_rows_of(Settings(home=home), sql)

    (statement,) = (said for kind, said in RUNS.items() if experiment.endswith(kind))
    measured = ask(statement)
    if faults := faults_of(experiment, measured):
        print(f"No run of {experiment} is there:", *faults, sep="\n  ", file=sys.stderr)
        return 1
    measured_on = max(row["recorded_at"] for row in measured).date()
    tables, commands = tables_of(experiment, ask), commands_of(experiment)
    print(keep_and_write(experiment, tables, commands, measured_on=measured_on))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

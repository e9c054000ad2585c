"""Results are kept as JSON, and the pages that show them are written anew; a command.

    python -m tests.experiments.keep EXPERIMENT WORKSPACE

EXPERIMENT is a name of `protocols.py` whose run lies in a workspace: the newest of its kind there
is kept, `*_leave_one_out` from mart.experiment_scores, `*_methods` from mart.experiment_methods and
`*_night` from mart.leaderboard. The other experiments keep their rows themselves, by `--keep`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
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
QUANTITIES = {
    "elsewhere": "elsewhere",
    "average": "ensemble `average`",
    "linear_l1": "ensemble `linear_l1`",
    "rank": "ranks filed",
    "train_seconds": "seconds",
}


def keep_and_write(
    experiment: str, tables: Mapping[str, ResultTable], commands: Sequence[str]
) -> Path:
    """Keep tables as they were measured now, and write the pages that show them."""
    path = keep_result(experiment, tables, commands)
    write_pages()
    return path


def keep_result(
    experiment: str,
    tables: Mapping[str, ResultTable],
    commands: Sequence[str],
    *,
    folder: Path = FOLDER,
) -> Path:
    """Keep tables in a folder; those that were not measured now stand if the protocol does."""
    path, protocol = folder / f"{experiment}.json", protocol_fingerprint(PROTOCOLS[experiment]())
    known = read_result(path) if path.is_file() else None
    stands = known.tables if known and known.protocol == protocol else {}
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    result = Result(experiment, protocol, today, tuple(commands), installed_versions(), tables)
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
    if experiment.endswith("_methods"):
        return {"methods": methods_table(ask(METHODS))}
    rows = ask(LEADERBOARD if experiment.endswith("_night") else SCORES)
    arms = PROTOCOLS[experiment]().get("arms", medquad.ARMS)
    return {"scores": scores_table(rows, arms)}


def main(arguments: Sequence[str]) -> int:
    """Keep what a workspace holds."""
    if len(arguments) != 2 or not arguments[0].endswith(("_leave_one_out", "_methods", "_night")):
        print(__doc__, file=sys.stderr)
        return 2
    experiment, home = arguments[0], Path(arguments[1]).absolute()
    settings = Settings(home=home)
    tables = tables_of(experiment, lambda sql: read_rows_of(settings, sql))
    commands = read_result(FOLDER / f"{experiment}.json").commands
    print(keep_and_write(experiment, tables, commands))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

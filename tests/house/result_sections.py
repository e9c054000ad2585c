"""The parts of the pages that are written from results: tables, benchmarks, the headline figures.

A table whose protocol has changed since its rows were measured is marked as stale.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from tests.benchmarks.__main__ import HERE as BENCHMARKS
from tests.benchmarks.__main__ import discover
from tests.benchmarks.table import markdown as benchmark_table
from tests.benchmarks.table import newest
from tests.experiments.protocols import PROTOCOLS
from tests.experiments.result_files import (
    FOLDER,
    Result,
    markdown,
    protocol_fingerprint,
    read_result,
    shown,
)

HEADLINE_ARMS = ("base", "average", "nearest", "similarity", "linear_l1", "auto", "sft")
HEADLINES = (  # what, experiment, page
    ("MedQuAD, accuracy", "medquad_night", "medquad"),
    ("MTS-Dialog, ROUGE-L", "mts_dialog_leave_one_out", "mts_dialog"),
    ("nuclei, Dice", "nuclei_leave_one_out", "nuclei"),
    ("invented reports, ROUGE-L", "reports_leave_one_out", "reports"),
    ("prostate phantoms, Dice", "prostate_leave_one_out", "prostate"),
)
BENCHMARK_ROWS = BENCHMARKS / "results.jsonl"


def result_table(name: str) -> str:
    """A table of a result with what it was measured by; `name` is EXPERIMENT.TABLE.

    Raises:
        KeyError: no such result or table.
    """
    experiment, _, table = name.partition(".")
    result = _result(experiment)
    return "\n\n".join([*stale_note(result), markdown(result.tables[table]), _origin(result)])


def stale_note(result: Result) -> list[str]:
    """One paragraph where what is asked now is not what was asked then, else none."""
    now = _protocol_now(result.experiment)
    if now == result.protocol:
        return []
    then = result.protocol[:12]
    return [
        f"**Stale:** the protocol has changed since these rows were measured (then `{then}`, now"
        f" `{now[:12]}`). Run the experiment again."
    ]


def _origin(result: Result) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    place = f"`{(FOLDER / result.experiment).relative_to(FOLDER.parents[2])}.json`"
    told = f"Measured on {result.date}, protocol `{result.protocol[:12]}`, rows in {place}"
    return f"{told}; {versions}." if versions else f"{told}."


@cache
def _result(experiment: str) -> Result:
    path = FOLDER / f"{experiment}.json"
    if experiment not in PROTOCOLS or not path.is_file():
        raise KeyError(f"no result is called {experiment}")
    return read_result(path)


@cache
def _protocol_now(experiment: str) -> str:
    return protocol_fingerprint(PROTOCOLS[experiment]())


def _benchmarks() -> str:
    return benchmark_table(_entries(is_measured=True))


def _former_benchmarks() -> str:
    return benchmark_table(_entries(is_measured=False))


def _entries(*, is_measured: bool) -> list[dict[str, Any]]:
    """The newest line of each row that `make bench` still measures, or of those it does not."""
    rows = discover(BENCHMARKS)
    return [entry for entry in newest(benchmark_entries()) if (entry["row"] in rows) is is_measured]


def benchmark_entries() -> list[dict[str, Any]]:
    """The lines that `make bench` appended, the oldest first."""
    return [json.loads(line) for line in BENCHMARK_ROWS.read_text("utf-8").splitlines()]


def _headlines() -> str:
    head = ("targets served by the adapters of the others", *HEADLINE_ARMS)
    rows = [head, ("---",) * len(head)]
    for what, experiment, page in HEADLINES:
        table = _result(experiment).tables["scores"]
        total = next(row for row in table.rows if row[0] in ("mean", "all items"))
        cells = dict(zip(table.columns, total, strict=True))
        values = [_value(cells.get(arm)) for arm in HEADLINE_ARMS]
        rows.append((f"[{what}](infra/docs/results/{page}.md)", *values))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\n" + _guards()


def _value(cell: Any) -> str:
    return shown(cell["value"] if isinstance(cell, dict) else cell)


def _guards() -> str:
    gate = _result("gate_histories").tables
    worst = max(row[1]["value"] for part in ("nulls", "search") for row in gate[part].rows)
    planted = _result("deidentification_planted").tables["planted"].rows
    least = shown(min(row[1]["value"] for row in planted))
    names = _value(_result("deidentification_corpus").tables["corpus"].rows[0][1])
    return (
        f"Challengers no better than the base, asked for 200 nights, were promoted in at most"
        f" {shown(worst)} of the histories\n(alpha .05, [gate](infra/docs/gate.md)). Planted"
        f" identifiers are found with a recall of at least {least}, names of an\nindependent corpus"
        f" with {names} ([recall](infra/docs/results/deidentification.md)). Speed against peers:\n"
        "[benchmarks](infra/docs/benchmarks.md), with the rows that miss their target."
    )


SECTIONS: Mapping[str, Callable[[], str]] = {
    "benchmarks": _benchmarks,
    "former_benchmarks": _former_benchmarks,
    "headlines": _headlines,
}

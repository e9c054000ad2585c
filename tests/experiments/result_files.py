"""Results as data: one JSON file an experiment, with the protocol that its rows answer.

A file of `results/` says which experiment it is of, the fingerprint of the protocol under which the
rows were measured, when, by which commands, with which versions, and the rows of its tables. Pages
are rendered from these files by `python -m tests.house.write_docs`.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from rpe_core.fingerprint import fingerprint
from rpe_core.weighting.binomial import Rate

FOLDER = Path(__file__).with_name("results")
PACKAGES = ("numpy", "scipy", "torch", "transformers", "peft")
VERDICTS = {"win": "+", "loss": "-", "tie": "="}
Cell = Any  # a text, a number, null, or a mapping: value with low and high, n_hits of n, a verdict


@dataclass(frozen=True)
class ResultTable:
    """Rows in the order of the columns; `styles` says of a column how its numbers are written.

    A style is `signed`, with a sign before each value, or `two_digits`.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    styles: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> list[Cell]:
        """The cells of one column."""
        place = self.columns.index(name)
        return [row[place] for row in self.rows]


@dataclass(frozen=True)
class Result:
    """What an experiment showed, and everything that is needed to ask it again."""

    experiment: str
    protocol: str  # the fingerprint of what was asked
    date: str
    commands: tuple[str, ...]
    versions: Mapping[str, str]
    tables: Mapping[str, ResultTable]


def read_result(path: Path) -> Result:
    """The result that a file holds."""
    said = json.loads(path.read_text(encoding="utf-8"))
    tables = {
        name: ResultTable(
            tuple(table["columns"]), tuple(map(tuple, table["rows"])), table.get("styles", {})
        )
        for name, table in said["tables"].items()
    }
    return Result(**{**said, "commands": tuple(said["commands"]), "tables": tables})


def write_result(result: Result, *, folder: Path = FOLDER) -> Path:
    """Keep a result in the folder, a row of a table on a line."""
    head = {
        "experiment": result.experiment,
        "protocol": result.protocol,
        "date": result.date,
        "commands": list(result.commands),
        "versions": dict(result.versions),
    }
    lines = [f" {json.dumps(key)}: {_json(value)}," for key, value in head.items()]
    tables = ",\n".join(_table(name, table) for name, table in result.tables.items())
    path = folder / f"{result.experiment}.json"
    path.write_text("\n".join(["{", *lines, ' "tables": {', tables, " }", "}", ""]), "utf-8")
    return path


def protocol_fingerprint(protocol: Any) -> str:
    """The hash of what an experiment asks, whatever the order of keys; dates are as written."""
    return fingerprint(json.loads(json.dumps(protocol, default=str)))


def markdown(table: ResultTable) -> str:
    """The table as Markdown."""
    lines = [table.columns, ["---"] * len(table.columns)]
    for row in table.rows:
        styles = [table.styles.get(name, "") for name in table.columns]
        lines.append([shown(cell, style) for cell, style in zip(row, styles, strict=True)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def shown(cell: Cell, style: str = "") -> str:
    """A cell as a page shows it.

    >>> shown({"value": 0.854, "low": 0.82, "high": 1.0, "verdict": "win"}), shown(0.5, "signed")
    ('.854 [.820, 1.000] +', '+.500')
    >>> shown({"n_hits": 42, "n": 1000}), shown({"low": 0.85, "high": 0.859}), shown(73728)
    ('42 of 1,000', '.850 to .859', '73,728')
    """
    if cell is None or isinstance(cell, str):
        return cell or ""
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return _number(cell, style)
    count = f"{cell['n_hits']:,} of {cell['n']:,}" if "n_hits" in cell else ""
    ends = [_number(cell[end], style) for end in ("low", "high") if end in cell]
    if "value" in cell:
        value = f"{_number(cell['value'], style)} [{', '.join(ends)}]"
    else:
        value = " to ".join(ends)
    parts = [": ".join(part for part in (count, value) if part), VERDICTS.get(cell.get("verdict"))]
    return " ".join(part for part in parts if part)


def rate_cell(rate: Rate, *, is_counted: bool = False) -> dict[str, float]:
    """A rate with its interval as a cell, with its counts where they are to be shown."""
    count = {"n_hits": rate.n_hits, "n": rate.n} if is_counted else {}
    return {**count, "value": rate.ratio, "low": rate.low, "high": rate.high}


def installed_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """What the rows are measured with."""
    present = {found.metadata["Name"].lower() for found in metadata.distributions()}
    found = {name: metadata.version(name) for name in packages if name in present}
    return {"python": platform.python_version(), **found}


def _number(value: float, style: str) -> str:
    digits = f"{value:.2f}" if style == "two_digits" else f"{value:.3f}"
    sign = "-" if digits.startswith("-") else "+" if style == "signed" else ""
    return sign + digits.lstrip("-").removeprefix("0" if abs(float(digits)) < 1 else "")


def _table(name: str, table: ResultTable) -> str:
    lines = [f'   "columns": {_json(table.columns)},']
    if table.styles:
        lines.append(f'   "styles": {_json(dict(table.styles))},')
    rows = ",\n".join(f"    {_json(row)}" for row in table.rows)
    return "\n".join([f"  {json.dumps(name)}: {{", *lines, f'   "rows": [\n{rows}\n   ]', "  }"])


def _json(value: Sequence[Any] | Mapping[str, Any] | str) -> str:
    return json.dumps(value, ensure_ascii=False)

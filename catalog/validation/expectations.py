"""Expectations about a whole file that a contract may name, as one fixed table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from catalog.contracts.contract import ColumnType, DeclaredExpectation, SourceContract
from catalog.errors import Fault
from catalog.validation.suite import Check
from rpe_core.errors import known_names, shown_name

Parameters = Mapping[str, Any]
Limits = dict[str, float | None]
_ANY: tuple[ColumnType, ...] = ("string", "integer", "number", "boolean", "date", "timestamp")


@dataclass(frozen=True)
class FileExpectation:
    """A number measured over the accepted rows of a file, and the limits that it must keep.

    `measure` is SQL over {column} of table {rows}; it is null where there is nothing to measure.
    """

    doc: str
    types: tuple[ColumnType, ...]
    parameters: tuple[str, ...]
    measure: str
    limits: Callable[[Parameters], Limits]


FILE_EXPECTATIONS: Mapping[str, FileExpectation] = {
    "label_share": FileExpectation(
        "the most frequent value takes at most `max_ratio` of the rows that have one",
        ("string", "integer", "boolean"),
        ("max_ratio",),
        "SELECT max(n) / sum(n) FROM (SELECT count(*) AS n FROM {rows}"
        " WHERE {column} IS NOT NULL GROUP BY {column})",
        lambda given: {"max_value": given["max_ratio"]},
    ),
    "distinct_ratio": FileExpectation(
        "distinct values are at least `min_ratio` of the rows that have one",
        _ANY,
        ("min_ratio",),
        "SELECT count(DISTINCT {column}) / nullif(count({column}), 0) FROM {rows}",
        lambda given: {"min_value": given["min_ratio"]},
    ),
    "null_ratio": FileExpectation(
        "rows without a value are at most `max_ratio` of all",
        _ANY,
        ("max_ratio",),
        "SELECT 1 - count({column}) / nullif(count(*), 0) FROM {rows}",
        lambda given: {"max_value": given["max_ratio"]},
    ),
    "mean_chars_between": FileExpectation(
        "the mean length of the texts lies between `min` and `max` characters",
        ("string",),
        ("min", "max"),
        "SELECT avg(length({column})) FROM {rows}",
        lambda given: {"min_value": given["min"], "max_value": given["max"]},
    ),
    "mean_between": FileExpectation(
        "the mean of the numbers lies between `min` and `max`",
        ("integer", "number"),
        ("min", "max"),
        "SELECT avg({column}) FROM {rows}",
        lambda given: {"min_value": given["min"], "max_value": given["max"]},
    ),
}


def expectation_faults(contract: SourceContract) -> list[Fault]:
    """Every fault in the contract's `expectations`: names, columns, types and parameters."""
    faults = []
    seen = Counter((named.name, named.column) for named in contract.expectations)
    for index, named in enumerate(contract.expectations):
        path = f"expectations[{index}]"
        known = FILE_EXPECTATIONS.get(named.name)
        if known is None:
            choices = known_names(named.name, FILE_EXPECTATIONS)
            faults.append(Fault(f"{path}.name", f"{shown_name(named.name)} is not known", choices))
        else:
            faults += _use_faults(path, named, known, contract)
        if seen[named.name, named.column] > 1:
            faults.append(Fault(path, "is named twice for its column", "each at most once"))
    return faults


def file_check(named: DeclaredExpectation) -> Check:
    """The assertion about the measured number, which stands in a column of the file's profile."""
    limits = FILE_EXPECTATIONS[named.name].limits(named.parameters)
    return Check("ExpectColumnValuesToBeBetween", profile_column(named), limits)


def measure_sql(named: DeclaredExpectation, *, rows: str, column: str) -> str:
    """The query of one number over a column of the table expression `rows`."""
    return FILE_EXPECTATIONS[named.name].measure.format(column=column, rows=rows)


def profile_column(named: DeclaredExpectation) -> str:
    """Where the measured number stands in the one-row profile of a file."""
    return f"{named.name}({named.column})"


def _use_faults(
    path: str, named: DeclaredExpectation, known: FileExpectation, contract: SourceContract
) -> Iterator[Fault]:
    rule = contract.columns.get(named.column)
    if rule is None:
        choices = known_names(named.column, contract.columns)
        yield Fault(f"{path}.column", f"{shown_name(named.column)} is no column", choices)
    elif rule.type not in known.types:
        yield Fault(f"{path}.column", f"is of type {rule.type}", f"one of {', '.join(known.types)}")
    for name in named.parameters:
        if name not in known.parameters:
            choices = known_names(name, known.parameters)
            yield Fault(f"{path}.parameters", f"{shown_name(name)} is not known", choices)
    for name in known.parameters:
        if name not in named.parameters:
            yield Fault(f"{path}.parameters.{name}", "is missing", "a number")
        elif not isinstance(value := named.parameters[name], int | float):
            yield Fault(f"{path}.parameters.{name}", "is not a number", "a number")
        elif name.endswith("_ratio") and not 0 <= value <= 1:
            yield Fault(f"{path}.parameters.{name}", "is no ratio", "from 0 to 1")

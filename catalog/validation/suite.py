"""From a contract to what Great Expectations asserts: the checks as data, and the suite of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from catalog.contracts.contract import SPLITS, ColumnType, SourceContract
from catalog.validation.row_rules import RowPlace, places

# Python types of the values that Great Expectations gets to see.
PYTHON_TYPES: Mapping[ColumnType, str] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "date": "date",
    "timestamp": "datetime",
}


@dataclass(frozen=True)
class Check:
    """One assertion about one column: the name of an expectation class and its arguments."""

    expectation: str
    column: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rule(self) -> str:
        """The name under which Great Expectations reports it.

        >>> Check("ExpectColumnToExist", "a").rule
        'expect_column_to_exist'
        """
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.expectation).lower()


def row_checks(contract: SourceContract) -> tuple[Check, ...]:
    """What every record batch of accepted rows keeps: types, nulls, lengths, ranges, sets.

    Label balance and other shares need the whole file: see expectations.py.
    """
    return tuple(check for row_place in places(contract) for check in _column_checks(row_place))


def build_suite(name: str, checks: Sequence[Check]) -> Any:
    """The Great Expectations suite of these checks."""
    import great_expectations as gx  # 3 to 4 s to import: only where a batch is really checked

    suite = gx.ExpectationSuite(name=name)
    for check in checks:
        kind = getattr(gx.expectations, check.expectation)
        suite.add_expectation(kind(column=check.column, **check.arguments))
    return suite


def _column_checks(row_place: RowPlace) -> Iterator[Check]:
    rule = row_place.rule
    # A column that is not there fails this one too, so its presence needs no check of its own.
    types = [PYTHON_TYPES[rule.type]]
    yield Check("ExpectColumnValuesToBeInTypeList", row_place.name, {"type_list": types})
    if not rule.nullable:
        yield Check("ExpectColumnValuesToNotBeNull", row_place.name)
    if rule.min_chars is not None or rule.max_chars is not None:
        lengths = {"min_value": rule.min_chars, "max_value": rule.max_chars}
        yield Check("ExpectColumnValueLengthsToBeBetween", row_place.name, lengths)
    if rule.min is not None or rule.max is not None:
        limits = {"min_value": rule.min, "max_value": rule.max}
        yield Check("ExpectColumnValuesToBeBetween", row_place.name, limits)
    if choices := _choices(row_place):
        yield Check("ExpectColumnValuesToBeInSet", row_place.name, {"value_set": sorted(choices)})
    if rule.pattern is not None:
        regex = rf"\A(?:{rule.pattern})\Z"
        yield Check("ExpectColumnValuesToMatchRegex", row_place.name, {"regex": regex})


def _choices(row_place: RowPlace) -> set[Any]:
    """Values that every rule of the column allows; empty where no rule lists any."""
    labels = None if row_place.labels is None else row_place.label_cells
    listed = [row_place.rule.values, labels, SPLITS if row_place.is_split else None]
    allowed = [set(choices) for choices in listed if choices is not None]
    return set.intersection(*allowed) if allowed else set()

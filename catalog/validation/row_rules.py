"""Row rules: the one table of what a row must keep, evaluated to find the rows that fail."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from catalog.contracts.contract import (
    SPLITS,
    ColumnRule,
    Generation,
    SourceContract,
    SplitColumn,
)
from catalog.contracts.labels import label_cells

WHOLE_ROW = ""  # column name of a fault that belongs to no single column
SHOWN_ROWS = 5  # row numbers that a message names


@dataclass(frozen=True)
class RowPlace:
    """A column in its contract: what its rule says and which part it plays."""

    name: str
    rule: ColumnRule
    labels: tuple[str, ...] | None = None  # answer set, where the column is the task's target
    is_written: bool = False  # the task's target, answered in free text
    is_split: bool = False

    @property
    def label_cells(self) -> list[str | int | bool]:
        """The answer set as the column holds it."""
        return label_cells(self.labels or (), self.rule.type)


@dataclass(frozen=True)
class RowRule:
    """One rule: where it applies, and a mask of the rows that fail (null counts as kept)."""

    rule_id: str
    doc: str
    applies: Callable[[RowPlace], bool]
    failing: Callable[[pa.Array, RowPlace], pa.Array]


def _too_short(column: pa.Array, row_place: RowPlace) -> pa.Array:
    return pc.less(pc.utf8_length(column), row_place.rule.min_chars)


def _too_long(column: pa.Array, row_place: RowPlace) -> pa.Array:
    return pc.greater(pc.utf8_length(column), row_place.rule.max_chars)


def _out_of_range(column: pa.Array, row_place: RowPlace) -> pa.Array:
    low, high = row_place.rule.min, row_place.rule.max
    above = pc.greater(column, high) if high is not None else pa.scalar(False)
    below = pc.less(column, low) if low is not None else pa.scalar(False)
    return pc.or_(below, above)


def _is_blank(column: pa.Array) -> pa.Array:
    return pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0)


def _not_among(column: pa.Array, choices: Sequence[str | int | bool]) -> pa.Array:
    known = pc.is_in(column, value_set=pa.array(choices, column.type))
    return pc.and_(pc.is_valid(column), pc.invert(known))


def _not_matching(column: pa.Array, row_place: RowPlace) -> pa.Array:
    return pc.invert(pc.match_substring_regex(column, rf"\A(?:{row_place.rule.pattern})\z"))


ROW_RULES: tuple[RowRule, ...] = (
    RowRule(
        "null_not_allowed",
        "a column that is not nullable holds a value in every row",
        lambda row_place: not row_place.rule.nullable,
        lambda column, _: pc.is_null(column),
    ),
    RowRule(
        "blank_key",
        "a key or group holds more than blanks",
        lambda row_place: (
            row_place.rule.type == "string" and (row_place.rule.key or row_place.rule.group)
        ),
        lambda column, _: _is_blank(column),
    ),
    RowRule(
        "not_finite",
        "a number is neither NaN nor infinite",
        lambda row_place: row_place.rule.type == "number",
        lambda column, _: pc.invert(pc.is_finite(column)),
    ),
    RowRule(
        "too_short",
        "a text has at least `min_chars` characters",
        lambda row_place: row_place.rule.min_chars is not None,
        _too_short,
    ),
    RowRule(
        "too_long",
        "a text has at most `max_chars` characters",
        lambda row_place: row_place.rule.max_chars is not None,
        _too_long,
    ),
    RowRule(
        "out_of_range",
        "a number lies between `min` and `max`, both included",
        lambda row_place: row_place.rule.min is not None or row_place.rule.max is not None,
        _out_of_range,
    ),
    RowRule(
        "not_in_values",
        "a value is one of `values`",
        lambda row_place: row_place.rule.values is not None,
        lambda column, row_place: _not_among(column, row_place.rule.values or ()),
    ),
    RowRule(
        "unknown_label",
        "a label is one of the task's; a row without a label is legal in a nullable column",
        lambda row_place: row_place.labels is not None,
        lambda column, row_place: _not_among(column, row_place.label_cells),
    ),
    RowRule(
        "blank_target",
        "an answer that is there holds more than blanks",
        lambda row_place: row_place.is_written,
        lambda column, _: _is_blank(column),
    ),
    RowRule(
        "unknown_split",
        "the split column says train, validation or test",
        lambda row_place: row_place.is_split,
        lambda column, _: pc.or_(pc.is_null(column), _not_among(column, SPLITS)),
    ),
    RowRule(
        "pattern",
        "a whole text matches `pattern`",
        lambda row_place: row_place.rule.pattern is not None,
        _not_matching,
    ),
)


@dataclass
class RowFaults:
    """Which rows of one record batch fail what; rows are indices into it, never values."""

    reasons: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (rule, column) -> rows
    first_rows: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, rows: Iterable[int], code: str, column: str) -> None:
        """Mark these rows as failing `code` in `column` (WHOLE_ROW where it is no single one)."""
        shown = f"{code}({column})" if column != WHOLE_ROW else code
        for row in rows:
            self.reasons[row].append(shown)
            self.counts[code, column] += 1
            if self.counts[code, column] <= SHOWN_ROWS:
                self.first_rows[code, column].append(row)

    def mask(self, n_rows: int) -> pa.Array:
        """True for each row that fails nothing, shape (n_rows,)."""
        kept = [True] * n_rows
        for row in self.reasons:
            kept[row] = False
        return pa.array(kept, pa.bool_())


def places(contract: SourceContract) -> tuple[RowPlace, ...]:
    """The contract's columns with the parts they play, in the contract's order."""
    splits = contract.splits
    split_column = splits.column if isinstance(splits, SplitColumn) else None
    target, labels = contract.task.target, contract.labels
    return tuple(
        RowPlace(
            name,
            rule,
            labels=labels if labels and name == target else None,
            is_written=isinstance(contract.task, Generation) and name == target,
            is_split=name == split_column,
        )
        for name, rule in contract.columns.items()
    )


def rules_of(contract: SourceContract) -> list[tuple[RowRule, RowPlace]]:
    """Every rule with every column that it applies to."""
    return [
        (rule, row_place)
        for row_place in places(contract)
        for rule in ROW_RULES
        if rule.applies(row_place)
    ]


def check_rows(
    table: pa.Table, contract: SourceContract, *, unread: Iterable[tuple[int, str, str]] = ()
) -> RowFaults:
    """Evaluate the whole table of rules on a batch typed by its contract.

    Args:
        table: rows with at least the contract's columns, of the contract's types.
        contract: what they are held against.
        unread: (row index, code, column) of the cells that the reader could not type. Such a cell
            is null and fails with the reader's code only.

    Returns:
        RowFaults over the indices 0..n-1 of `table`.
    """
    faults = RowFaults()
    untyped: dict[str, set[int]] = defaultdict(set)
    for row, code, column in unread:
        faults.add([row], code, column)
        untyped[column].add(row)
    for rule, row_place in rules_of(contract):
        # One array, not chunks: indices_nonzero of an empty chunked mask crashes in Arrow 25.
        mask = rule.failing(table.column(row_place.name).combine_chunks(), row_place)
        failing = pc.indices_nonzero(mask).to_pylist()
        spared = untyped[row_place.name] | untyped[WHOLE_ROW]
        faults.add((row for row in failing if row not in spared), rule.rule_id, row_place.name)
    return faults

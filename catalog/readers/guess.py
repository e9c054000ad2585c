"""Which type of a contract holds all cells of a sampled column, without losing a digit of any."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa

from catalog.contracts.contract import ColumnRule, ColumnType
from catalog.readers.cells import (
    MAX_EXACT_FLOAT,
    NESTED,
    Convert,
    Refused,
    cast_column,
    converter,
    from_text,
    is_nan,
)

MAX_BAD_SHARE = 0.01  # of cells that a draft's type may leave to quarantine, as drafts allow
CHECKED_ROWS = 1000  # that `rpe source add` reads, fewer than a draft
MAX_DIGITS = 17  # that a float keeps, zeros at the ends aside
NO_LIMIT = 1 << 40
# In the order of trying: a column is the first type that all its cells are
TYPE_ORDER: tuple[ColumnType, ...] = ("integer", "number", "boolean", "date", "timestamp", "string")
KEY_NAME = re.compile(r"(^|_)(id|key|uuid|guid|accession|number|no|nr)$")
_GROUPS = (
    r"(^|_)(patient|subject|person|participant|case|document|doc|visit|encounter|admission|family"
    r"|study|author|group)"
)
GROUP_NAME = re.compile(rf"{_GROUPS}(_|$)")
ROW_OR_GROUP_NAME = re.compile(rf"{KEY_NAME.pattern}|{_GROUPS}$")
TARGET_NAME = re.compile(r"(^|_)(label|target|class|category|section|outcome|diagnosis|type)(_|$)")
MAX_WHOLE_LABELS = 20
# Numbers as programs write them; 007, +1, 1e5 and 1_000 are codes more often than amounts
_INTEGER = re.compile(rb" *-?(0|[1-9][0-9]*) *")
_NUMBER = re.compile(rb" *-?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][+-][0-9]+)? *")
_SCIENTIFIC = re.compile(rb" *-?[0-9]+\.[0-9]*[eE][0-9]+ *")
_AS_NAME = ColumnRule(type="string", key=True)


@dataclass(frozen=True)
class Guess:
    """A type with the cells of it, and what a draft says about it."""

    type: ColumnType | None
    values: pa.Array = field(repr=False)
    n_present: int  # cells that are neither empty nor NaN
    why: str = ""
    is_name_only: bool = False


def guess_type(
    cells: Sequence[Any],
    convert: Convert,
    *,
    words: str,
    stored: ColumnType = "string",
    is_text: bool = False,
) -> Guess:
    """The type of a column by its cells and the words of its name; without cells as it is stored.

    A name of rows or groups is never a float: digits that one cannot keep are text, and whole
    numbers stored as floats are integers.

    >>> guess_type([b"7", b"12"], from_text, words="n").type
    'integer'
    >>> [guess_type([cell], from_text, words="n").type for cell in (b"007", b"1e5", b"9" * 20)]
    ['string', 'string', 'string']
    """
    present = [
        cell for cell in cells
        if cell is not None and (cell is NESTED or not isinstance(cell, Refused))
    ]  # fmt: skip
    numbers = [cell for cell in present if not is_nan(cell)]
    if present and not numbers:
        return Guess("number", pa.nulls(0), 0)
    if not present:
        return Guess(stored, pa.nulls(0), 0)
    for kind in () if is_text else TYPE_ORDER[:-1]:
        is_numeric = kind in ("integer", "number")
        if is_numeric and not _keeps_all(numbers, kind, convert):
            continue
        kept = numbers if is_numeric else present
        values, bad = cast_column(kept, kind, convert=convert, max_cell_chars=NO_LIMIT)
        if _are_few(bad, cells):
            return _by_name(Guess(kind, values, len(kept)), words, kept, convert)
    return _text(cells, present, convert)


def _text(cells: Sequence[Any], present: Sequence[Any], convert: Convert) -> Guess:
    values, bad = cast_column(present, "string", convert=convert, max_cell_chars=NO_LIMIT)
    is_text = all(reason != "wrong_type" for _, reason in bad)
    if is_text and _are_rare(bad, cells):
        why = f"{len(bad)} cells are no text" if bad else ""
        return Guess("string", values, len(present), why)
    as_name = converter(_AS_NAME, convert)
    values, unnamed = cast_column(present, "string", convert=as_name, max_cell_chars=NO_LIMIT)
    if not unnamed:
        why = (
            "whole numbers and texts" if _has_text(present) else "numbers beyond 64 bits and below"
        )
        return Guess("string", values, len(present), why, is_name_only=True)
    return Guess(None, pa.nulls(0), len(present), _why(present, bad))


def _has_text(present: Sequence[Any]) -> bool:
    return any(isinstance(cell, str | bytes) for cell in present)


def _why(present: Sequence[Any], bad: Sequence[tuple[int, str]]) -> str:
    if NESTED in present:
        return "nested values: write the path of a field into `from:`"
    if all(reason == "invalid_utf8" for _, reason in bad):
        return f"{len(bad)} of {len(present)} cells are bytes that are no text"
    if all(isinstance(cell, float | Decimal) for cell in present):
        return "too many of its numbers are infinite"
    return f"of several types: {len(bad)} of {len(present)} cells are no text"


def _are_few(bad: Sequence[tuple[int, str]], cells: Sequence[Any]) -> bool:
    """Whether no cell is of another type, and quarantine may take those that are infinite."""
    return all(reason == "not_finite" for _, reason in bad) and _are_rare(bad, cells)


def _are_rare(bad: Sequence[tuple[int, str]], cells: Sequence[Any]) -> bool:
    """Whether quarantine may take these cells, also among the rows that a check of the draft reads.

    The places are counted without empty cells, so that no bad one is taken for a later one.
    """
    return all(
        sum(row < n_rows for row, _ in bad) <= MAX_BAD_SHARE * n_rows
        for n_rows in (min(CHECKED_ROWS, len(cells)), len(cells))
    )


def _keeps_all(cells: Sequence[Any], kind: ColumnType, convert: Convert) -> bool:
    """Whether the type keeps every digit, and the way in which it is written means nothing."""
    if convert is from_text:
        wanted = _INTEGER if kind == "integer" else _NUMBER
        return all(
            wanted.fullmatch(cell) or (kind == "number" and _SCIENTIFIC.fullmatch(cell))
            for cell in cells
        ) and (kind == "integer" or all(map(_is_kept, cells)))
    texts = [cell.encode() for cell in cells if isinstance(cell, str)]
    if texts and not _keeps_all(texts, kind, from_text):
        return False  # of a workbook, in which texts may be numbers
    if kind == "integer":
        # A float may have a fraction in the next row
        return not any(isinstance(cell, float) or _has_fraction(cell) for cell in cells)
    return all(
        abs(cell) <= MAX_EXACT_FLOAT if isinstance(cell, int) else _is_kept(str(cell).encode())
        for cell in cells
        if isinstance(cell, int | Decimal)
    )


def _has_fraction(cell: Any) -> bool:
    return isinstance(cell, Decimal) and int(cell.as_tuple().exponent or 0) < 0


def _is_kept(cell: bytes) -> bool:
    """Whether a float keeps the digits of a plain number."""
    digits = re.sub(rb"[eE].*|[^0-9.]", b"", cell)
    if b"." not in digits:
        return len(digits) < MAX_DIGITS and int(digits or b"0") <= MAX_EXACT_FLOAT
    return len(digits.replace(b".", b"").strip(b"0")) <= MAX_DIGITS


def _by_name(guess: Guess, words: str, cells: Sequence[Any], convert: Convert) -> Guess:
    """What a column is called decides between a number and a name of rows, groups or classes."""
    is_name = ROW_OR_GROUP_NAME.search(words) is not None
    if guess.type != "number" or not (is_name or TARGET_NAME.search(words)):
        return guess
    present = [value for value in guess.values.to_pylist() if value is not None]
    is_whole = all(value == int(value) and abs(value) <= MAX_EXACT_FLOAT for value in present)
    if (
        is_whole
        and len(present) == len(cells)
        and (is_name or len(set(present)) <= MAX_WHOLE_LABELS)
    ):
        values, bad = cast_column(cells, "integer", convert=convert, max_cell_chars=NO_LIMIT)
        if not bad:
            return Guess("integer", values, guess.n_present)
    if is_name and convert is from_text:
        values, _ = cast_column(cells, "string", convert=convert, max_cell_chars=NO_LIMIT)
        return Guess("string", values, guess.n_present)
    why = "floats, which name neither rows nor groups" if is_name else ""
    return Guess("number", guess.values, guess.n_present, why)

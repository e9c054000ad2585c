"""How a file of a stranger writes numbers, truth and nothing, told from sampled cells.

What is told is sure: a sign that may mean two things stays a part of a text, and the draft says
why. Cells of which it is sure are rewritten as a plain file has them, so that types are guessed in
one way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from catalog.contracts.contract import ColumnType
from catalog.contracts.csv_files import CsvFormat
from catalog.contracts.rules import TO_FILL
from catalog.readers.cells import cast_column, from_text
from catalog.readers.dialect import plain_boolean, plain_number
from catalog.readers.sniffed_dates import sniff_dates

Way = tuple[Literal[".", ","], str | None]
# Words that mean that there is nothing, wherever they stand
NOTHING = frozenset(("na", "n/a", "#n/a", "null", "\\n", "<na>"))
# Words that mean it where all other cells are numbers or dates, and that no text of the file is
PERHAPS = frozenset(
    ("-", "--", "---", "–", "—", "?", ".", "none", "nil", "missing", "n.a.", "k.a.", "nan")
)
TRUTHS = (
    ("yes", "no"), ("y", "n"), ("t", "f"), ("ja", "nein"), ("j", "n"), ("oui", "non"), ("sí", "no"),
    ("si", "no"), ("sim", "não"), ("wahr", "falsch"), ("vrai", "faux"), ("ja", "nee"),
    ("ja", "nej"), ("tak", "nie"), ("ano", "ne"), ("да", "нет"),
)  # fmt: skip
# A point before a comma: of two ways that read the same the first is taken
WAYS: Sequence[Way] = tuple(
    (decimal, thousands)
    for decimal in (".", ",")
    for thousands in (None, ".", ",", " ", "'", "’")
    if thousands != decimal
)
_MAYBE_NUMBER = re.compile(r"(?=.*[0-9])[+-]?[0-9.,' \u00a0\u202f\u2019]*(?:[eE][+-]?[0-9]+)?")
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_MAYBE_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(?:\.[0-9]{3})+")
_PLAIN_TYPES: Sequence[ColumnType] = ("integer", "number", "boolean", "date", "timestamp")
# With backslashes before marks no text is written so
DATABASE_NULL = "\\N"
NO_LIMIT = 1 << 40
PHONE_DIGITS = 7
MIXED_MARKS = "numbers whose marks may be of decimals or of thousands"


@dataclass
class ToldColumn:
    """The cells of a column as a plain file has them, and what a draft says about them."""

    cells: list[Any] = field(repr=False)
    format: str = ""  # of its dates; TO-FILL where a person has to say it
    remark: str = ""
    is_text: bool = False  # although its cells look like numbers of a plain file


def sniff_values(
    csv: CsvFormat, columns: Sequence[list[Any]], is_label: Sequence[bool]
) -> tuple[CsvFormat, list[ToldColumn]]:
    """The words and signs of a file, and its columns as a plain file would have them.

    Args:
        csv: the marks of the file.
        columns: cells as bytes; None where empty.
        is_label: which columns hold labels by their name, whose words stay words.
    """
    texts = [[_text(cell) for cell in column] for column in columns]
    nulls = _nulls(texts) | ({DATABASE_NULL} if csv.escape == "\\" else set()) & _words(texts)
    decimal, thousands = _signs([_distinct(column, nulls) for column in texts])
    true, false = _truths([_distinct(column, nulls) for column in texts], is_label)
    update = {"nulls": tuple(sorted(nulls)), "true": true, "false": false}
    csv = csv.model_copy(update={**update, "decimal": decimal, "thousands": thousands})
    number, boolean = plain_number(csv), plain_boolean(csv)
    as_read = []
    for column, words, is_of_labels in zip(columns, texts, is_label, strict=True):
        truth = str if is_of_labels else boolean
        kept = [None if word in nulls else cell for cell, word in zip(column, words, strict=True)]
        as_read.append(_told(kept, _distinct(words, nulls), number, truth))
    return csv, as_read


def with_dates(cells: list[Any]) -> ToldColumn:
    """A column of texts of a typed file, whose dates may be written otherwise than ISO 8601 has it.

    >>> with_dates(["13.01.2026", None]).format, with_dates(["2026-01-13"]).format
    ('%d.%m.%Y', '')
    """
    present = [cell for cell in cells if cell is not None]
    if not all(isinstance(cell, str | bytes) for cell in present):
        return ToldColumn(cells)
    words = {cell: cell if isinstance(cell, str) else cell.decode("utf-8", "replace")
             for cell in present}  # fmt: skip
    distinct = list(dict.fromkeys(words.values()))
    dates = sniff_dates(distinct)
    if not dates.formats or _is_plain(distinct):
        return ToldColumn(cells)
    iso_cells = [None if cell is None else dates.iso(words[cell]) for cell in cells]
    return ToldColumn(iso_cells, dates.formats[0] if dates.is_sure else TO_FILL, dates.remark)


def _told(
    cells: list[Any], distinct: Sequence[str], number: Callable[[str], str],
    boolean: Callable[[str], str],
) -> ToldColumn:  # fmt: skip
    if not distinct:
        return ToldColumn(cells)
    numbers: list[str] = []
    if number is not str and _are_numbers(numbers := [number(word) for word in distinct]):
        if _is_grouped(distinct) and _are_long(numbers) and not _are_amounts(numbers):
            return ToldColumn(cells, remark="digits in groups of one length", is_text=True)
        return ToldColumn(_rewritten(cells, number))
    truths = [boolean(word) for word in distinct]
    if boolean is not str and all(truth in ("true", "false") for truth in truths):
        return ToldColumn(_rewritten(cells, boolean))
    if _is_plain(distinct):
        # They are numbers as other files have them, and in this one they are none
        is_lost = number is not str and _are_maybe(distinct) and not all(numbers)
        return ToldColumn(cells, remark=MIXED_MARKS if is_lost else "", is_text=is_lost)
    dates = sniff_dates(distinct)
    if dates.formats:
        form = dates.formats[0] if dates.is_sure else TO_FILL
        return ToldColumn(_rewritten(cells, dates.iso), format=form, remark=dates.remark)
    is_maybe = _are_maybe(distinct) and any(map(_has_marks, distinct))
    return ToldColumn(cells, remark=MIXED_MARKS if is_maybe else "")


def _is_grouped(words: Sequence[str]) -> bool:
    return all(re.search(r"[0-9][^0-9][0-9]{3}\b", word) for word in words)


def _are_long(plain: Sequence[str]) -> bool:
    return all(len(word) >= PHONE_DIGITS for word in plain)


def _words(columns: Sequence[Sequence[str | None]]) -> set[str | None]:
    return {word for column in columns for word in column}


def _rewritten(cells: Sequence[Any], plain: Callable[[str], str]) -> list[Any]:
    return [None if cell is None else plain(_text(cell) or "").encode() for cell in cells]


def _text(cell: Any) -> str | None:
    """A cell as text; bytes that are none stand for a text that is of no other type."""
    if cell is None or cell == b"":
        return None
    return cell.decode("utf-8", "replace").strip(" ") if isinstance(cell, bytes) else "\ufffd"


def _distinct(words: Sequence[str | None], nulls: frozenset[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word is not None and word not in nulls]


def _has_marks(word: str) -> bool:
    return not word.lstrip("+-").isdigit()


def _are_maybe(words: Sequence[str]) -> bool:
    """Whether all may be numbers in some way of writing them."""
    return all(map(_MAYBE_NUMBER.fullmatch, words))


def _are_numbers(plain: Sequence[str]) -> bool:
    return all(word and _PLAIN_NUMBER.fullmatch(word) for word in plain)


def _is_plain(words: Sequence[str]) -> bool:
    """Whether a plain file has such numbers, dates or truth values."""
    cells = [word.encode() for word in words]
    return any(_is_of(cells[:1], kind) and _is_of(cells, kind) for kind in _PLAIN_TYPES)


def _is_of(cells: Sequence[bytes], kind: ColumnType) -> bool:
    return not cast_column(cells, kind, convert=from_text, max_cell_chars=NO_LIMIT)[1]


def _nulls(columns: Sequence[Sequence[str | None]]) -> frozenset[str]:
    """Words for nothing in columns of which all other cells are numbers, dates or truth values."""
    needed: set[str] = set()
    texts: set[str] = set()
    for column in columns:
        words = set(column) - {None}
        empty = {
            word for word in words if word is not None and word.casefold() in NOTHING | PERHAPS
        }
        rest = [word for word in words - empty if word is not None]
        if empty and rest and _is_typed(rest):
            # NaN is a null of any number already
            is_nan = {word.casefold() for word in empty} == {"nan"} and _is_plain(rest)
            needed |= set() if is_nan else empty
        elif not rest or not _is_typed(rest):
            texts |= empty
    return frozenset(w for w in needed if w.casefold() in NOTHING or w not in texts)


def _is_typed(words: Sequence[str]) -> bool:
    if _is_plain(words) or sniff_dates(words).formats:
        return True
    if {word.casefold() for word in words} in map(set, TRUTHS):
        return True
    return bool(_readings(words))


def _number(way: Way) -> Callable[[str], str]:
    return plain_number(CsvFormat(decimal=way[0], thousands=way[1]))


def _signs(columns: Sequence[Sequence[str]]) -> Way:
    """The decimal sign and the mark between thousands; the plain ones unless others are sure."""
    readings = [_readings(column) for column in columns]
    odd = [reading for reading in readings if reading and WAYS[0] not in reading]
    plain = [c for c, reading in zip(columns, readings, strict=True) if WAYS[0] in reading]
    has_point = any("." in w and not _MAYBE_GROUPED.fullmatch(w) for c in plain for w in c)
    sure = [reading for reading in odd if _is_sure(reading)]
    best, n_best = WAYS[0], 0
    for way in WAYS[1:]:
        is_broken = has_point and "." in (way[1], "." if way[0] == "," else "")
        if not is_broken and any(way in reading for reading in sure):
            n_read = sum(way in reading for reading in sure)
            best, n_best = (way, n_read) if n_read > n_best else (best, n_best)
    return best


def _is_sure(reading: Mapping[Way, tuple[str, ...]]) -> bool:
    """Whether all ways give the same numbers, and groups of digits are of amounts."""
    if len(set(reading.values())) != 1:
        return False
    plain = next(iter(reading.values()))
    is_grouped = all(thousands is not None for _, thousands in reading)
    return not is_grouped or _are_amounts(plain) or not _are_long(plain)


def _are_amounts(plain: Sequence[str]) -> bool:
    """Whether numbers differ in length or have decimals; those of phones and accounts do not."""
    return any("." in word for word in plain) or len({len(word) for word in plain}) > 1


def _readings(words: Sequence[str]) -> dict[Way, tuple[str, ...]]:
    """What the cells mean in each way of writing numbers that all of them keep to."""
    if not words or not _are_maybe(words):
        return {}
    numbers = {way: tuple(map(_number(way), words)) for way in WAYS}
    return {way: read for way, read in numbers.items() if _are_numbers(read)}


def _truths(
    columns: Sequence[Sequence[str]], is_label: Sequence[bool]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words for true and for false, of columns that hold both and nothing else.

    Where no name says which column is the label, each of them may be it, and its words stay words.
    """
    if not any(is_label):
        return (), ()
    pairs: dict[tuple[str, str], None] = {}
    for column, is_of_labels in zip(columns, is_label, strict=True):
        words = {word.casefold() for word in column}
        pairs |= {pair: None for pair in TRUTHS if words == set(pair) and not is_of_labels}
    if pairs and any(
        {w.casefold() for w in column} <= {"true", "false"} for column in columns if column
    ):
        pairs[("true", "false")] = None
    true, false = (tuple(dict.fromkeys(pair[at] for pair in pairs)) for at in (0, 1))
    return ((), ()) if set(true) & set(false) else (true, false)

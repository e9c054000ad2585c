"""Single cells: from what a file holds to what the contract says, or the code of what is wrong."""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import pyarrow as pa

from catalog.contracts.contract import ColumnRule, ColumnType
from catalog.contracts.date_format import parse_moment

REASONS: Mapping[str, str] = {
    "wrong_type": "the cell is not of the type that the contract says",
    "not_finite": "the number is NaN or infinite",
    "too_long": "the cell is longer than any cell may be",
    "outside_calendar": "the date or time lies outside the years 1 to 9999",
    "ragged_row": "the row has more or fewer cells than the header, or is quoted wrongly",
    "invalid_utf8": "the bytes are not UTF-8",
    "undecodable": "the bytes are not text in the encoding that files.csv.encoding says",
    "invalid_json": "the line is not one JSON object with distinct keys",
    "not_fhir": "the line or the entry of the Bundle is no FHIR resource",
    "several_values": "several elements of a list match where the column takes one",
    "not_in_map": "the map of the column does not say what the cell stands for",
    "not_base64": "the cell is no base64 text",
    "excel_error": "the cell holds an error of Excel, such as #N/A or #VALUE!",
    "not_computed": "the formula of the cell has no stored result: open the file in Excel and"
    " save it",
    "merged_cell": "the cell is a part of a merged area, and files.excel.merged does not say what"
    " it holds",
    "differs_from_folder": "the cell says something else than the folder of its file",
}
ARROW_TYPES: Mapping[ColumnType, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


class BadCell(NamedTuple):
    """A cell that could not be accepted: which row of the batch, which column, and why."""

    row: int  # offset in the batch, from 0
    column: str  # '' where the whole row is bad
    reason: str  # key of REASONS


@dataclass(frozen=True)
class TypedBatch:
    """Rows as the contract types them, null where a cell is bad; the repr holds no value.

    Row numbers count the rows of the file from 1, the header and blank lines left out, unless
    `row_numbers` says where each row stands. `missing_columns` are columns of the contract that no
    row of this batch has; a column is missing from the file if it is missing from every batch.
    """

    table: pa.RecordBatch = field(repr=False)
    first_row_number: int
    bad_cells: list[BadCell]
    unknown_columns: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    row_numbers: tuple[int, ...] | None = field(default=None, repr=False)

    @property
    def numbers(self) -> Sequence[int]:
        """The number of each row in the file."""
        first = self.first_row_number
        return self.row_numbers or range(first, first + self.table.num_rows)


class Refused(NamedTuple):
    """What stands for a cell that a reader did not keep."""

    reason: str  # key of REASONS


TOO_LONG: Final = Refused("too_long")
NESTED: Final = Refused("wrong_type")  # of a list or an object, which no type of a contract is
Convert = Callable[[Any, ColumnType], Any]


class CellRefusedError(Exception):
    """Inside this package only: carries a reason code, never what the cell held."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def cast_column(
    cells: Sequence[Any], column_type: ColumnType, *, convert: Convert, max_cell_chars: int
) -> tuple[pa.Array, list[tuple[int, str]]]:
    """One column: values of the contract's type, and (row, reason code) of each cell set to null.

    >>> cast_column([b"7", b"", b"x"], "integer", convert=from_text, max_cell_chars=9)[1]
    [(2, 'wrong_type')]
    """
    values: list[Any] = []
    bad: list[tuple[int, str]] = []
    for row, cell in enumerate(cells):
        value = None
        if isinstance(cell, Refused):
            bad.append((row, cell.reason))
        elif cell is not None:
            try:
                value = convert(cell, column_type)
                if isinstance(value, str) and len(value) > max_cell_chars:
                    value = _refuse("too_long")
            except CellRefusedError as refused:
                value = None
                bad.append((row, refused.reason))
        values.append(value)
    return pa.array(values, ARROW_TYPES[column_type]), bad


def converter(rule: ColumnRule, convert: Convert) -> Convert:
    """How the cells of a column are converted, where its rule says more than its type.

    NaN is no value where there may be none. A key or group that is text may be a whole number in
    JSON or Parquet, and is named by its digits. What is joined of a list was decoded before.
    """
    if rule.decode is not None and rule.join is None:
        plain = converter(rule.model_copy(update={"decode": None}), convert)
        return lambda cell, kind: plain(decoded_cell(cell, rule), kind)
    if rule.map is not None:
        return _mapping(rule.map, convert)
    if rule.format is not None:
        return _by_format(rule.format, convert)
    if rule.type == "number" and rule.nullable:
        return lambda cell, kind: None if is_nan(cell) else convert(cell, kind)
    if rule.type == "string" and (rule.key or rule.group):
        return lambda cell, kind: convert(str(cell) if _is_whole(cell) else cell, kind)
    return convert


def decoded_cell(cell: Any, rule: ColumnRule) -> Any:
    """The bytes that a cell says in the encoding of its column; the cell itself where it has none.

    >>> decoded_cell("SGVsbG8=", ColumnRule(type="string", decode="base64"))
    b'Hello'

    Raises:
        CellRefusedError: if it is no text in this encoding.
    """
    if rule.decode is None:
        return cell
    text = cell if isinstance(cell, bytes) else _accept_string(cell).encode("utf-8", "replace")
    try:
        return binascii.a2b_base64(b"".join(text.split()), strict_mode=True)
    except binascii.Error:
        raise CellRefusedError("not_base64") from None


def _mapping(entries: Mapping[str, Any], convert: Convert) -> Convert:
    """What lands is what the map says of the cell's text; an empty cell stays empty.

    A text file that declares its words for nothing, truth and numbers may be mapped by what they
    mean.
    """
    truths = {key.lower(): value for key, value in entries.items() if key.lower() in _TRUTHS}
    known = {**truths, **entries}

    def mapped(cell: Any, _: ColumnType) -> Any:
        for text in _texts_of(cell):
            if text in known:
                return known[text]
        if cell in (b"", ""):
            return None
        if isinstance(cell, bytes) and convert is not from_text:
            return meant(cell)
        return _refuse("not_in_map")

    def meant(cell: bytes) -> Any:
        for kind in _MEANINGS:
            try:
                value = convert(cell, kind)
            except CellRefusedError:
                continue
            if value is None:
                return None
            for text in _texts_of(value):
                if text in known:
                    return known[text]
        return _refuse("not_in_map")

    return mapped


def _texts_of(cell: Any) -> list[str]:
    """How a map may name the cell: as it stands, without spaces, a whole number by its digits.

    >>> _texts_of(b" 1.0"), _texts_of(True), _texts_of(2.0)
    ([' 1.0', '1.0', '1'], ['true'], ['2.0', '2'])
    """
    if isinstance(cell, bool):
        return [str(cell).lower()]
    if isinstance(cell, bytes):
        cell = _decoded(cell)
    if isinstance(cell, date):
        return [cell.isoformat()]
    if not isinstance(cell, str | int | float | Decimal):
        return []
    text = format(cell, "f") if isinstance(cell, Decimal) else str(cell)
    texts = [text, text.strip(" ")]
    if match := _WHOLE.fullmatch(texts[-1]):
        texts.append(match[1])
    if texts[1].lower() in _TRUTHS:
        texts.append(texts[1].lower())
    return list(dict.fromkeys(texts))


def _by_format(form: str, convert: Convert) -> Convert:
    """Texts are read by the format; a cell that is a date already is as any other."""

    def read(cell: Any, kind: ColumnType) -> Any:
        if isinstance(cell, date):
            return convert(cell, kind)
        text = convert(str(cell) if _is_whole(cell) else cell, "string")
        if text is None:
            return None
        try:
            moment = parse_moment(text.strip(" "), form)
        except ValueError:
            raise CellRefusedError("wrong_type") from None
        return moment.date() if kind == "date" else moment

    return read


def is_nan(cell: Any) -> bool:
    """Whether a cell says that there is no number.

    >>> [is_nan(cell) for cell in (float("nan"), b"NaN", float("inf"), b"none", None)]
    [True, True, False, False, False]
    """
    if isinstance(cell, bytes):
        return cell.strip(b" ").lower() in (b"nan", b"-nan")
    return isinstance(cell, float | Decimal) and math.isnan(cell)


def from_text(cell: bytes, column_type: ColumnType) -> Any:
    """A CSV cell: empty is null, numbers and dates are plain ASCII, dates are ISO.

    >>> from_text(b"2026-01-15", "date")
    datetime.date(2026, 1, 15)
    """
    text = _decoded(cell)
    if not text:
        return None
    return text if column_type == "string" else _PARSE[column_type](text.strip(" "))


def parse_plain(text: str, column_type: ColumnType) -> Any:
    """A value of another type than text, from a text without blanks around it."""
    return _PARSE[column_type](text)


def from_value(cell: Any, column_type: ColumnType) -> Any:
    """A cell of JSON or Parquet, which has a type already; bytes are UTF-8 text.

    >>> from_value(3.0, "integer"), from_value("2026-01-15", "date")
    (3, datetime.date(2026, 1, 15))
    """
    if isinstance(cell, bytes):
        cell = _decoded(cell)
    elif isinstance(cell, str) and not cell.isascii():
        _check_encodable(cell)
    return _ACCEPT[column_type](cell)


def _refuse(reason: str) -> Any:
    raise CellRefusedError(reason)


def _decoded(cell: bytes) -> str:
    try:
        return cell.decode("utf-8")
    except UnicodeDecodeError:
        raise CellRefusedError("invalid_utf8") from None


def _check_encodable(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        raise CellRefusedError("invalid_utf8") from None


MAX_EXACT_FLOAT = 2**53 - 1  # beyond, two whole numbers may be one float
_TRUTHS = ("true", "false")
_MEANINGS: tuple[ColumnType, ...] = ("string", "boolean", "number")
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0*")
_INTEGER = re.compile(r"([+-]?[0-9]{1,19})(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def _parse_integer(text: str) -> int:
    if match := _INTEGER.fullmatch(text):
        return _accept_integer(int(match[1]))
    return int(_refuse("not_finite" if _NOT_FINITE.fullmatch(text) else "wrong_type"))


def _parse_number(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return _accept_number(float(text))
    return float(_refuse("not_finite" if _NOT_FINITE.fullmatch(text) else "wrong_type"))


def _parse_boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.lower())
    return bool(_refuse("wrong_type")) if value is None else value


def _parse_date(text: str) -> date:
    try:
        return date.fromisoformat(text if _DATE.fullmatch(text) else "")
    except ValueError:
        raise CellRefusedError("wrong_type") from None


def _parse_timestamp(text: str) -> datetime:
    try:
        return _in_utc(datetime.fromisoformat(text if _TIMESTAMP.fullmatch(text) else ""))
    except ValueError:
        raise CellRefusedError("wrong_type") from None


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise CellRefusedError("wrong_type") from None


def _accept_string(value: Any) -> str:
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    if _is_whole(value) and not _fits(value):
        return str(value)  # more digits than an integer or a float could keep
    return value if isinstance(value, str) else str(_refuse("wrong_type"))


def _accept_integer(value: Any) -> int:
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            _refuse("not_finite")
        is_exact = isinstance(value, Decimal) or abs(value) <= MAX_EXACT_FLOAT
        value = int(value) if is_exact and value == int(value) else None
    if not _is_whole(value) or not _fits(value):
        _refuse("wrong_type")
    return int(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _fits(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _accept_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        _refuse("wrong_type")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return number if math.isfinite(number) else float(_refuse("not_finite"))


def _accept_boolean(value: Any) -> bool:
    return value if isinstance(value, bool) else bool(_refuse("wrong_type"))


def _accept_date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    return _parse_date(_accept_string(value))


def _accept_timestamp(value: Any) -> datetime:
    return (
        _in_utc(value) if isinstance(value, datetime) else _parse_timestamp(_accept_string(value))
    )


_PARSE: Mapping[ColumnType, Callable[[str], Any]] = {
    "integer": _parse_integer,
    "number": _parse_number,
    "boolean": _parse_boolean,
    "date": _parse_date,
    "timestamp": _parse_timestamp,
}
_ACCEPT: Mapping[ColumnType, Callable[[Any], Any]] = {
    "string": _accept_string,
    "integer": _accept_integer,
    "number": _accept_number,
    "boolean": _accept_boolean,
    "date": _accept_date,
    "timestamp": _accept_timestamp,
}

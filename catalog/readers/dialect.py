"""The marks of a CSV file as bytes of UTF-8, and its words and numbers as values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from catalog.contracts.contract import ColumnType
from catalog.contracts.csv_files import PLAIN, SPACES, CsvFormat, codec_of
from catalog.readers.cells import CellRefusedError, Convert, from_text, parse_plain

_OF_VALUES = ("encoding", "decimal", "thousands", "true", "false", "nulls")


@dataclass(frozen=True)
class Marks:
    r"""What the bytes of a CSV file are cut at; empty where there is no such mark.

    A plain cell that is one of `kept` is not unescaped: `\N` is how databases write null.
    """

    delimiter: bytes = b","
    quote: bytes = b'"'
    escape: bytes = b""
    comment: bytes = b""
    skip_rows: int = 0
    kept: tuple[bytes, ...] = ()


PLAIN_MARKS = Marks()


def marks_of(csv: CsvFormat) -> Marks:
    """The marks that a contract declares."""
    kept = (word.encode() for word in csv.nulls if csv.escape and csv.escape in word)
    return Marks(
        delimiter=csv.delimiter.encode(),
        quote=(csv.quote or "").encode(),
        escape=(csv.escape or "").encode(),
        comment=(csv.comment or "").encode(),
        skip_rows=csv.skip_rows,
        kept=tuple(kept),
    )


def text_converter(csv: CsvFormat) -> Convert:
    """How cells of such a file become values; of a plain one `from_text` itself.

    >>> convert = text_converter(CsvFormat(decimal=",", thousands=".", nulls=("n/a",)))
    >>> convert(b"1.234,5", "number"), convert(b"n/a", "date"), convert(b"1.234", "integer")
    (1234.5, None, 1234)
    """
    if all(getattr(csv, key) == getattr(PLAIN, key) for key in _OF_VALUES):
        return from_text
    reason = "invalid_utf8" if codec_of(csv.encoding) == "utf-8" else "undecodable"
    nulls = frozenset(csv.nulls)
    written: Mapping[ColumnType, Callable[[str], str]] = {
        "integer": plain_number(csv),
        "number": plain_number(csv),
        "boolean": plain_boolean(csv),
    }

    def convert(cell: bytes, column_type: ColumnType) -> Any:
        try:
            text = cell.decode("utf-8")
        except UnicodeDecodeError:
            raise CellRefusedError(reason) from None
        word = text.strip(" ")
        if not text or text in nulls or word in nulls:
            return None
        if column_type == "string":
            return text
        plain = written.get(column_type, str)
        return parse_plain(plain(word), column_type)

    return convert


def plain_number(csv: CsvFormat) -> Callable[[str], str]:
    """A number with a point and without marks between thousands; else what no number is."""
    if csv.decimal == "." and csv.thousands is None:
        return str
    decimal = re.escape(csv.decimal)
    grouped = ""
    if csv.thousands is not None:
        between = f"[{re.escape(SPACES if csv.thousands in SPACES else csv.thousands)}]"
        # One mark in a number: 1 234'567 is a slip of the pen
        grouped = rf"[0-9]{{1,3}}(?P<mark>{between})[0-9]{{3}}(?:(?P=mark)[0-9]{{3}})*|"
    number = re.compile(
        rf"([+-]?)(?P<whole>{grouped}[0-9]*)(?:{decimal}(?P<rest>[0-9]*))?(?P<power>[eE][+-]?[0-9]+)?"
    )
    others = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)

    def plain(text: str) -> str:
        match = number.fullmatch(text)
        if match is None:
            return text if others.fullmatch(text) else ""
        whole, rest = re.sub(r"[^0-9]", "", match["whole"]), match["rest"]
        return f"{match[1]}{whole}{'' if rest is None else f'.{rest}'}{match['power'] or ''}"

    return plain


def plain_boolean(csv: CsvFormat) -> Callable[[str], str]:
    """A truth value as a plain file has it; else what no truth value is."""
    if not csv.true:
        return str
    words = {word.strip().casefold(): "true" for word in csv.true}
    words |= {word.strip().casefold(): "false" for word in csv.false}
    return lambda text: words.get(text.casefold(), "")

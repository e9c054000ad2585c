"""How a CSV file is written where it is not plain: `files.csv`, and what may be wrong with it."""

from __future__ import annotations

import codecs
import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from encodings.aliases import aliases
from typing import Any, Literal

from pydantic import Field, StrictInt, StrictStr

from catalog.contracts.strict import Strict
from catalog.errors import Fault

MAX_MARK_CHARS = 4
MAX_SKIPPED = 100_000
SPACES = " \u00a0\u202f"  # that people write between the thousands, which no eye tells apart
_WORDS = {"comma": ",", "semicolon": ";", "tab": "\\t", "\\t": "\\t", "pipe": "|", "space": " "}
# Codecs of text that no file is written in
_NO_FILE = frozenset(("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"))
_COMMON = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "cp1250", "cp1251", "cp437",
           "cp850", "latin-1", "iso8859-15", "mac-roman", "shift_jis", "gb18030")  # fmt: skip


def _unless(default: Any) -> Any:
    """A field that is left out of a dump where it says nothing, so that hashes stay."""
    return Field(default=default, exclude_if=lambda value: value == default)


class CsvFormat(Strict):
    """The marks, words and encoding of a CSV file; each is what RFC 4180 says if not told.

    `skip_rows` counts physical lines above the header. `true`, `false` and `nulls` are words of
    cells; `true` and `false` replace the usual ones, in any case. An empty cell is always null.
    """

    delimiter: StrictStr = _unless(",")
    encoding: StrictStr = _unless("utf-8")
    quote: StrictStr | None = _unless('"')
    escape: StrictStr | None = _unless(None)
    decimal: Literal[".", ","] = _unless(".")
    thousands: StrictStr | None = _unless(None)
    skip_rows: StrictInt = Field(default=0, ge=0, le=MAX_SKIPPED, exclude_if=lambda n: not n)
    comment: StrictStr | None = _unless(None)
    true: tuple[StrictStr, ...] = _unless(())
    false: tuple[StrictStr, ...] = _unless(())
    nulls: tuple[StrictStr, ...] = _unless(())


PLAIN = CsvFormat()


def codec_of(encoding: str) -> str | None:
    """The codec that an encoding's name means, if files of text are written in it.

    >>> codec_of("Latin-1"), codec_of("UTF8"), codec_of("utf-8-sig"), codec_of("rot13")
    ('iso8859-1', 'utf-8', 'utf-8', None)
    """
    try:
        codec = codecs.lookup(encoding)
        "".encode(encoding)  # only text encodings can
    except (LookupError, ValueError):
        return None
    if codec.name.replace("-", "_") in _NO_FILE or codec.incrementaldecoder is None:
        return None
    return codec.name.removesuffix("-sig")


def csv_faults(csv: CsvFormat | None, file_format: str) -> Iterator[Fault]:
    """What is wrong with `files.csv`; no value of it is repeated."""
    if csv is None:
        return
    if file_format != "csv":
        yield Fault("files.csv", "is for CSV only", "no such key")
        return
    if codec_of(csv.encoding) is None:
        yield Fault("files.csv.encoding", "is no known encoding", _nearest(csv.encoding))
    yield from _delimiter_faults(csv)
    yield from _mark_faults(csv)
    yield from _thousands_faults(csv)
    yield from _word_faults(csv)


def _nearest(encoding: str) -> str:
    known = sorted({*_COMMON, *aliases})
    close = difflib.get_close_matches(encoding.lower(), known, n=1)
    return ", ".join(_COMMON) + (f"  (did you mean '{close[0]}'?)" if close else "")


def _delimiter_faults(csv: CsvFormat) -> Iterator[Fault]:
    path, mark = "files.csv.delimiter", csv.delimiter
    if word := _WORDS.get(mark.lower()):
        yield Fault(path, "must be the mark itself", f'"{word}", in double quotes')
    elif not 1 <= len(mark) <= MAX_MARK_CHARS or any(map(str.isalnum, mark)) or _is_broken(mark):
        expected = f"1 to {MAX_MARK_CHARS} characters, none a letter, a digit or a line end"
        yield Fault(path, "cannot stand between cells", expected)


def _mark_faults(csv: CsvFormat) -> Iterator[Fault]:
    for key in ("quote", "escape"):
        mark = getattr(csv, key)
        if mark is not None and (
            len(mark) != 1 or mark.isalnum() or mark.isspace() or mark == "\0"
        ):
            expected = "one character; null where there is none"
            yield Fault(f"files.csv.{key}", "is no mark", expected)
        elif mark is not None and mark in csv.delimiter:
            yield Fault(f"files.csv.{key}", "is in files.csv.delimiter too", "another mark")
    if csv.escape is not None and csv.escape == csv.quote:
        what = "is files.csv.quote too"
        expected = "no such key: a quote that is written twice is known without"
        yield Fault("files.csv.escape", what, expected)
    comment = csv.comment
    if comment is None:
        return
    if not 1 <= len(comment) <= MAX_MARK_CHARS or comment.isspace() or _is_broken(comment):
        expected = f"1 to {MAX_MARK_CHARS} characters that such lines begin with, or null"
        yield Fault("files.csv.comment", "is no mark", expected)
    elif comment.startswith((csv.delimiter, csv.quote or csv.delimiter)):
        yield Fault("files.csv.comment", "begins as a row may", "another mark than the other ones")


def _thousands_faults(csv: CsvFormat) -> Iterator[Fault]:
    mark = csv.thousands
    if mark is None:
        return
    if len(mark) != 1 or mark.isalnum() or mark in "+-" or _is_broken(mark):
        yield Fault("files.csv.thousands", "is no mark between digits", 'such as ".", "," or " "')
    elif mark == csv.decimal:
        yield Fault("files.csv.thousands", "is files.csv.decimal too", "another mark, or none")


def _word_faults(csv: CsvFormat) -> Iterator[Fault]:
    for key, other in (("true", "false"), ("false", "true")):
        if getattr(csv, key) and not getattr(csv, other):
            yield Fault(f"files.csv.{other}", f"is missing beside files.csv.{key}", "its words")
    words = Counter(word.strip().casefold() for word in (*csv.true, *csv.false))
    if "" in words:
        yield Fault("files.csv.true", "has an empty word, or false has", "an empty cell is null")
    if any(count > 1 for count in words.values()):
        what = "one word is in both files.csv.true and files.csv.false"
        yield Fault("files.csv.true", what, "distinct words, whatever their case")
    if len(set(csv.nulls)) < len(csv.nulls):
        yield Fault("files.csv.nulls", "repeats itself", "distinct words")
    if words.keys() & {word.strip().casefold() for word in csv.nulls}:
        yield Fault("files.csv.nulls", "has a word of files.csv.true or false", "distinct words")


def _is_broken(mark: str) -> bool:
    return not {"\r", "\n", "\0"}.isdisjoint(mark)


def mark_text(mark: str) -> str:
    """What stands between cells, in words.

    >>> mark_text(";"), mark_text("::")
    ('semicolons', "'::'")
    """
    return _TOLD.get(mark, repr(mark))


_TOLD = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", ":": "colons",
         " ": "spaces", ", ": "commas with a space"}  # fmt: skip
USUAL: Sequence[str] = (",", ";", "\t", "|")

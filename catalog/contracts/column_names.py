"""Rules of a contract about what its columns are called, here and in the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from catalog.contracts.contract import ColumnRule
from catalog.contracts.faults import shown_path
from catalog.contracts.files import Files
from catalog.contracts.images import IMAGE_FORMATS
from catalog.errors import Fault

MAX_COLUMN_CHARS = 128
# Columns of ours in raw.<source> that a name of the data could be; all others begin with _
LAKE_NAMES = ("recorded_at", "superseded_at", "retracted_at")
_REFUSED_MARKS = "\"'`;\\"
_ELSEWHERE = "another name, and `in_file:` with what the file calls it"


def is_column_name(name: str) -> bool:
    """Whether a contract may call a column so, names that differ only in case aside.

    >>> [is_column_name(name) for name in ("age", "Alter in Jahren", "_id", "patient's age")]
    [True, True, False, False]
    """
    return not _name_fault(name)


def name_faults(names: tuple[str, ...]) -> Iterator[Fault]:
    """What is wrong with the names that a contract gives its columns."""
    for name in names:
        if fault := _name_fault(name):
            yield Fault(shown_path(["columns", name]), *fault)
    for _, count in Counter(name.casefold() for name in names).items():
        if count > 1:
            what = f"{count} names differ only in case"
            yield Fault("columns", what, f"the lake ignores case: {_ELSEWHERE}")


def in_file_faults(columns: Mapping[str, ColumnRule], files: Files | None) -> Iterator[Fault]:
    """What is wrong with where the columns are in the file."""
    for name, rule in columns.items():
        if fault := _in_file_fault(rule, files):
            yield Fault(shown_path(["columns", name, "in_file"]), *fault)
    counts = Counter(
        name if rule.in_file is None else rule.in_file
        for name, rule in columns.items()
        if rule.from_ is None
    )
    for _, count in counts.items():
        if count > 1:
            yield Fault("columns", f"{count} columns are one column of the file", "one each")
    if files is not None and not files.header and files.format not in ("csv", "xlsx"):
        yield Fault("files.header", "is for CSV and Excel only", "no such key")


def _name_fault(name: str) -> tuple[str, str] | None:
    is_shown = bool(name) and len(name) <= MAX_COLUMN_CHARS
    if not is_shown or not name.isprintable() or any(mark in name for mark in _REFUSED_MARKS):
        expected = f"up to {MAX_COLUMN_CHARS} printable characters without quotes"
        return "is no usable column name", f"{expected}; or {_ELSEWHERE}"
    if name.startswith("_"):
        return "begins with an underscore", f"these names are the lake's: {_ELSEWHERE}"
    if name.casefold() in LAKE_NAMES:
        return "is a column that the lake adds to every source", _ELSEWHERE
    return None


def _in_file_fault(rule: ColumnRule, files: Files | None) -> tuple[str, str] | None:
    in_file = rule.in_file
    if isinstance(in_file, int) and in_file < 1:
        return "is no place of a column", "1 for the first column of the file"
    if files is None:
        return None
    if not files.header and not isinstance(in_file, int) and rule.from_ is None:
        return (
            "is no place, and files.header says that there are no names",
            "1 for the first column",
        )
    if in_file is not None and files.format in IMAGE_FORMATS:
        return "is for tables only", "no such key"
    if isinstance(in_file, int) and files.format in ("jsonl", "fhir"):
        return "is a place, and keys of JSON have none", "the key as the file has it"
    return None

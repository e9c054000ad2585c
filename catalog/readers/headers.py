"""Whether a name of a column may be shown, and whether a first line surely holds names.

A table that was exported wrongly has cells where names should be: the first row of a file without
a header, patients as the columns of a pivoted table, keys of JSON that are record numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

from catalog.deid.check import scan_text
from catalog.deid.gazetteer import fold, is_given, is_only_given, is_only_surname, is_surname

MAX_NAME_CHARS = 64
MAX_WORDS = 8
MAX_SHOWN_DIGITS = 4  # a year or a place; more digits may be a record number
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z']+")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(?:[A-Z0-9][A-Za-z0-9]*)*(?:[_.-][A-Za-z0-9]+)*")
_NOBODY = frozenset({"doe", "roe"})
_LONG_NUMBER = re.compile(r"[0-9]{5}")
_NO_VALUE = frozenset(
    [
        "unknown",
        "na",
        "n/a",
        "nan",
        "none",
        "null",
        "nil",
        "missing",
        "unclear",
        "yes",
        "no",
        "true",
        "false",
    ]
)
_NUMBER = re.compile(r"[+-]?[0-9][0-9.,:/ TZ+-]*(?:[eE][+-]?[0-9]+)?")


def looks_like_value(name: str) -> bool:
    """Whether the name of a column may be somebody's data, or in letters that cannot be judged.

    >>> [looks_like_value(name) for name in ("Patient's age", "Jane Doe", "00417736", "heart rate")]
    [False, True, True, False]
    """
    plain = fold(name)
    if not plain.isprintable() or not plain.isascii() or len(plain) > MAX_NAME_CHARS:
        return True
    if not re.search(r"[A-Za-z]", plain):
        return not plain.isdigit() or len(plain) > MAX_SHOWN_DIGITS
    words = _words(plain)
    if len(words) > MAX_WORDS or _LONG_NUMBER.search(plain):
        return True
    if scan_text(plain) or scan_text(" ".join(words)):
        return True
    return _is_person(words) or _is_proper(plain, words)


def may_be_shown(name: str) -> bool:
    """Whether a message may hold the name, which came from a file and not from a contract.

    >>> may_be_shown("scanner_2"), may_be_shown("Report text"), may_be_shown("Karimnagar")
    (True, True, False)
    """
    is_plain = _IDENTIFIER.fullmatch(name) is not None or _n_known(_words(fold(name))) > 0
    return is_plain and not looks_like_value(name)


def is_header(
    names: Sequence[str], columns: Sequence[Sequence[str]], typed: Sequence[bool]
) -> bool:
    """Whether a first line surely holds names.

    Args:
        names: its cells; a column without a name says nothing.
        columns: the texts below each, the repetitions of the whole line left out.
        typed: whether all cells below are numbers, dates or truth values.
    """
    named = [index for index, name in enumerate(names) if name.strip()]
    words = {index: _words(fold(names[index])) for index in named}
    if any(names[index].strip().casefold() in _below(columns[index]) for index in named):
        return False
    known = [
        index for index in named
        if _is_all_known(names[index]) and not _are_all_known(columns[index])
    ]  # fmt: skip
    if len(known) >= max(2, (len(named) + 1) // 2):
        return True
    if not named or any(_is_no_name(names[index]) for index in named):
        return False
    if 2 * sum(typed[index] for index in named) >= max(4, len(named)):
        return True
    n_proper = sum(names[p][:1].isupper() and not _n_known(words[p]) for p in named)
    if known and 2 * n_proper < len(named):
        return True
    is_written = all(_IDENTIFIER.fullmatch(names[index]) for index in named)
    n_other = sum(typed[p] or not _are_identifiers(columns[p]) for p in named if columns[p])
    return is_written and 2 * n_other > len(named)


def is_number_like(name: str) -> bool:
    """Whether a cell of a first line is a number, a date or a time.

    >>> is_number_like("1970-01-01"), is_number_like("41"), is_number_like("age")
    (True, True, False)
    """
    return _NUMBER.fullmatch(name.strip()) is not None


def _is_all_known(name: str) -> bool:
    words = _words(fold(name))
    return _n_known(words) == len(words) > 0


def _are_all_known(cells: Sequence[str]) -> bool:
    return 2 * sum(map(_is_all_known, cells)) > len(cells)


def _is_no_name(name: str) -> bool:
    return name.strip().casefold() in _NO_VALUE or is_number_like(name) or looks_like_value(name)


def _below(cells: Sequence[str]) -> set[str]:
    return {cell.strip().casefold() for cell in cells}


def _are_identifiers(cells: Sequence[str]) -> bool:
    n_like = sum(_IDENTIFIER.fullmatch(cell) is not None for cell in cells)
    return 2 * n_like > len(cells)


def _words(plain: str) -> list[str]:
    return [word.strip("'") for word in _WORD.findall(plain) if word.strip("'")]


@cache
def _known() -> frozenset[str]:
    text = resources.files("catalog.readers").joinpath("header_words.txt").read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(fold(word) for line in lines for word in line.split())


def _is_known(word: str) -> bool:
    low = word.lower().removesuffix("'s")
    forms = {low, low.removesuffix("s"), low.removesuffix("es"), f"{low.removesuffix('ies')}y"}
    return not forms.isdisjoint(_known())


def _n_known(words: Sequence[str]) -> int:
    return sum(map(_is_known, words))


def _is_person(words: Sequence[str]) -> bool:
    """Whether all words are of a name, or two beside each other are and nothing else."""
    long = [word for word in words if len(word) > 1]
    if len(long) == 1:
        word = long[0]
        if _is_known(word):
            return False
        if is_only_given(word) or is_only_surname(word):
            return True
        return word[0].isupper() and _is_listed(word)
    named = [not _is_known(word) and _is_listed(word) for word in long]
    if long and all(named):
        return True
    capital = [word[0].isupper() for word in long]
    if len(long) == 2 and any(named) and all(capital) and not _n_known(long):
        return True
    pairs = zip(long, long[1:], named, named[1:], strict=False)
    return any(
        is_one and is_other and (is_only_given(name) or is_only_surname(other))
        for name, other, is_one, is_other in pairs
    )


def _is_listed(word: str) -> bool:
    return is_given(word) or is_surname(word) or word.lower() in _NOBODY


def _is_proper(plain: str, words: Sequence[str]) -> bool:
    """Whether it is several words, each with a capital, and none that columns are called by."""
    parts = plain.split()
    capital = [part for part in parts if part[:1].isupper()]
    return len(parts) > 1 and len(capital) > 1 and not _n_known(words)

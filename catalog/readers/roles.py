"""Which column of a profiled file seems to play which part in a contract."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from catalog.readers.guess import GROUP_NAME, KEY_NAME, TARGET_NAME
from catalog.readers.profile import ColumnProfile

MAX_SLICE_VALUES = 20
# What may be said of a patient, and names none: patient_sex stands beside patient_id
_NO_GROUP = ("_sex", "_gender", "_age", "_type", "_status", "_class", "_category", "_title")
_SMALL_NUMBERS = frozenset([*map(str, range(-1, 10)), "false", "true"])


@dataclass(frozen=True)
class Roles:
    """Which column seems to play which part; '' where none does."""

    key: str
    group: str
    input: str
    target: str


def guess_roles(columns: Sequence[ColumnProfile]) -> Roles:
    """The likeliest part of each column; a guess, for a person to check."""
    texts = [c for c in columns if c.type == "string" and c.n_distinct and not c.is_name_only]
    if len(texts) == 1 and texts[0].is_free_text:
        # The only text is what the task reads, and no name of its rows
        named = [c for c in columns if c is not texts[0]]
    else:
        named = [*columns]
    usable = [
        c for c in named
        if c.type in ("string", "integer") and c.mean_chars <= 64 and not c.has_blank
    ]  # fmt: skip
    unique = [c for c in usable if c.is_unique]
    unique.sort(key=lambda c: (c.is_free_text, not c.is_named))
    key = _first(unique, KEY_NAME, unique)
    repeated = [c for c in usable if c.name != key and not c.n_null and 1 < c.n_distinct < c.n_rows]
    repeated.sort(key=lambda c: KEY_NAME.search(c.words) is None and c.words.endswith(_NO_GROUP))
    group = _first(repeated, GROUP_NAME, [])
    texts = [c for c in texts if c.name not in (key, group)]
    plain = [c for c in texts if not c.has_suspicious_name] or texts
    longest = max(plain, key=lambda c: c.mean_chars, default=None)
    target = _target([c for c in columns if c not in (longest,) and c.name not in (key, group)])
    return Roles(key, group, longest.name if longest else "", target)


def _target(columns: Sequence[ColumnProfile]) -> str:
    """The column that seems to hold the label; where no name says so, words before numbers."""
    few = [
        c for c in columns
        if len(c.labels) >= 2 and not c.n_identifying
        and c.n_distinct <= max(2, c.n_rows // 2) and not c.has_suspicious_name
    ]  # fmt: skip
    words = sorted((c for c in few if c.type == "string"), key=lambda c: c.n_distinct)
    numbers = [c for c in few if c.type != "string"]
    small = [c for c in numbers if _SMALL_NUMBERS.issuperset(c.labels)]
    named = [c for c in few if TARGET_NAME.search(c.words)]
    by_name = [c for c in named if c.type == "string"] or named
    return next((c.name for c in [*by_name, *words, *small]), "")


def _first(
    columns: Sequence[ColumnProfile], wanted: re.Pattern[str], otherwise: Sequence[ColumnProfile]
) -> str:
    """The first column whose name is wanted, else the first of the others, else ''."""
    named = [c for c in columns if wanted.search(c.words)]
    return next((c.name for c in [*named, *otherwise]), "")


def is_slice(column: ColumnProfile, roles: Roles) -> bool:
    """Whether scores may be given by the few values of this column."""
    n_cells = column.n_rows - column.n_null
    is_few = 2 <= column.n_distinct <= min(MAX_SLICE_VALUES, n_cells // 5)
    is_doubtful = column.has_suspicious_name or column.n_identifying > 0
    is_plain = column.type in ("string", "boolean") and not is_doubtful
    return is_few and is_plain and column.name not in (roles.input, roles.target)

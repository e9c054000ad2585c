"""Which column of a profiled file seems to play which part in a contract."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from catalog.readers.profile import ColumnProfile

MAX_SLICE_VALUES = 20
KEY_NAME = re.compile(r"(^|_)(id|key|uuid|guid|accession|number|no|nr)$")
GROUP_NAME = re.compile(
    r"(^|_)(patient|subject|person|participant|case|document|doc|visit|encounter|admission|family"
    r"|study|author|group)(_|$)"
)
TARGET_NAME = re.compile(r"(^|_)(label|target|class|category|section|outcome|diagnosis|type)(_|$)")


@dataclass(frozen=True)
class Roles:
    """Which column seems to play which part; '' where none does."""

    key: str
    group: str
    input: str
    target: str


def told_roles(columns: Sequence[ColumnProfile]) -> Roles:
    """The likeliest part of each column; a guess, for a person to check."""
    usable = [c for c in columns if c.type in ("string", "integer") and c.mean_chars <= 64]
    key = _first([c for c in usable if c.is_unique], KEY_NAME, [c for c in usable if c.is_unique])
    repeated = [c for c in usable if c.name != key and not c.n_null and 1 < c.n_distinct < c.n_rows]
    group = _first(repeated, GROUP_NAME, [])
    texts = [
        c for c in columns
        if c.type == "string" and c.n_distinct and c.name not in (key, group)
    ]  # fmt: skip
    plain = [c for c in texts if not c.has_suspicious_name] or texts
    longest = max(plain, key=lambda c: c.mean_chars, default=None)
    named = [
        c for c in plain
        if c is not longest and len(c.labels) >= 2 and not c.n_identifying
        and c.n_distinct <= max(2, c.n_rows // 2) and not c.has_suspicious_name
    ]  # fmt: skip
    target = _first(named, TARGET_NAME, sorted(named, key=lambda c: c.n_distinct))
    return Roles(key, group, longest.name if longest else "", target)


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

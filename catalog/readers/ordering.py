"""The place of a file in the order of its source: by its name, its path or when it was modified."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from catalog.contracts.files import Files, PatternOrder
from catalog.contracts.images import IMAGE_FORMATS
from catalog.readers.files import COMPRESSIONS, absolute_pattern, file_name, modified_at
from catalog.readers.formats import READERS

DeliveryPlace = tuple[Any, ...]  # comparable within one contract; equal places tell no order

_WILDCARD = re.compile(r"[*?\[]")
_NUMBER = re.compile("([0-9]+)")
_CALENDAR = ("year", "month", "day", "hour", "minute", "second")


def needs_moment(files: Files) -> bool:
    """Whether the places of these files hang on when they were modified."""
    return files.order == "modified"


def moment_of(files: Files, uri: str) -> datetime | None:
    """When the file was modified, where its place hangs on that.

    Raises:
        InputError: its store does not tell.
    """
    return modified_at(uri) if needs_moment(files) else None


def place_of(files: Files, uri: str, *, modified: datetime | None = None) -> DeliveryPlace | None:
    r"""Where a file stands among those of its source; None where the pattern does not fit it.

    Of two files the one with the greater place is the later. Without an order it is the natural one
    that counts.

    >>> def files(order): return Files(path="/d/*/*.csv", format="csv", order=order)
    >>> early, late = "/d/2026-01/seq_9.csv.gz", "/d/2026-01/seq_10.csv"
    >>> place_of(files("natural"), early) < place_of(files("natural"), late)
    True
    >>> place_of(files("name"), early) < place_of(files("name"), late)
    False
    >>> place_of(files({"from": "name", "pattern": r"seq_(\d+)"}), late)
    (('', 10, ''),)
    """
    if files.format in IMAGE_FORMATS or not files.path:  # one delivery
        return ()
    order = files.order
    if order == "modified":
        return (modified or datetime.min.replace(tzinfo=UTC),)
    path = path_below(files, uri)
    if isinstance(order, PatternOrder):
        return _matched(order, path if order.read == "path" else file_name(uri))
    *folders, name = path.split("/")
    if order == "name":
        return (*folders, name)
    return tuple(_tokens(part) for part in (*folders, _stem(name)))


def path_below(files: Files, uri: str) -> str:
    """The part of a file's path that its source's glob leaves open: it names no machine's place.

    Of a file that lay elsewhere before, as many folders as the glob leaves open.

    >>> path_below(Files(path="/data/*/part-*.csv", format="csv"), "/data/2026-01/part-0.csv")
    '2026-01/part-0.csv'
    >>> path_below(Files(path="/data/*/part-*.csv", format="csv"), "/old/disk/2026-01/part-0.csv")
    '2026-01/part-0.csv'
    >>> path_below(Files(path="/data/part.csv", format="csv"), "/data/part.csv")
    'part.csv'
    """
    parts = absolute_pattern(files.path).split("/")
    n_fixed = next((i for i, part in enumerate(parts) if _WILDCARD.search(part)), len(parts) - 1)
    n_fixed = min(n_fixed, len(parts) - 1)
    segments = uri.replace("\\", "/").split("/")
    if segments[:n_fixed] == parts[:n_fixed] and len(segments) > n_fixed:
        return "/".join(segments[n_fixed:])
    n_open = 1 if "**" in parts else len(parts) - n_fixed
    return "/".join(segments[-n_open:])


def _matched(order: PatternOrder, text: str) -> DeliveryPlace | None:
    match = re.search(order.pattern, text)
    if match is None:
        return None
    named = match.re.groupindex
    dated = [named[name] for name in _CALENDAR if name in named]
    numbers = [*dated, *(n for n in range(1, match.re.groups + 1) if n not in dated)]
    return tuple(_tokens(match.group(number) or "") for number in numbers)


def _tokens(text: str) -> tuple[str | int, ...]:
    """Text and numbers in turn, so that two texts compare as people count.

    >>> _tokens("seq_9") < _tokens("seq_10") < _tokens("seq_10_fix")
    True
    """
    parts = _NUMBER.split(text)
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


def _stem(name: str) -> str:
    """A name without the endings that only say how it is written.

    >>> _stem("seq_9.csv.gz"), _stem("seq_9.v2"), _stem(".csv")
    ('seq_9', 'seq_9.v2', '.csv')
    """
    for endings in (tuple(COMPRESSIONS), tuple(_endings())):
        for ending in endings:
            if name.lower().endswith(ending) and len(name) > len(ending):
                name = name[: -len(ending)]
                break
    return name


def _endings() -> Iterator[str]:
    for reader in READERS.values():
        yield from sorted(reader.endings, key=len, reverse=True)

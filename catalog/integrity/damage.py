"""Damage: the one record of what a store lost, in words that every command shows alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalog.stores.places import PlacedFile, sha256_of

GONE, CHANGED, UNREADABLE = "is gone", "is not what was kept", "cannot be read"
REPAIR = "`rpe repair` makes it again"
RETRAIN = "`rpe repair` makes it again where its version or training gives the same; else a backup"
BACKUP = "Only a backup can bring it: see `Restore` in infra/runbook.md"


NAMED = 3  # records or files that a damage names; of more it says how many


def first_names(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are.

    >>> first_names(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def difference(lying: PlacedFile, n_bytes: int, sha256: str | None) -> str:
    """How a file differs from what was kept, in words; '' where not; without a hash by its size.

    Raises:
        StoreError: it cannot be read.
    """
    if lying.n_bytes != n_bytes:
        return f"{CHANGED}: {lying.n_bytes:,} bytes instead of {n_bytes:,}"
    is_same = sha256 is None or sha256_of(lying) == sha256
    return "" if is_same else f"{CHANGED}: another content of its length"


@dataclass(frozen=True)
class Damage:
    """Something that a store kept and that is not what was kept, or is gone."""

    store: str  # lake, catalog, vectors, registry, artifacts
    where: str  # record id, or path inside the store; never a path of the machine
    what: str  # what is wrong with it, beginning with one of the words above
    ids: tuple[str, ...] = ()  # of records: datasets, vectors, adapters, ensembles, models:/<n>/<v>
    cost: str = ""  # which source cannot be read, which target is not served
    remedy: str = BACKUP

    def __str__(self) -> str:
        parts = [f"{self.where} {self.what}", self.cost, self.remedy]
        return " ".join(f"{part}." for part in parts if part)

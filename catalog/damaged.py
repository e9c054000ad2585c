"""Damage: the one record of what a store lost, in words that every command shows alike."""

from __future__ import annotations

from dataclasses import dataclass

GONE, CHANGED, UNREADABLE = "is gone", "is not what was kept", "cannot be read"
REPAIR = "`rpe repair` makes it again"
RETRAIN = "`rpe repair` makes it again where its version or training gives the same; else a backup"
BACKUP = "Only a backup can bring it: see `Restore` in infra/runbook.md"


@dataclass(frozen=True)
class Damage:
    """Something that a store kept and that is not what was kept, or is gone."""

    store: str  # lake, catalog, vectors, registry, artifacts
    where: str  # record id, or path inside the store; never a path of the machine
    what: str  # what is wrong with it, beginning with one of the words above
    ids: tuple[str, ...] = ()  # of records: datasets, vectors, adapters, ensembles, models:/<n>/<v>
    cost: str = ""  # which source cannot be read, which target is not served
    remedy: str = BACKUP

    @property
    def is_repairable(self) -> bool:
        """Whether `rpe repair` can make it again, or may."""
        return self.remedy in (REPAIR, RETRAIN)

    def __str__(self) -> str:
        parts = [f"{self.where} {self.what}", self.cost, self.remedy]
        return " ".join(f"{part}." for part in parts if part)

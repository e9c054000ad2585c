"""Foretelling: what `rpe repair` would make again and what it would leave; nothing is written."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from catalog.integrity.artifacts import damage_of_artifacts
from catalog.integrity.damage import BACKUP, GONE, REPAIR, UNREADABLE, Damage
from catalog.integrity.lake_files import damage_of_lake
from catalog.integrity.registry import damage_of_registry
from catalog.integrity.vectors import damage_of_vectors
from catalog.lineage import source_of
from catalog.queries.adapters import member_ids_of
from catalog.queries.records import read_record
from catalog.queries.versions import model_versions_of
from catalog.records.champions import serving_by_target
from catalog.stores.lake.lake import Lake
from catalog.stores.registry.model_versions import ref_of
from catalog.stores.vectors.vectors import Vectors
from flows.upkeep import remake_artifacts, remake_vectors
from flows.verification import restore_versions
from flows.workspace.settings import Settings
from flows.workspace.stores import open_artifacts, open_registry, open_vectors
from rpe_core.errors import RpeError

Row = dict[str, Any]
Fate = tuple[Damage, bool, str]  # what is damaged, whether it is left, and how it is mended or why
LEFT_BY = f"It cannot be made again: {{}}. {BACKUP}"
ANEW, MOVED = "made anew; its versions follow", "moved aside; its vectors follow"
SERVES_AGAIN = "it is sound, and serves again"


def fates(
    settings: Settings, lake: Lake, contracts: Collection[str], scratch: Path
) -> Iterator[Fate]:
    """What would become of each damaged thing, in the order in which `repair` comes to it."""
    database = restore_versions.damage_of_database(settings)
    registry = None if database else _opened(partial(open_registry, settings, read_only=True))
    artifacts = _opened(partial(open_artifacts, settings, read_only=True))
    vectors = _opened(partial(open_vectors, settings, read_only=True, parts=scratch))
    if database:
        yield database_damage(database), False, ANEW
    for name in vectors.unreadable() if vectors else ():
        yield table_damage(name), False, MOVED
    rows = damage_of_lake(lake, is_deep=True)
    yield from ((damage, True, damage.remedy) for damage in rows)
    versions = {
        damage.ids[0]: damage for damage in damage_of_registry(lake, registry, is_deep=True)
    }
    teller = _Teller(lake, contracts, _unreadable_sources(rows), set(versions))
    folders = damage_of_artifacts(lake, artifacts, is_deep=True)
    yield from map(teller.of_artifact, remake_artifacts.in_order(folders))
    yield from teller.of_vectors(damage_of_vectors(lake, vectors, is_deep=True), vectors)
    ordered = [ref_of(row).uri for row in restore_versions.rows_of(lake, list(versions))]
    yield from (teller.of_version(versions[uri]) for uri in ordered)
    yield from (
        (damage, False, restore_versions.SET) for uri, damage in versions.items() if "@" in uri
    )
    yield from teller.of_withdrawn()


def database_damage(what: str) -> Damage:
    """MLflow's database, which is made anew as a whole."""
    cost = "No version is known, no alias: nothing is served"
    return Damage("registry", restore_versions.DATABASE, what, (), cost, REPAIR)


def table_damage(name: str) -> Damage:
    """A table of vectors that nobody can read, which is moved aside as a whole."""
    cost = "No target can be held against what is filed there"
    return Damage("vectors", f"Table {name}", "cannot be read", (), cost, REPAIR)


def vector_damage(damage: Damage, representation_id: str) -> Damage:
    """The part of a damage of vectors that is about one of them."""
    where, ids = f"The vector of {representation_id}", (representation_id,)
    return replace(damage, where=where, ids=ids)


def withdrawn_damage(target: str) -> Damage:
    """A champion that damage took away."""
    return Damage("registry", f"The champion of {target}", "was withdrawn", (target,))


@dataclass
class _Teller:
    """Tells what can be made from what is left: `lost` are records whose folder comes no more."""

    lake: Lake
    contracts: Collection[str]
    unreadable: Collection[str]  # sources
    damaged: Collection[str]  # versions as models:/<name>/<version>
    lost: set[str] = field(default_factory=set)

    def of_artifact(self, damage: Damage) -> Fate:
        """A folder is merged of its members, copied from its version, or trained again."""
        versions = model_versions_of(self.lake, damage.ids)
        if any(ref_of(row).uri not in self.damaged for row in versions):
            return damage, False, remake_artifacts.foretell(damage)
        if damage.ids[0].startswith("ensemble:"):
            is_lost = not self.lost.isdisjoint(member_ids_of(self.lake, damage.ids[0]))
            why = "its members are gone too" if is_lost else ""
        else:
            why = self._why_not_trained(damage.ids[0])
        if not why:
            return damage, False, remake_artifacts.foretell(damage)
        self.lost |= set(damage.ids)
        return damage, True, LEFT_BY.format(why)

    def of_vectors(self, damages: list[Damage], vectors: Vectors | None) -> Iterator[Fate]:
        """A vector is filed again where it still lies elsewhere, or encoded from its rows."""
        aside = set(vectors.unreadable()) if vectors else set[str]()
        for damage in remake_vectors.by_table(damages):
            if damage.ids[0] not in aside:
                yield damage, False, remake_vectors.WRITTEN
        there = set(vectors.keys()) if vectors and not aside else set[str]()
        for name, damage in remake_vectors.by_id(self.lake, damages):
            what = GONE if damage.what == UNREADABLE else damage.what
            its_own = vector_damage(replace(damage, what=what), name)
            why = "" if damage.what == GONE and name in there else self._why_not_encoded(name)
            yield its_own, bool(why), LEFT_BY.format(why) if why else remake_vectors.FORETOLD

    def of_version(self, damage: Damage) -> Fate:
        """A version is made of its artifact."""
        if damage.ids[1] in self.lost:
            return damage, True, LEFT_BY.format("its artifact is gone too")
        return damage, False, restore_versions.FORETOLD

    def of_withdrawn(self) -> Iterator[Fate]:
        """A champion that damage took away serves again once it is sound."""
        taken = {target: now.withdrawn for target, now in serving_by_target(self.lake).items()}
        for target, row in taken.items():
            if row and row["ensemble_id"] not in self.lost:
                yield withdrawn_damage(target), False, SERVES_AGAIN

    def _why_not_trained(self, adapter_id: str) -> str:
        row = read_record(self.lake, adapter_id)
        if row["origin"] != remake_artifacts.TRAINED:
            return "it was trained elsewhere, and no version of it is whole"
        return self._why_no_rows(row["dataset_version_id"])

    def _why_not_encoded(self, representation_id: str) -> str:
        row = read_record(self.lake, representation_id)
        if not remake_vectors.is_made_here(self.lake, row):
            return remake_vectors.IMPORTED
        return self._why_no_rows(row["dataset_version_id"])

    def _why_no_rows(self, dataset_version_id: str) -> str:
        source = source_of(dataset_version_id)
        if source not in self.contracts:
            return f"the workspace has no contract of {source}"
        return f"rows of {source} cannot be read" if source in self.unreadable else ""


def _unreadable_sources(damages: list[Damage]) -> set[str]:
    parts = [
        damage.where.split("/") for damage in damages if damage.cost.startswith("Rows of source")
    ]
    return {name for schema, name, *_ in parts if schema == "raw"}


def _opened(open_store: Any) -> Any:
    """A store to look at; None of one that is gone or cannot be opened."""
    try:
        return open_store()
    except RpeError:
        return None

"""Orphans: what a crash left in a store without the lake row that would make it true."""

from __future__ import annotations

from collections.abc import Collection

from catalog.records import intents
from catalog.stores.registry.model_versions import ModelVersion
from catalog.stores.stores import Stores


def remove_orphans(stores: Stores, *, withdrawn: Collection[str] = ()) -> dict[str, int]:
    """Remove from artifacts, vectors and registry what no lake row names; counts by kind.

    What another workspace has said that it is writing stays, but for `withdrawn` artifacts. The
    caller holds this one, and nobody can begin to write meanwhile.
    """
    with stores.lake.writing():
        coming = intents.records_in_flight(stores.lake)
        return {
            "orphan artifacts": _artifacts(stores, coming, withdrawn),
            "half-written artifacts": _leftovers(stores, coming),
            "orphan vectors": _vectors(stores, coming),
            "orphan model versions": _versions(stores, coming),
            "half-registered model versions": stores.registry.delete_drafts(),
        }


def _has_artifact(coming: Collection[str]) -> bool:
    """Whether an artifact is among them; which one its writer knows when all of it is there."""
    return any(record_id.startswith(("adapter:", "ensemble:")) for record_id in coming)


def _leftovers(stores: Stores, coming: Collection[str]) -> int:
    return 0 if _has_artifact(coming) else stores.artifacts.remove_leftovers()


def _artifacts(stores: Stores, coming: Collection[str], withdrawn: Collection[str]) -> int:
    named = _named(stores, "SELECT artifact_sha256 AS name FROM core.adapters")
    named |= _named(stores, "SELECT artifact_sha256 AS name FROM core.ensembles")
    orphans = [sha256 for sha256 in stores.artifacts.list() if sha256 not in named]
    if _has_artifact(coming):
        orphans = [sha256 for sha256 in orphans if sha256 in withdrawn]
    for sha256 in orphans:
        stores.artifacts.delete(sha256)
    return len(orphans)


def _vectors(stores: Stores, coming: Collection[str]) -> int:
    named = _named(stores, "SELECT representation_id AS name FROM core.representations")
    adapters = _named(stores, "SELECT adapter_id AS name FROM core.adapters")
    orphans = sorted(stores.vectors.keys() - named - set(coming))
    unfiled = sorted(stores.vectors.adapter_ids() - adapters - set(coming))
    if orphans or unfiled:
        stores.vectors.delete(orphans, adapter_ids=unfiled)
    return len(orphans) + len(unfiled)


def _versions(stores: Stores, coming: Collection[str]) -> int:
    named = _named(
        stores, "SELECT model_name || '/' || model_version AS name FROM core.model_versions"
    )
    aliases = stores.registry.all_aliases()
    there = [version for name in aliases for version in stores.registry.versions(name)]
    served = [
        version for version in there if version.ref.version in aliases[version.ref.name].values()
    ]
    bases = {version.tags.get("rpe.base") for version in served}
    # what a new lake found served, and the base that it is loaded with, goes on serving
    kept = {
        version.ref
        for version in there
        if version.tags.get("rpe.base") in bases and _is_base(version)
    }
    kept |= {version.ref for version in served}
    orphans = [
        version.ref
        for version in there
        if f"{version.ref.name}/{version.ref.version}" not in named
        and version.ref not in kept
        and not set(version.tags.values()) & set(coming)
    ]
    for ref in orphans:
        stores.registry.delete_version(ref)
    return len(orphans)


def _is_base(version: ModelVersion) -> bool:
    return version.tags.get("rpe.kind") == "base"


def _named(stores: Stores, sql: str) -> set[str]:
    return {str(row["name"]) for row in stores.lake.rows(sql)}

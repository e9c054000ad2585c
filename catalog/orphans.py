"""Orphans: what a crash left in a store without the lake row that would make it true."""

from __future__ import annotations

from catalog.stores.bundle import Stores


def remove_orphans(stores: Stores) -> dict[str, int]:
    """Remove artifacts, vectors and registry versions that no lake row names; counts by kind.

    The caller holds the workspace: nothing is being registered meanwhile.
    """
    return {
        "artifacts": _artifacts(stores),
        "vectors": _vectors(stores),
        "model versions": _versions(stores),
    }


def _artifacts(stores: Stores) -> int:
    named = _named(stores, "SELECT artifact_sha256 AS name FROM core.adapters")
    named |= _named(stores, "SELECT artifact_sha256 AS name FROM core.ensembles")
    orphans = [sha256 for sha256 in stores.artifacts.list() if sha256 not in named]
    for sha256 in orphans:
        stores.artifacts.delete(sha256)
    return len(orphans)


def _vectors(stores: Stores) -> int:
    named = _named(stores, "SELECT representation_id AS name FROM core.representations")
    orphans = sorted(stores.vectors.keys() - named)
    if orphans:
        stores.vectors.delete(orphans)
    return len(orphans)


def _versions(stores: Stores) -> int:
    named = _named(
        stores, "SELECT model_name || '/' || model_version AS name FROM core.model_versions"
    )
    orphans = [
        version.ref
        for name in stores.registry.all_aliases()
        for version in stores.registry.versions(name)
        if f"{version.ref.name}/{version.ref.version}" not in named
    ]
    for ref in orphans:
        stores.registry.delete_version(ref)
    return len(orphans)


def _named(stores: Stores, sql: str) -> set[str]:
    return {str(row["name"]) for row in stores.lake.rows(sql)}

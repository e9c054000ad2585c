"""Damage of the registry: versions on record whose entry or files are gone or changed."""

from __future__ import annotations

from typing import Any

from catalog.integrity.damage import CHANGED, GONE, REPAIR, Damage, first_names
from catalog.integrity.version_files import (
    FileFault,
    Hashes,
    faults_of,
    is_filed,
    versions_on_record,
)
from catalog.records.champions import CHAMPION, aliases_apart, serving_by_target
from catalog.stores.lake.lake import Lake
from catalog.stores.registry.model_versions import ref_of
from catalog.stores.registry.registry import Registry

Row = dict[str, Any]


def damage_of_registry(lake: Lake, registry: Registry | None, *, is_deep: bool) -> list[Damage]:
    """Versions of core.model_versions that the registry has not, or not as they were kept.

    Aliases too that are not what core.promotions says. Files are looked at by name and size, with
    `is_deep` by hash. None is a registry that is gone.
    """
    rows = versions_on_record(lake)
    there = (
        {version.ref: version for version in registry.all_versions()} if rows and registry else {}
    )
    served = {
        (row["model_name"], row["model_version"]): target
        for target, now in serving_by_target(lake).items()
        if (row := now.champion)
    }
    damages = []
    for row in rows:
        version = there.get(ref_of(row))
        if version is None or registry is None:
            what = f"{GONE}: the registry has no such version"
            damages.append(_damage(row, what, served))
            continue
        faults = faults_of(registry, version, row, hashes=Hashes() if is_deep else None)
        if faults:
            damages.append(_damage(row, version_faults_text(faults), served))
    return [*damages, *_aliases(lake, registry)]


def n_unfiled(lake: Lake) -> int:
    """Standing versions from before files were put on record: nothing tells whether they changed.

    The next night, or `rpe maintain`, files those whose weights are what their record says.
    """
    return sum(not is_filed(row) for row in versions_on_record(lake))


def version_faults_text(faults: list[FileFault]) -> str:
    """What is wrong with a version, as a damage says it: the first few files by name."""
    if not faults[0].file:
        return f"{faults[0].what}: its folder"
    return f"{CHANGED}: {first_names([f.file if f.what == CHANGED else str(f) for f in faults])}"


def cost_of(row: Row, target: str = "") -> str:
    """What the damage of a version costs; `target` is the one that it serves."""
    if target:
        return f"Target {target} is served by it, and its answers cannot be trusted"
    if row["kind"] == "base":
        return "No version that needs this base can be loaded"
    if row["kind"] == "adapter":
        return f"The adapter of {row['model_name'].removeprefix('rpe-adapter-')} cannot be served"
    return f"Target {row['model_name']} cannot be rolled back to it"


def _damage(row: Row, what: str, served: dict[tuple[str, str], str]) -> Damage:
    uri = ref_of(row).uri
    target = served.get((row["model_name"], row["model_version"]), "")
    ids = (uri, row["record_id"])
    return Damage("registry", f"Version {uri}", what, ids, cost_of(row, target), REPAIR)


def _aliases(lake: Lake, registry: Registry | None) -> list[Damage]:
    damages = []
    for name, alias, wanted, version in aliases_apart(lake, registry):
        points = f"it points to {f'version {version}' if version else 'nothing'}"
        belongs = f"core.promotions says {f'version {wanted}' if wanted else 'none'}"
        cost = (
            f"Target {name} is answered by what was not chosen for it" if alias == CHAMPION else ""
        )
        alias_uri = f"models:/{name}@{alias}"
        what = f"{CHANGED}: {points}, {belongs}"
        damages.append(Damage("registry", f"Alias {alias_uri}", what, (alias_uri,), cost, REPAIR))
    return damages

"""Maintain: remove what no row names, compact the stores, repair aliases, clear scratch."""

from __future__ import annotations

import shutil
from typing import Any

from catalog import orphans, promotion
from flows.locking import hold_workspace
from flows.settings import Settings
from flows.wiring import open_stores


def maintain(settings: Settings) -> list[dict[str, Any]]:
    """Do the upkeep of a workspace; one row per kind of thing with what was removed or repaired."""
    with hold_workspace(settings):
        stores = open_stores(settings)
        try:
            rows = [
                {"what": f"orphan {kind}", "count": count}
                for kind, count in orphans.remove_orphans(stores).items()
            ]
            rows.append(
                {"what": "aliases repaired", "count": len(promotion.repair_aliases(stores))}
            )
            leftovers = stores.artifacts.remove_leftovers()
            rows.append({"what": "half-written artifacts", "count": leftovers})
            stores.vectors.optimize()
            rows.append({"what": "small lake files merged", "count": stores.lake.merge_files()})
            removed = stores.lake.remove_replaced_files()
            rows.append({"what": "replaced lake files", "count": removed})
        finally:
            stores.lake.close()
        rows.append({"what": "scratch folders", "count": _clear_scratch(settings)})
        return rows


def _clear_scratch(settings: Settings) -> int:
    """Folders of trainings that will not go on; a pending one starts again from its data."""
    folders = sorted((settings.root / "tmp").glob("*train-*"))
    for folder in folders:
        shutil.rmtree(folder)
    return len(folders)

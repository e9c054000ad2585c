"""Maintain: remove what no row names, compact the stores, repair aliases, clear scratch."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows.workspace.settings import (
    Settings,  # first: it switches telemetry off before Prefect is imported
)

# isort: split
from prefect import flow

from catalog.integrity.old_versions import file_versions
from catalog.queries.current import read_standing
from catalog.records import orphans, promotion
from catalog.stores.set_aside import Aside
from flows.library import input_statistics
from flows.runs.run_record import open_run
from flows.runs.webhook import tell_stop
from flows.upkeep.retraction_steps import recover_and_open_stores
from flows.workspace.locking import hold_workspace
from flows.workspace.stores import utc_now

MANY_FILES = 8  # of a table of the lake: a week's worth, each opened by every statement
KEPT = timedelta(days=30)  # snapshots of the lake; what stood on a date its rows tell for ever


@flow(name="maintain", persist_result=False, validate_parameters=False)
def upkeep(home: str) -> list[dict[str, Any]]:
    """`maintain` as a flow, for a schedule: nobody sees it fail, so that notice is given."""
    settings = Settings(home=Path(home))
    try:
        return maintain(settings)
    except Exception as error:
        tell_stop(settings, "maintain", error)
        raise


def maintain(settings: Settings) -> list[dict[str, Any]]:
    """Do the upkeep of a workspace; one row per kind of thing with what was removed or repaired."""
    with hold_workspace(settings):
        # what was begun is settled, a retraction goes on
        with recover_and_open_stores(settings) as stores:
            rows = [
                {"what": kind, "count": count}
                for kind, count in orphans.remove_orphans(stores).items()
            ]
            rows.append(
                {"what": "aliases repaired", "count": len(promotion.repair_aliases(stores))}
            )
            filed = file_versions(stores, run=open_run("maintain"))
            rows.append({"what": "files of versions put on record", "count": len(filed)})
            versions = read_standing(stores.lake).versions.values()
            standing = [row["dataset_version_id"] for row in versions]
            old = input_statistics.erase_others(settings, standing)
            rows.append({"what": "input statistics of old dataset versions", "count": old})
            stores.vectors.optimize()
            merged = stores.lake.merge_files(many=MANY_FILES)
            rows.append({"what": "small lake files merged", "count": merged})
            expired = stores.lake.expire_snapshots(before=utc_now() - KEPT)
            rows.append({"what": "old lake snapshots", "count": expired})
            removed = stores.lake.remove_replaced_files()
            rows.append({"what": "replaced lake files", "count": removed})
        aside = Aside(settings.aside_folder).clear(before=utc_now() - KEPT)
        rows.append({"what": "damaged files set aside a month ago", "count": aside})
        rows.append({"what": "scratch folders", "count": _clear_scratch(settings)})
        return rows


def _clear_scratch(settings: Settings) -> int:
    """Folders of trainings that will not go on; a pending one starts again from its data.

    What a worker made and no run came to keep goes too.
    """
    for file in (settings.root / "tmp").glob("made-*"):
        file.unlink()
    folders = sorted((settings.root / "tmp").glob("*train-*"))
    for folder in folders:
        shutil.rmtree(folder)
    return len(folders)

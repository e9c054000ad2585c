"""MLflow's permanent deletion: it keeps deleted runs, tags and datasets until they are purged."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from catalog.errors import StoreError
from catalog.stores.registry.connection import pages


def erase_deleted(client: Any, experiment_id: str, *, models: Collection[str], root: str) -> None:
    """Purge runs without a version, tags of deleted versions, datasets without a run.

    A deleted version keeps its number, and nothing else, so that no number is given twice; of
    `models` those without a version go with their numbers.

    Raises:
        StoreError: the tracking server does not let its clients erase.
    """
    tracking = client._tracking_client.store
    if not hasattr(tracking, "_hard_delete_run"):
        raise StoreError(
            "The tracking server keeps what was deleted.",
            remedy="run `mlflow gc` beside its database, and this command with that database's URI",
        )
    standing = {version.run_id for version in pages(partial(client.search_model_versions, ""))}
    for run in _runs(client, experiment_id):
        if run.info.run_id not in standing:
            remove_run_files(run.info.artifact_uri, run.info.run_id, root=root)
            tracking._hard_delete_run(run.info.run_id)
    _purge_tags(client._get_registry_client().store)
    _purge_datasets(tracking)
    there = {model.name for model in pages(client.search_registered_models)}
    for name in sorted(there & set(models)):
        if not client.search_model_versions(f"name = '{name}'"):
            client.delete_registered_model(name)


def delete_drafts(client: Any, experiment_id: str, *, root: str) -> int:
    """Delete the runs that no version came of; how many they were."""
    standing = {version.run_id for version in pages(partial(client.search_model_versions, ""))}
    runs = pages(partial(client.search_runs, [experiment_id]))
    left = [run.info for run in runs if run.info.run_id not in standing]
    for info in left:
        remove_run_files(info.artifact_uri, info.run_id, root=root)
        client.delete_run(info.run_id)
    return len(left)


def remove_run_files(uri: str, run_id: str, *, root: str) -> None:
    """Remove the files of a run: on a disk those under `root`, this workspace's own folder.

    MLflow records absolute paths, so those of a workspace that was copied lead to the original.
    """
    if root and urlparse(uri).scheme in ("", "file"):
        folder = Path(root) / run_id
        if folder.is_dir():
            shutil.rmtree(folder)
        return
    # the only way to remove files that is not bound to a local disk; behind the door of open()
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(uri).delete_artifacts()


def _runs(client: Any, experiment_id: str) -> list[Any]:
    from mlflow.entities import ViewType  # behind the door of Registry.open(), like all of MLflow

    return list(pages(partial(client.search_runs, [experiment_id], run_view_type=ViewType.ALL)))


def _purge_tags(registry: Any) -> None:
    from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlModelVersionTag

    with registry.ManagedSessionMaker(read_only=False) as session:
        deleted = session.query(SqlModelVersion.name, SqlModelVersion.version).filter(
            SqlModelVersion.current_stage == STAGE_DELETED_INTERNAL
        )
        for name, version in deleted.all():
            session.query(SqlModelVersionTag).filter_by(name=name, version=version).delete(
                synchronize_session=False
            )


def _purge_datasets(tracking: Any) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlDataset, SqlInput, SqlInputTag, SqlRun

    with tracking.ManagedSessionMaker(read_only=False) as session:
        runs = session.query(SqlRun.run_uuid)
        for model, column, standing in (
            (SqlInput, SqlInput.destination_id, runs),
            (SqlInputTag, SqlInputTag.input_uuid, session.query(SqlInput.input_uuid)),
            (SqlDataset, SqlDataset.dataset_uuid, session.query(SqlInput.source_id)),
        ):
            session.query(model).filter(column.not_in(standing)).delete(synchronize_session=False)

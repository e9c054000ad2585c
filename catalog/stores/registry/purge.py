"""MLflow's permanent deletion: it keeps deleted runs, tags and datasets until they are purged."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
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
    inside = mlflow_inside(client)
    if inside is None:
        raise StoreError(
            "The tracking server keeps what was deleted.",
            remedy="run `mlflow gc` beside its database, and this command with that database's URI",
        )
    standing = {version.run_id for version in pages(partial(client.search_model_versions, ""))}
    for run in _runs(client, experiment_id):
        if run.info.run_id not in standing:
            remove_run_files(run.info.artifact_uri, run.info.run_id, root=root)
            inside.delete_run_for_good(run.info.run_id)
    _purge_tags(inside)
    _purge_datasets(inside)
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


@dataclass(frozen=True)
class MlflowInside:
    """What MLflow keeps to itself and an erasure needs: its sessions, and its tables as classes."""

    delete_run_for_good: Callable[[str], None]
    of_runs: Callable[..., Any]  # makes a session on the tables of runs and datasets
    of_models: Callable[..., Any]  # and on those of registered models
    deleted_stage: str
    model_version: Any
    model_version_tag: Any
    run: Any
    dataset: Any
    dataset_input: Any
    dataset_input_tag: Any


def mlflow_inside(client: Any) -> MlflowInside | None:
    """MLflow's own means to erase; None of a tracking server, which lets no client at them.

    Nothing else of ours reads what MLflow keeps to itself; tests/conformance/test_internals.py says
    when that changes.
    """
    # behind the door of Registry.open(), like all of MLflow
    from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlModelVersionTag
    from mlflow.store.tracking.dbmodels.models import SqlDataset, SqlInput, SqlInputTag, SqlRun

    tracking, registry = client._tracking_client.store, client._get_registry_client().store
    if not hasattr(tracking, "_hard_delete_run"):
        return None
    return MlflowInside(
        delete_run_for_good=tracking._hard_delete_run,
        of_runs=partial(tracking.ManagedSessionMaker, read_only=False),
        of_models=partial(registry.ManagedSessionMaker, read_only=False),
        deleted_stage=STAGE_DELETED_INTERNAL,
        model_version=SqlModelVersion,
        model_version_tag=SqlModelVersionTag,
        run=SqlRun,
        dataset=SqlDataset,
        dataset_input=SqlInput,
        dataset_input_tag=SqlInputTag,
    )


def _purge_tags(inside: MlflowInside) -> None:
    version, tag = inside.model_version, inside.model_version_tag
    with inside.of_models() as session:
        deleted = session.query(version.name, version.version).filter(
            version.current_stage == inside.deleted_stage
        )
        for name, number in deleted.all():
            session.query(tag).filter_by(name=name, version=number).delete(
                synchronize_session=False
            )


def _purge_datasets(inside: MlflowInside) -> None:
    used, tag, dataset = inside.dataset_input, inside.dataset_input_tag, inside.dataset
    with inside.of_runs() as session:
        runs = session.query(inside.run.run_uuid)
        for model, column, standing in (
            (used, used.destination_id, runs),
            (tag, tag.input_uuid, session.query(used.input_uuid)),
            (dataset, dataset.dataset_uuid, session.query(used.source_id)),
        ):
            session.query(model).filter(column.not_in(standing)).delete(synchronize_session=False)

"""Train: an adapter for each labelled reference that has none, each in a process of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog.queries import current
from catalog.readers.items import item_source
from catalog.records import registration
from catalog.records.registration import AdapterCard
from catalog.stores.disk import write_whole
from flows.library import input_statistics
from flows.runs.processes import run_child
from flows.workspace.bases import base_folder, files_of, is_hub
from flows.workspace.representations import EmbedUnit, embed_unit_of, inputs_of
from flows.workspace.workspace import Workspace
from rpe_core.adapters.recipe import Recipe
from rpe_core.errors import RpeError
from rpe_core.fingerprint import fingerprint, make_id

STATISTICS = "inputs.safetensors"  # of what the base is fed, in the folder of a training


@dataclass(frozen=True)
class TrainUnit:
    """An adapter to train: a dataset version under a base and a recipe."""

    source: str
    base_name: str
    recipe: Recipe
    dataset_version_id: str
    representation_id: str
    sha256: str

    @property
    def adapter_id(self) -> str:
        """`adapter:<source>@sha12` over dataset version, base and recipe."""
        return make_id("adapter", self.source, self.sha256)

    def __str__(self) -> str:
        return self.source


@dataclass(frozen=True)
class Trained:
    """What a training process left: the folder with the adapter, and what it measured."""

    unit: TrainUnit
    folder: Path
    outcome: dict[str, Any]


class TrainingFailed(RpeError):
    """The training process ended without an adapter."""


def unit_of(
    workspace: Workspace, source: str, base_name: str, recipe_name: str
) -> TrainUnit | None:
    """What to train for a source as it stands, or None where it has no labelled training rows."""
    version = workspace.standing.versions.get(source)
    filed = embed_unit_of(workspace, source, base_name, "reference")
    if version is None or filed is None or not version["n_labelled"] or not version["n_train"]:
        return None
    recipe = workspace.plan.recipe(recipe_name)
    base = workspace.bases[base_name]
    made_of = fingerprint(
        {"dataset": version["sha256"], "base": base.sha256, "dtype": base.dtype,
         "tokens": base.max_tokens, "recipe": recipe.recipe_id}
    )  # fmt: skip
    return TrainUnit(
        source, base_name, recipe, version["dataset_version_id"], filed.representation_id, made_of
    )


def pending(workspace: Workspace) -> list[TrainUnit]:
    """References whose standing dataset version has no adapter under the recipe."""
    wanted = dict.fromkeys(
        (source, reference.base, reference.recipe)
        for reference in workspace.plan.references
        for source in reference.sources
    )
    units = [unit_of(workspace, *entry) for entry in wanted]
    wanted_ids = [unit.adapter_id for unit in units if unit]
    known = current.adapters(workspace.stores.lake, wanted_ids)
    return [unit for unit in units if unit and unit.adapter_id not in known]


def make(workspace: Workspace, unit: TrainUnit) -> Callable[[], Trained]:
    """Lay out the folder of a training; what is left to do is a process of its own."""
    return partial(train, unit, prepare(workspace, unit))


def train(unit: TrainUnit, folder: Path) -> Trained:
    """Train a unit in the folder that was laid out for it.

    Raises:
        TrainingFailed: with the exit status.
    """
    return Trained(unit, folder, run_process(folder))


def prepare(workspace: Workspace, unit: TrainUnit) -> Path:
    """Lay out the folder of a training process; one that a killed night left is gone on with."""
    folder = workspace.settings.root / "tmp" / f"train-{unit.sha256[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    contract = workspace.contracts[unit.source]
    items = item_source(contract)
    for split in ("train", "validation"):
        rows = workspace.rows(unit.dataset_version_id, columns=items.columns, split=split)
        rows = rows.filter(pc.is_valid(rows.column(items.target)))
        limit = unit.recipe.max_rows if split == "train" else None
        pq.write_table(rows.slice(0, limit), folder / f"{split}.parquet")
    spec = workspace.plan.bases[unit.base_name]
    request = {
        "family": spec.family,
        "base_folder": str(base_folder(spec)),
        "base_id": workspace.bases[unit.base_name].base_id,
        "max_tokens": spec.length_limit,
        "dtype": spec.dtype,
        "device": workspace.settings.device,
        "recipe": asdict(unit.recipe),
        "task": contract.task_spec.declared,
        "items": asdict(items),
        "statistics": _lay_statistics(workspace, unit, folder),
    }
    (folder / "request.json").write_text(json.dumps(request, sort_keys=True))
    return folder


def _lay_statistics(workspace: Workspace, unit: TrainUnit, folder: Path) -> str | None:
    """Copy what the recipe must know of the inputs; where no pass has filed it, gather it now.

    Returns the copy's name, or None where the recipe's method asks for nothing.
    """
    version, base, kept = unit.dataset_version_id, unit.base_name, folder / STATISTICS
    question = input_statistics.question_of(unit.recipe)
    if question is None:
        return None
    file = input_statistics.file_of(workspace, version, base, question.asked)
    if not kept.exists():  # a training that goes on began at what lies there
        if not file.exists():
            encoded = EmbedUnit(unit.source, base, "reference", version, unit.representation_id)
            items = inputs_of(workspace, encoded)
            input_statistics.gather(workspace, base, items, file=file, question=question)
        with write_whole(kept) as part:
            shutil.copyfile(file, part)
    return kept.name


def run_process(folder: Path) -> dict[str, Any]:
    """Train in a child that ends with us; what it measured.

    Raises:
        TrainingFailed: with the exit status; the log stays beside the request.
    """
    log = folder / "training.log"
    status = run_child("flows.steps.training_process", folder, log=log, preload=["peft"])
    if status != 0:
        raise TrainingFailed(
            f"The training process ended with status {status}.",
            where=str(log),
            remedy="the next night goes on from its last checkpoint; status -9 is often memory",
        )
    outcome: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    return outcome


def register_base_of(workspace: Workspace, base_name: str) -> None:
    """Register a base before what is made on it; a second call finds it."""
    spec = workspace.plan.bases[base_name]
    registration.register_base(
        workspace.stores,
        workspace.bases[base_name],
        files_of(spec),
        is_hub=is_hub(spec),
        run=workspace.run,
    )


def keep(workspace: Workspace, made: Sequence[Trained]) -> None:
    """Register the trained adapters, each in a commit of its own; their folders with rows go."""
    for trained in made:
        _keep(workspace, trained)


def _keep(workspace: Workspace, trained: Trained) -> None:
    unit = trained.unit
    contract = workspace.contracts[unit.source]
    register_base_of(workspace, unit.base_name)
    card = AdapterCard(
        adapter_id=unit.adapter_id,
        source=unit.source,
        dataset_version_id=unit.dataset_version_id,
        base=workspace.bases[unit.base_name],
        task=contract.task_spec,
        recipe_id=unit.recipe.recipe_id,
        recipe=asdict(unit.recipe),
        representation_id=unit.representation_id,
        license=contract.license,
        **trained.outcome,
    )
    adapter = trained.folder / "adapter"
    registration.register_adapter(workspace.stores, card, adapter, run=workspace.run)
    shutil.rmtree(trained.folder)

"""The training process: one adapter, trained from what lies in a folder.

The folder holds request.json, train.parquet and validation.parquet, and inputs.safetensors where
the method begins at the data; adapter/ and outcome.json stay.
A checkpoint after every epoch (resume.safetensors, resume.json) lets a killed training go on.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flows.workspace.settings  # noqa: F401 - first: it switches telemetry off

# isort: split
import pyarrow.parquet as pq
from safetensors.torch import load_file

from catalog.readers.items import ItemSource
from flows.runs.checkpoints import read_checkpoint, write_checkpoint, write_json
from flows.runs.processes import usage_so_far
from flows.runs.versions import NUMERIC, versions_of
from rpe_core.adapters.input_statistics import InputStatistics
from rpe_core.adapters.recipe import Recipe
from rpe_core.families.table import FAMILIES, load_family
from rpe_core.merging.files.checkpoint import Checkpoint
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.merging.prompts import write_prompts
from rpe_core.merging.strength import require_bounded_deltas
from rpe_core.training.loop import TrainedAdapter, train
from rpe_core.training.seeding import seed_everything


def main(folder: Path) -> None:
    """Train as request.json says."""
    request = json.loads((folder / "request.json").read_text())
    recipe, began = _recipe(request["recipe"]), time.monotonic()
    seed_everything(recipe.seed, threads=recipe.threads)
    trained = _train(folder, request, recipe)
    shutil.rmtree(folder / "adapter", ignore_errors=True)  # a killed run may have left one
    digest = _write(folder / "adapter", request, recipe, trained)
    write_json(folder / "adapter" / "training.json", {"epochs": trained.history})
    write_json(
        folder / "outcome.json",
        {
            "weights_sha256": digest,
            "rank": trained.rank,
            "n_parameters": trained.n_parameters,
            "n_steps": trained.n_steps,
            "validation_score": trained.validation_score,
            "threads": recipe.threads,
            "train_seconds": time.monotonic() - began,
            "peak_memory_bytes": usage_so_far().peak_memory_bytes,
            "versions": versions_of(NUMERIC),
        },
    )


def _train(folder: Path, request: dict[str, Any], recipe: Recipe) -> TrainedAdapter:
    family = load_family(request["family"])
    base = family.load(
        request["base_folder"],
        max_tokens=request["max_tokens"],
        dtype=request["dtype"],
        device=request["device"],
    )
    task = family.prepare(base, request["task"])
    return train(
        family,
        base,
        task,
        *_items(folder / "train.parquet", request["items"]),
        *_items(folder / "validation.parquet", request["items"]),
        recipe,
        statistics=_statistics(folder, request["statistics"]),
        resume=read_checkpoint(folder),
        on_checkpoint=lambda state: write_checkpoint(folder, state),
        on_progress=_tell,
    )


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _write(folder: Path, request: dict[str, Any], recipe: Recipe, trained: TrainedAdapter) -> str:
    """Write what was trained, unless it drowns the base; the sha256 of its weights."""
    if trained.prompts:
        return write_prompts(folder, trained.prompts, base_name=request["base_id"])
    require_bounded_deltas(trained.deltas, Checkpoint(Path(request["base_folder"])))
    return write_adapter(
        folder,
        trained.deltas,
        base_name=request["base_id"],
        task_type=FAMILIES[request["family"]].peft_type,
        whole=trained.whole,
        magnitudes=trained.magnitudes,
        modules_to_save=recipe.modules_to_save,
        fan_in_fan_out=trained.fan_in_fan_out,
    )


def _recipe(values: dict[str, Any]) -> Recipe:
    names = {key: tuple(values[key]) for key in ("target_modules", "modules_to_save")}
    return Recipe(**{**values, **names})


def _statistics(folder: Path, name: str | None) -> InputStatistics | None:
    return InputStatistics.from_tensors(load_file(folder / name)) if name else None


def _items(file: Path, source_fields: dict[str, Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    rows, source = (
        pq.read_table(file),
        ItemSource(**{**source_fields, "values": tuple(source_fields["values"])}),
    )
    return source.inputs(rows), source.targets(rows)

"""Input statistics: what some adapter methods must know of the data, filed by the pass that embeds.

They are a function of dataset version, base and recipe: files of a cache, gathered again when they
are missing, and erased with the dataset version.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from catalog.stores.disk import write_whole
from flows.workspace.settings import Settings
from flows.workspace.workspace import Features, Workspace
from rpe_core.adapters.input_statistics import InputStatistics, asked_by
from rpe_core.adapters.recipe import Recipe
from rpe_core.errors import InputError
from rpe_core.fingerprint import SHORT, fingerprint


def file_of(
    workspace: Workspace, dataset_version_id: str, base_name: str, recipe: Recipe
) -> Path | None:
    """Where the statistics lie that a recipe asks for; None where its method asks for none."""
    asked = asked_by(recipe)
    if asked is None:
        return None
    base = workspace.bases[base_name]
    made_of = {
        "base": base.sha256,
        "dtype": base.dtype,
        "tokens": base.max_tokens,
        "asked": asked._asdict(),
    }
    folder = _folder(workspace.settings, dataset_version_id)
    return folder / f"{fingerprint(made_of)[:SHORT]}.safetensors"


def missing_statistics(
    workspace: Workspace, source: str, dataset_version_id: str, base_name: str
) -> dict[Path, Recipe]:
    """What the plan's recipes ask for of a reference and is not there: file -> a recipe."""
    recipes = [
        workspace.plan.recipe(reference.recipe)
        for reference in workspace.plan.references
        if source in reference.sources and reference.base == base_name
    ]
    files = [
        (file_of(workspace, dataset_version_id, base_name, recipe), recipe) for recipe in recipes
    ]
    return {file: recipe for file, recipe in files if file and not file.exists()}


def features(
    workspace: Workspace, base_name: str, items: Sequence[Any], wanted: Mapping[Path, Recipe]
) -> Features:
    """The features of items as the workspace gives them; what is wanted is filed at their end.

    What cannot be gathered is left out: the training says why.
    """
    pairs, watches = workspace.features(base_name, items), {}
    for file, recipe in wanted.items():
        with suppress(InputError):
            watches[file] = _watch(workspace, base_name, recipe)
            pairs = watches[file].over(pairs)
    yield from pairs
    for file, watch in watches.items():
        with suppress(InputError):
            _write(file, watch.result())


def gather(
    workspace: Workspace, base_name: str, items: Sequence[Any], *, file: Path, recipe: Recipe
) -> None:
    """File what a recipe asks for by a pass of its own.

    Raises:
        InputError: the recipe's modules are not the base's, or the items have too few tokens.
    """
    watch = _watch(workspace, base_name, recipe)
    for _ in watch.over(workspace.features(base_name, items)):
        pass
    _write(file, watch.result())


def erase(settings: Settings, dataset_version_ids: Collection[str]) -> None:
    """Remove the statistics of dataset versions, where there are any."""
    for dataset_version_id in dataset_version_ids:
        shutil.rmtree(_folder(settings, dataset_version_id), ignore_errors=True)


def erase_others(settings: Settings, dataset_version_ids: Collection[str]) -> int:
    """Remove the statistics of all other dataset versions; of how many there were."""
    kept = {_folder(settings, version_id) for version_id in dataset_version_ids}
    old = [folder for folder in settings.statistics_folder.glob("*") if folder not in kept]
    for folder in old:
        shutil.rmtree(folder)
    return len(old)


def _watch(workspace: Workspace, base_name: str, recipe: Recipe) -> Any:
    from rpe_core.adapters.input_watch import InputWatch  # PEFT: only such a recipe pays for it

    return InputWatch(workspace.loaded(base_name).model, recipe)


def _write(file: Path, statistics: InputStatistics) -> None:
    """Write a file whole or not at all."""
    with write_whole(file) as part:
        save_file(statistics.to_tensors(), part)


def _folder(settings: Settings, dataset_version_id: str) -> Path:
    """`dataset:<source>@sha12` as a name of a folder."""
    return settings.statistics_folder / dataset_version_id.replace(":", "-").replace("@", "-")

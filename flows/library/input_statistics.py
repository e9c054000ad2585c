"""Input statistics: what is known of the inputs of a base's modules, filed by the pass that embeds.

Some adapter methods ask for them of a reference, and the merge by RegMean. They are a function of
dataset version, base and what is asked: files of a cache, gathered again when they are missing, and
erased with the dataset version.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from catalog.errors import StoreError
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.disk import write_whole
from flows.workspace.plan import REGMEAN
from flows.workspace.settings import Settings
from flows.workspace.workspace import Features, Workspace
from rpe_core.adapters.input_statistics import InputAsk, InputStatistics, asked_by, gram_ask
from rpe_core.adapters.recipe import Recipe
from rpe_core.adapters.table import ADAPTER_METHODS, GRAMS, LORA
from rpe_core.errors import InputError
from rpe_core.fingerprint import SHORT, fingerprint
from rpe_core.input_gram import DENSE_WIDTH, N_SKETCHED
from rpe_core.merging.files.gram_file import write_grams
from rpe_core.regular_files import read_regular


@dataclass(frozen=True)
class InputQuestion:
    """What to know of the inputs of the modules that a recipe adapts."""

    recipe: Recipe
    asked: InputAsk


def file_of(workspace: Workspace, dataset_version_id: str, base_name: str, asked: InputAsk) -> Path:
    """Where that lies which is asked of a dataset version under a base."""
    base = workspace.bases[base_name]
    made_of: dict[str, Any] = {
        "base": base.sha256,
        "dtype": base.dtype,
        "tokens": base.max_tokens,
        "asked": asked._asdict(),
    }
    if asked.kind == GRAMS:
        made_of["columns"] = [DENSE_WIDTH, N_SKETCHED]
    folder = _folder(workspace.settings, dataset_version_id)
    return folder / f"{fingerprint(made_of)[:SHORT]}.safetensors"


def question_of(recipe: Recipe) -> InputQuestion | None:
    """What the training by a recipe asks; None where its method asks for nothing."""
    asked = asked_by(recipe)
    return InputQuestion(recipe, asked) if asked else None


def gram_question(recipe: Recipe) -> InputQuestion | None:
    """What a merge by RegMean asks of an adapter of this recipe; None of learned prompts."""
    if ADAPTER_METHODS[recipe.method].form != LORA:
        return None
    return InputQuestion(recipe, gram_ask(recipe.target_modules))


def missing_statistics(
    workspace: Workspace, source: str, dataset_version_id: str, base_name: str, *, n_groups: int
) -> dict[Path, InputQuestion]:
    """What the plan asks of a reference and is not there: file -> the question.

    Gram matrices are asked for where a target of the base merges by them, of as many groups as a
    representation that may leave the platform.
    """
    plan, questions = workspace.plan, list[InputQuestion | None]()
    recipes = [
        plan.recipe(reference.recipe)
        for reference in plan.references
        if source in reference.sources and reference.base == base_name
    ]
    questions += [question_of(recipe) for recipe in recipes]
    merges = {target.merge for target in plan.targets if target.base == base_name}
    if REGMEAN in merges and n_groups >= plan.publishing.min_groups:
        questions += [gram_question(recipe) for recipe in recipes]
    by_file = {
        file_of(workspace, dataset_version_id, base_name, question.asked): question
        for question in questions
        if question
    }
    return {file: question for file, question in by_file.items() if not file.exists()}


def features(
    workspace: Workspace, base_name: str, items: Sequence[Any], wanted: Mapping[Path, InputQuestion]
) -> Features:
    """The features of items as the workspace gives them; what is wanted is filed at their end.

    What cannot be gathered is left out: the training, or the merge, says why.
    """
    encoded, watches = workspace.features(base_name, items), {}
    for file, question in wanted.items():
        with suppress(InputError):
            watches[file] = _watch(workspace, base_name, question)
            encoded = watches[file].over(encoded)
    yield from encoded
    for file, watch in watches.items():
        with suppress(InputError):
            _write(file, watch.result(), wanted[file].asked)


def gather(
    workspace: Workspace,
    base_name: str,
    items: Sequence[Any],
    *,
    file: Path,
    question: InputQuestion,
) -> None:
    """File what is asked by a pass of its own.

    Raises:
        InputError: the recipe's modules are not the base's, or the items have too few tokens.
    """
    watch = _watch(workspace, base_name, question)
    for _ in watch.over(workspace.features(base_name, items)):
        pass
    _write(file, watch.result(), question.asked)


def is_whole(file: Path) -> bool:
    """Whether a file of Gram matrices is there, and is what was written."""
    try:
        return read_regular(_hash_beside(file)).decode() == Artifacts.hash_file(file)
    except (OSError, ValueError, StoreError):
        return False


def gram_files_of(settings: Settings) -> list[Path]:
    """Every file of Gram matrices that a workspace has."""
    beside = settings.statistics_folder.glob("*/*.sha256")
    return [path.with_suffix(".safetensors") for path in sorted(beside)]


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


def _watch(workspace: Workspace, base_name: str, question: InputQuestion) -> Any:
    from rpe_core.adapters.input_watch import InputWatch  # PEFT: only who asks pays for it

    model = workspace.loaded(base_name).model
    return InputWatch(model, question.recipe, asked=question.asked)


def _write(file: Path, statistics: InputStatistics, asked: InputAsk) -> None:
    """Write a file whole or not at all; of Gram matrices its hash beside it, and last."""
    with write_whole(file, is_contended=asked.kind == GRAMS) as part:
        if asked.kind == GRAMS:
            write_grams(part, statistics.grams)
        else:
            save_file(statistics.to_tensors(), part)
    if asked.kind == GRAMS:
        with write_whole(_hash_beside(file), is_contended=True) as part:
            part.write_text(Artifacts.hash_file(file))


def _hash_beside(file: Path) -> Path:
    return file.with_suffix(".sha256")


def _folder(settings: Settings, dataset_version_id: str) -> Path:
    """`dataset:<source>@sha12` as a name of a folder."""
    return settings.statistics_folder / dataset_version_id.replace(":", "-").replace("@", "-")

"""Donor Grams: what the members of a merge by RegMean were fed, and which of them have none.

An imported adapter has none, nor one of fewer groups than the plan publishes: it takes the mean of
the others. A file that is missing or damaged is gathered again from the rows that stand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.errors import RecordNotFound
from catalog.queries.adapters import trained_on_groups
from flows.library.input_statistics import (
    InputQuestion,
    file_of,
    gather,
    gram_question,
    is_whole,
)
from flows.library.retrieval import TargetView
from flows.workspace.plan import REGMEAN
from flows.workspace.representations import EmbedUnit, inputs_of
from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
from rpe_core.adapters.recipe import Recipe
from rpe_core.adapters.table import GRAMS
from rpe_core.errors import InputError
from rpe_core.input_gram import DENSE_WIDTH, N_SKETCHED
from rpe_core.merging.regmean import OFF_DIAGONAL, RIDGE
from rpe_core.records import Candidate

FED = CacheSection[tuple[tuple[str, ...], int], list[str]]("adapters with Gram matrices, of these")
WHOLE = CacheSection[Path, Path]("files of Gram matrices that are what was written, by place")


@dataclass(frozen=True)
class Donor:
    """An adapter that has Gram matrices: where they lie, what gathers them, and from which rows."""

    unit: EmbedUnit
    question: InputQuestion
    file: Path


def facts_of_merge(
    workspace: Workspace,
    target: TargetView,
    adapters: Sequence[Candidate],
    *,
    min_groups: int | None = None,
) -> list[Any]:
    """What the id of an ensemble of these adapters hashes of its merge.

    By RegMean also which adapters have Gram matrices and how they are used; of what rows, base and
    modules they are, the adapters' own ids say.
    """
    spec = target.spec
    if spec.merge != REGMEAN:
        return [spec.merge, spec.rank]
    fed = _fed(workspace, [c.adapter_id for c in adapters], min_groups)
    used = {
        "kind": GRAMS,
        "fed": fed,
        "off_diagonal": OFF_DIAGONAL,
        "ridge": RIDGE,
        "columns": [DENSE_WIDTH, N_SKETCHED],
    }
    return [spec.merge, spec.rank, used]


def gram_files(
    workspace: Workspace,
    base_name: str,
    adapter_ids: Collection[str],
    *,
    min_groups: int | None = None,
) -> list[Path | None]:
    """For each adapter its file of Gram matrices, gathered first where it is missing, or None.

    Raises:
        RecordNotFound: there is no contract that tells how to read an adapter's rows.
        InputError: the inputs of its modules cannot be watched.
    """
    fed = set(_fed(workspace, adapter_ids, min_groups))
    return [
        file_of_donor(workspace, donor_of(workspace, base_name, adapter_id))
        if adapter_id in fed
        else None
        for adapter_id in adapter_ids
    ]


def donors_to_gather(
    workspace: Workspace, base_name: str, adapter_ids: Collection[str]
) -> Iterator[Donor]:
    """The adapters whose Gram matrices a merge would have to gather first."""
    for adapter_id in _fed(workspace, adapter_ids, None):
        donor = donor_of(workspace, base_name, adapter_id)
        if donor.file not in workspace.cache.known(WHOLE) and not is_whole(donor.file):
            yield donor


def donor_of(workspace: Workspace, base_name: str, adapter_id: str) -> Donor:
    """An adapter as one that has Gram matrices.

    Raises:
        InputError: its method has none.
    """
    row = workspace.adapter_rows([adapter_id])[adapter_id]
    question = gram_question(Recipe.from_json(row["recipe_json"]))
    if question is None:
        raise InputError("Learned prompts have no Gram matrices.", where=adapter_id)
    version = row["dataset_version_id"]
    unit = EmbedUnit(row["source"], base_name, "reference", version, row["representation_id"])
    return Donor(unit, question, file_of(workspace, version, base_name, question.asked))


def file_of_donor(workspace: Workspace, donor: Donor) -> Path:
    """The file of a donor's Gram matrices, gathered first where it is not what was written.

    Whoever only asks a question keeps what was gathered in its scratch.
    """

    def find() -> Path:
        if is_whole(donor.file):
            return donor.file
        made = donor.file
        if workspace.scratch:
            made = workspace.scratch / donor.file.parent.name / donor.file.name
        gather_donor(workspace, donor, made)
        return made

    return workspace.cache.get(WHOLE, donor.file, find)


def gather_donor(workspace: Workspace, donor: Donor, file: Path) -> None:
    """Gather a donor's Gram matrices from its rows by a pass of its own.

    Raises:
        RecordNotFound: there is no contract that tells how to read its rows.
        InputError: the inputs of its modules cannot be watched.
    """
    unit = donor.unit
    if unit.source not in workspace.contracts:
        raise RecordNotFound(
            f"The workspace has no contract of {unit.source}, whose inputs RegMean asks for.",
            where=unit.dataset_version_id,
            remedy="put its contract back, or let the target's `library` leave it out",
        )
    items = inputs_of(workspace, unit)
    gather(workspace, unit.base_name, items, file=file, question=donor.question)


def _fed(workspace: Workspace, adapter_ids: Collection[str], min_groups: int | None) -> list[str]:
    """Which of these adapters have Gram matrices: trained here, on as many groups as are asked."""
    least = workspace.plan.publishing.min_groups if min_groups is None else min_groups
    key = (tuple(adapter_ids), least)
    lake = workspace.stores.lake
    return workspace.cache.get(FED, key, lambda: trained_on_groups(lake, key[0], at_least=least))

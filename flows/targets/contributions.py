"""Contributions: how the score of a target's ensembles changes without each source, on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flows.library.answers import score_draft, validation_rows
from flows.library.retrieval import TargetView
from flows.library.weighing import draft_of_target, without_source
from flows.steps import ensemble
from flows.workspace.workspace import Workspace
from rpe_core.ensemble import EnsembleDraft
from rpe_core.errors import InputError
from rpe_core.records import StrategySpec


def score_changes(workspace: Workspace, target: TargetView) -> list[dict[str, Any]]:
    """One row per strategy and source: the validation score as it is and without the source.

    Merges and predicts once for each, so it is asked for and not part of a night. Where an ensemble
    abstains, or nothing is left, the base answers.

    Raises:
        InputError: the target has no labelled validation rows.
    """
    contract, version = target.require_contract(), target.version.dataset_version_id
    labelled = validation_rows(workspace, contract, version)
    if not len(labelled):
        raise InputError(
            "The target has no labelled validation rows to score on.", where=target.name
        )

    def score(draft: EnsembleDraft) -> float:
        served = None if draft.abstained else draft
        return score_draft(workspace, target, served, labelled)

    return [row for spec in target.spec.specs for row in _rows(workspace, target, spec, score)]


def _rows(
    workspace: Workspace,
    target: TargetView,
    spec: StrategySpec,
    score: Callable[[EnsembleDraft], float],
) -> list[dict[str, Any]]:
    tuning = ensemble.tuning_of(workspace, target, spec)
    whole = score(draft_of_target(workspace, target, spec, tuning))
    rows = []
    for source in sorted({candidate.source for candidate in target.candidates}):
        without = score(without_source(workspace, target, spec, tuning, source))
        rows.append(
            {
                "target_name": target.name,
                "strategy": spec.name,
                "source": source,
                "score": whole,
                "score_without": without,
                "score_change": without - whole,
            }
        )
    return rows

"""Answers: what a base, an adapter or a draft answers to rows of a source, and how good that is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalog.contracts.contract import SourceContract
from flows.library.merging import merge_members
from flows.library.retrieval import TargetView
from flows.workspace.task_rows import TaskRows, read_task_rows
from flows.workspace.workspace import Workspace
from rpe_core.ensemble import EnsembleDraft
from rpe_core.errors import InputError
from rpe_core.evaluation.metrics import Items, find_metric, gate_metric
from rpe_core.fingerprint import SHORT
from rpe_core.records import TaskSpec


@dataclass(frozen=True)
class LabelledRows:
    """Labelled rows of a dataset version that are answered, and the task that their source asks."""

    task: TaskSpec
    rows: TaskRows
    chosen: np.ndarray  # their indices among all rows of the version

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def inputs(self) -> Sequence[Any]:
        """What is asked."""
        return self.rows.inputs_of(self.chosen)


def validation_rows(
    workspace: Workspace, contract: SourceContract, dataset_version_id: str
) -> LabelledRows:
    """The labelled validation rows of a dataset version, as many as the plan calibrates by."""
    rows = read_task_rows(workspace, contract, dataset_version_id)
    chosen = rows.labelled("validation", workspace.plan.evaluation.calibration_items)
    return LabelledRows(contract.task_spec, rows, chosen)


def predict_arm(
    workspace: Workspace, base_name: str, task: TaskSpec, folder: Path | None, inputs: Sequence[Any]
) -> np.ndarray:
    """Predictions, first axis over inputs, of the base with or without an adapter."""
    family, base = workspace.family(base_name), workspace.loaded(base_name)
    prepared = workspace.prepared(base_name, task)
    if folder is None:
        return np.asarray(family.predict(base, prepared, inputs))
    # peft, which a night that answers nothing need not load
    from rpe_core.families import attachment

    try:
        attachment.attach(base, str(folder))
    except ValueError as error:  # no row has been read: its text is about names and shapes
        raise InputError(
            f"{error}.",
            where=f"artifact {folder.name[:SHORT]} on base {base_name}",
            expected="tensors by the names and shapes of the modules that the family loads",
            remedy="`rpe adapters list` shows what was imported, `rpe retract` takes a source back",
        ) from None
    try:
        return np.asarray(family.predict(base, prepared, inputs))
    finally:
        attachment.detach(base)


def answers_of_draft(
    workspace: Workspace,
    target: TargetView,
    draft: EnsembleDraft | None,
    task: TaskSpec,
    inputs: Sequence[Any],
) -> np.ndarray:
    """What a draft answers, merged for the occasion as the target asks; without one, the base."""
    if draft is None:
        return predict_arm(workspace, target.base.name, task, None, inputs)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "adapter"
        merge_members(workspace, target, draft, folder)
        return predict_arm(workspace, target.base.name, task, folder, inputs)


def score_draft(
    workspace: Workspace, target: TargetView, draft: EnsembleDraft | None, labelled: LabelledRows
) -> float:
    """The score of what a draft, or without one the base, answers to these rows."""
    answers = answers_of_draft(workspace, target, draft, labelled.task, labelled.inputs)
    return mean_score(score_items(workspace, target.base.name, labelled, answers), labelled.task)


def score_items(
    workspace: Workspace, base_name: str, labelled: LabelledRows, predictions: np.ndarray
) -> Items:
    """How good each answer is; `predictions` has one entry for each of the rows."""
    task, targets = labelled.task, labelled.rows.targets_of(labelled.chosen)
    prepared = workspace.prepared(base_name, task)
    statistics = workspace.family(base_name).score(prepared, predictions, targets)
    if task.type == "text-generation":
        statistics = {**statistics, **_scored_by_models(workspace, predictions.tolist(), targets)}
    return Items(statistics, labelled.rows.groups[labelled.chosen])


def mean_score(items: Items, task: TaskSpec) -> float:
    """The score by the metric that a gate would use."""
    return find_metric(gate_metric("auto", task.type)).value(items)


def _scored_by_models(
    workspace: Workspace, texts: Sequence[str], targets: Sequence[str]
) -> dict[str, np.ndarray]:
    """Scores of texts under the models that the plan names for it, each of shape (n,)."""
    spec, scores = workspace.plan.evaluation, {}
    # torch, which a night that scores no text by a model need not load for this
    if bert := spec.bert_score:
        from rpe_core.evaluation.bert_score import bert_f1

        encoder = workspace.loaded(bert.base)
        scores["bert_f1"] = bert_f1(
            encoder, texts, targets, layer=bert.layer, baseline=bert.baseline
        )
    if judge := spec.judge:
        from rpe_core.evaluation.judge import judge_grades

        model = workspace.loaded(judge.base)
        scores["judge"] = judge_grades(model, texts, targets, prompt=judge.prompt)
    return scores

"""Choosing: which ensemble `auto` serves a target with, found without a label of the target."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flows.library.retrieval import TargetView
from flows.steps.leave_one_out import LeftOut, leave_one_out
from flows.steps.scoring import BASE_ARM
from flows.workspace.workspace import Workspace
from rpe_core.evaluation.choice import (
    MIN_REFERENCES,
    MarginChoice,
    calibrate_margin,
    choose,
    mutual_information,
)


@dataclass(frozen=True)
class Choice:
    """The arm that was chosen, the criterion's value for every candidate, and what calibrated it.

    Of a closed answer set the criterion is the mutual information of the target's own answers, in
    nat; of free text it is the mean score on the references, each served by the others.
    """

    chosen: str
    criterion: str
    values: Mapping[str, float]
    margin: MarginChoice
    left_out: Sequence[LeftOut]

    def served(self, reference: LeftOut) -> str:
        """The arm that the same rule would have served a reference with."""
        values = reference.criterion
        if self.criterion == "leave_one_out":
            others = [other for other in self.left_out if other is not reference]
            values = _mean_scores(others, reference.candidates)
        scores = {arm: values[arm] for arm in reference.candidates}
        return choose(scores, margin=self.margin.margin) if scores else BASE_ARM


def choose_arm(
    workspace: Workspace,
    target: TargetView,
    answers: Mapping[str, np.ndarray],
    *,
    with_test: bool,
) -> Choice:
    """Choose among candidates by what they answered on some rows of the target, labels unseen.

    `with_test` asks for answers on the test rows of the references too, to stand as evidence.
    """
    task = target.task
    is_closed = bool(task.labels)
    left_out: tuple[LeftOut, ...] = ()
    if with_test or not is_closed or len(target.library) >= MIN_REFERENCES:
        left_out = leave_one_out(workspace, target, with_test=with_test)
    if is_closed:
        tables = {reference.adapter.adapter_id: reference.table() for reference in left_out}
        margin = calibrate_margin({name: table for name, table in tables.items() if table})
        values = {arm: mutual_information(arm_answers) for arm, arm_answers in answers.items()}
    else:
        margin = MarginChoice(0.0, "leave_one_out", len(left_out))
        values = _mean_scores(left_out, answers)
    chosen = choose(values, margin=margin.margin)
    criterion = "mutual_information" if is_closed else "leave_one_out"
    return Choice(chosen, criterion, values, margin, left_out)


def _mean_scores(left_out: Sequence[LeftOut], arms: Collection[str]) -> dict[str, float]:
    """The mean score of each arm over the references that every arm served; 0 where none did."""
    scores_of_each = [
        reference.scores for reference in left_out if set(arms) <= set(reference.scores)
    ]
    return {
        arm: math.fsum(scores[arm] for scores in scores_of_each) / max(len(scores_of_each), 1)
        for arm in arms
    }

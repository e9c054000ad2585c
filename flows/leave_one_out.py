"""Leave-one-out over the references: what a way of choosing would have done where labels exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from flows import ensemble
from flows.retrieval import Retrieval
from flows.scoring import BASE_ARM, TaskRows, predict_arm, read_task_rows
from flows.weighing import leave_out
from flows.workspace import Workspace
from rpe_core.evaluation.choice import choose, mutual_information
from rpe_core.fingerprint import fingerprint
from rpe_core.records import Candidate


@dataclass(frozen=True)
class LeftOut:
    """A reference served as if it were a target: what each arm answered on its labelled rows."""

    adapter: Candidate
    rows: TaskRows
    calibration: np.ndarray  # labelled rows that the criterion and the score were taken on
    test: np.ndarray  # labelled rows that stand as evidence
    probabilities: Mapping[str, np.ndarray]  # arm -> (calibration + test, labels)
    abstained: frozenset[str]  # arms that would have abstained: the base answers in their place

    def table(self) -> dict[str, tuple[float, float]]:
        """Per strategy that may serve: the criterion (nat) and the accuracy on calibration rows."""
        n = len(self.calibration)
        return {
            arm: (
                mutual_information(p[:n]),
                float(self.rows.items(self.calibration, p[:n]).correct.mean()),
            )
            for arm, p in self.probabilities.items()
            if arm != BASE_ARM and arm not in self.abstained
        }

    def chosen(self, margin: float) -> str:
        """The arm that `auto` would have served here."""
        criterion = {arm: pair[0] for arm, pair in self.table().items()}
        return choose(criterion, margin=margin) if criterion else BASE_ARM


def leave_one_out(
    workspace: Workspace, retrieval: Retrieval, *, with_test: bool
) -> tuple[LeftOut, ...]:
    """Serve each labelled reference of a target's library from the others.

    Neither the reference's own source nor the target's takes part, so nothing is scored by a
    model that saw its labels; validation rows calibrate, test rows (if asked for) are evidence.
    Targets that see the same library share the answers of a run.
    """
    target = retrieval.target
    library = sorted(candidate.adapter_id for candidate in retrieval.library)
    asked = [library, target.k, target.specs, target.merge, target.rank, target.base]
    keys = {tested: fingerprint([*asked, tested]) for tested in (True, False)}
    if keys[True] not in workspace.memo and keys[with_test] not in workspace.memo:
        served = _serve_each(workspace, retrieval, with_test=with_test)
        workspace.memo[keys[with_test]] = tuple(served)
    found: tuple[LeftOut, ...] = workspace.memo.get(keys[True]) or workspace.memo[keys[False]]
    return found


def _serve_each(
    workspace: Workspace, retrieval: Retrieval, *, with_test: bool
) -> Iterator[LeftOut]:
    limits = workspace.plan.evaluation
    for adapter in retrieval.library:
        contract = workspace.contracts.get(adapter.source)
        if contract is None:
            continue
        rows = read_task_rows(workspace, contract, adapter.dataset_version_id)
        calibration = rows.labelled("validation", limits.calibration_items)
        test = rows.labelled("test", limits.max_items) if with_test else np.array([], dtype=int)
        if len(calibration) == 0 or (with_test and len(test) == 0):
            continue
        inputs = [rows.inputs[i] for i in np.concatenate([calibration, test])]
        answers, abstained = _answers(workspace, retrieval, adapter, inputs)
        if answers.keys() - {BASE_ARM}:
            yield LeftOut(adapter, rows, calibration, test, answers, frozenset(abstained))


def _answers(
    workspace: Workspace, retrieval: Retrieval, adapter: Candidate, inputs: list[str]
) -> tuple[dict[str, np.ndarray], set[str]]:
    target, labels = retrieval.target, workspace.contracts[adapter.source].task.labels
    answers = {BASE_ARM: predict_arm(workspace, target.base, labels, None, inputs)}
    abstained = set()
    for spec in target.specs:
        tuning = ensemble.tuning_of(workspace, retrieval, spec)
        draft = leave_out(workspace, retrieval, adapter, spec, tuning)
        if draft is None:
            continue
        if draft.abstained:
            abstained.add(spec.name)
            answers[spec.name] = answers[BASE_ARM]
            continue
        answers[spec.name] = ensemble.answers_of(workspace, target, draft, labels, inputs)
    return answers, abstained

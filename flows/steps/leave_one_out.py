"""Leave-one-out over the references: what a way of choosing would have done where labels exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from flows.library.answers import (
    LabelledRows,
    answers_of_draft,
    mean_score,
    score_items,
    validation_rows,
)
from flows.library.retrieval import TargetView
from flows.library.weighing import leave_out
from flows.steps import ensemble
from flows.steps.scoring import BASE_ARM
from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
from rpe_core.evaluation.choice import mutual_information
from rpe_core.evaluation.metrics import Items
from rpe_core.fingerprint import fingerprint
from rpe_core.records import Candidate


@dataclass(frozen=True)
class LeftOut:
    """A reference served as if it were a target: what each arm answered on its labelled rows."""

    adapter: Candidate
    scores: Mapping[str, float]  # arm -> score on the rows that calibrate, as a gate would take it
    criterion: Mapping[str, float]  # arm -> mutual information in nat, of a closed answer set
    test: Mapping[str, Items]  # arm -> what stands as evidence; none where it was not asked for
    test_rows: LabelledRows
    abstained: frozenset[str]  # arms that would have abstained: the base answers in their place

    @property
    def candidates(self) -> list[str]:
        """The strategies that may serve."""
        return [arm for arm in self.scores if arm not in {BASE_ARM, *self.abstained}]

    def table(self) -> dict[str, tuple[float, float]]:
        """The criterion and the score of each candidate, of a closed answer set."""
        return {arm: (self.criterion[arm], self.scores[arm]) for arm in self.candidates}


LEFT_OUT = CacheSection[str, tuple[LeftOut, ...]]("references that were served as targets")


def leave_one_out(
    workspace: Workspace, target: TargetView, *, with_test: bool
) -> tuple[LeftOut, ...]:
    """Serve each labelled reference of a target's library from the others.

    Neither the reference's own source nor the target's takes part, so nothing is scored by a
    model that saw its labels; validation rows calibrate, test rows (if asked for) are evidence.
    Targets that see the same library share the answers of a run.
    """
    spec = target.spec
    library = sorted(candidate.adapter_id for candidate in target.library)
    asked = [library, spec.k, spec.specs, spec.merge, spec.rank, spec.base]
    keys = {tested: fingerprint([*asked, tested]) for tested in (True, False)}
    known = workspace.cache.known(LEFT_OUT)
    if keys[True] not in known and keys[with_test] not in known:
        known[keys[with_test]] = tuple(_serve_each(workspace, target, with_test=with_test))
    return known.get(keys[True]) or known[keys[False]]


def _serve_each(workspace: Workspace, target: TargetView, *, with_test: bool) -> Iterator[LeftOut]:
    limit = workspace.plan.evaluation.max_items if with_test else 0
    for adapter in target.library:
        contract = workspace.contracts.get(adapter.source)
        if contract is None:
            continue
        calibration = validation_rows(workspace, contract, adapter.dataset_version_id)
        test = replace(calibration, chosen=calibration.rows.labelled("test", limit))
        if len(calibration) == 0 or (with_test and len(test) == 0):
            continue
        asked = replace(calibration, chosen=np.concatenate([calibration.chosen, test.chosen]))
        answers, abstained = _answers(workspace, target, adapter, asked)
        if not answers.keys() - {BASE_ARM}:
            continue
        task, n = contract.task_spec, len(calibration)
        score = partial(score_items, workspace, target.base.name)
        yield LeftOut(
            adapter,
            {arm: mean_score(score(calibration, a[:n]), task) for arm, a in answers.items()},
            {arm: mutual_information(a[:n]) for arm, a in answers.items() if task.labels},
            {arm: score(test, a[n:]) for arm, a in answers.items()} if len(test) else {},
            test,
            frozenset(abstained),
        )


def _answers(
    workspace: Workspace, target: TargetView, adapter: Candidate, asked: LabelledRows
) -> tuple[dict[str, np.ndarray], set[str]]:
    """What each arm answers for a reference, and which arms would have abstained."""
    answer = partial(answers_of_draft, workspace, target, task=asked.task, inputs=asked.inputs)
    answers, abstained = {BASE_ARM: answer(None)}, set()
    for spec in target.spec.specs:
        tuning = ensemble.tuning_of(workspace, target, spec)
        draft = leave_out(workspace, target, adapter, spec, tuning)
        if draft is None:
            continue
        if draft.abstained:
            abstained.add(spec.name)
            answers[spec.name] = answers[BASE_ARM]
            continue
        answers[spec.name] = answer(draft)
    return answers, abstained

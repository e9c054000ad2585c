"""Promote: one challenger per target, gated once; a win moves the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from catalog.queries import current
from catalog.records import promotion, registration
from catalog.records.promotion import VerdictRecord
from catalog.records.registration import Challenger
from catalog.stores.registry.model_versions import ModelVersionRef
from flows.steps import evaluate
from flows.steps.evaluate import LEAVE_ONE_OUT, Arm, EvaluateUnit
from flows.steps.same_model import ServedModels
from flows.steps.scoring import AUTO_ARM, BASE_ARM, items_by_arm
from flows.steps.trials import Trials, trial_row, trials_of
from flows.verification.champions import require_sound, verified_by
from flows.workspace.plan import GateSpec
from flows.workspace.workspace import Workspace
from rpe_core.evaluation.gates import NO_CHAMPION, GatePolicy, Trial, decide, put_to_test
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.metrics import Items, find_metric, gate_metric
from rpe_core.fingerprint import fingerprint
from rpe_core.records import Comparison

Row = dict[str, Any]
UNSCORED = (
    "The champion could not be scored here, because the plan no longer names its base, or without"
    " labels of the target its strategy: base alone was asked."
)

SAME = "The champion is this model already: same weights, prompts and base; nothing is spent."
TAKEN_BACK = "It was rolled back by a person before."
UNASKED = "The very same model is not asked about again, and nothing is spent."


@dataclass(frozen=True)
class GateCase:
    """What the gate is asked of a target: may this challenger take this champion's place?"""

    unit: EvaluateUnit
    challenger: Arm  # the base where every ensemble abstained
    champion: Row | None
    policy: GatePolicy
    is_rolled_back: bool  # the challenger served before, and a person took it back
    trials: Trials = field(default_factory=Trials)  # what the gate was asked before
    same_as_champion: ModelVersionRef | None = None  # the champion's version is this very model
    same_as_rolled_back: ModelVersionRef | None = None  # a version that a person took back is it

    @property
    def champion_id(self) -> str:
        """The ensemble that serves, or ''."""
        return self.champion["ensemble_id"] if self.champion else ""

    @cached_property
    def question_id(self) -> str:
        """Sha12 over all that the answer follows from: asked once, answered once."""
        made_of = {
            "evaluation": self.unit.evaluation_id,
            "challenger": self.challenger.record_id,
            "champion": self.champion_id,
            "policy": terms_of(self.policy),
            "rolled_back": self.is_rolled_back,
        }
        return fingerprint(made_of)[:12]

    def __str__(self) -> str:
        return self.unit.target.name


@dataclass(frozen=True)
class GateResult:
    """What the gate says: the verdict, what it compared, and who gets a version for it."""

    verdict: VerdictRecord
    comparisons: Sequence[Row]
    challenger: Challenger | None


def pending(workspace: Workspace) -> list[GateCase]:
    """What the gate was not asked yet of the targets that are evaluated."""
    standing = workspace.standing
    units = [u for u in evaluate.units_of(workspace) if u.evaluation_id in standing.evaluation_ids]
    ids = [unit.evaluation_id for unit in units]
    scores = current.validation_scores(workspace.stores.lake, ids)
    chosen = current.choices(workspace.stores.lake, ids)
    questions, damaged = [], verified_by(workspace).damaged
    for unit in units:
        name = unit.target.name
        challenger = _challenger(workspace, unit, scores, chosen.get(unit.evaluation_id, ""))
        question = GateCase(
            unit,
            challenger,
            standing.champions.get(name),
            _policy(workspace, unit),
            (name, challenger.record_id) in standing.rolled_back,
        )
        is_damaged = challenger.record_id in damaged
        is_champion = challenger.record_id and challenger.record_id == question.champion_id
        if not is_champion and not is_damaged and question.question_id not in standing.questions:
            questions.append(question)
    questions = _recognised(workspace, questions)
    tried = trials_of(workspace, [question.unit for question in questions])
    return [replace(q, trials=trials) for q, trials in zip(questions, tried, strict=True)]


def _recognised(workspace: Workspace, questions: Sequence[GateCase]) -> list[GateCase]:
    """Questions with the version that is the challenger's very model, where one serves or did.

    What waits for a person is not asked again under another name.
    """
    names = [str(question) for question in questions]
    served = ServedModels(workspace, names)
    waits = promotion.pending_verdicts(workspace.stores, names) if names else {}
    cases = []
    for question in questions:
        unit, challenger, name = question.unit, question.challenger, str(question)
        row = waits.get(name)
        asked = {row["ensemble_id"]} if row and _is_standing(question, row) else set()
        if served.twin(unit, challenger, asked):
            continue
        taken_back = {
            ensemble_id for target, ensemble_id in workspace.standing.rolled_back if target == name
        }
        cases.append(
            replace(
                question,
                same_as_champion=served.twin(unit, challenger, {question.champion_id}),
                same_as_rolled_back=served.twin(unit, challenger, taken_back),
            )
        )
    return cases


def _is_standing(question: GateCase, row: Row) -> bool:
    """Whether a pending verdict is what the gate would say by the plan and champion of now."""
    policy = question.policy
    if (row["champion_ensemble_id"], policy.approval) != (question.champion_id, "required"):
        return False
    again = replace(
        _verdict(question, "pending", (), policy=terms_of(policy)),
        dataset_version_id=row["dataset_version_id"],
        ensemble_id=row["ensemble_id"],
        question_id=row["question_id"],
    )
    return bool(again.promotion_id == row["promotion_id"])


def keep(workspace: Workspace, made: Sequence[GateResult]) -> None:
    """Register the challengers, record the verdicts, then let the aliases follow them."""
    challengers = [answer.challenger for answer in made if answer.challenger]
    refs = registration.register_challengers(workspace.stores, challengers, run=workspace.run)
    winning = {a.verdict.ensemble_id for a in made if a.verdict.action in ("promoted", "pending")}
    pairs = zip(challengers, refs, strict=True)
    require_sound(
        workspace, [ref for challenger, ref in pairs if challenger.ensemble_id in winning]
    )
    verdicts = [(answer.verdict, answer.comparisons) for answer in made]
    promotion.record_verdicts(workspace.stores, verdicts, run=workspace.run)


def make(workspace: Workspace, question: GateCase) -> GateResult:
    """The verdict that follows from what the lake holds, and the comparisons behind it."""
    unit, challenger, policy = question.unit, question.challenger, question.policy
    if not unit.candidates:
        why = (unit.target.domain.reason,)
        return GateResult(_verdict(question, "abstained", why, policy={}), (), None)
    if question.same_as_champion:
        return _unasked(question, promotion.KEPT, (SAME,), question.same_as_champion)
    if question.same_as_rolled_back:
        why_not = (TAKEN_BACK, UNASKED)
        return _unasked(question, "refused", why_not, question.same_as_rolled_back)
    tried = _put_to_test(workspace, question)
    against_base, *others = tried.values()
    decided = decide(policy, against_base, others[0] if others else None)
    action, reasons = "refused", _told(question, decided.reasons, is_scored=bool(others))
    if decided.is_promoted and question.is_rolled_back:
        reasons = (*reasons, TAKEN_BACK)
    elif decided.is_promoted:
        action = "pending" if policy.approval == "required" else "promoted"
    rows = [_comparison_row(workspace, question, *entry) for entry in tried.items()]
    target = unit.target
    registered = Challenger(challenger.record_id, target.base, target.task, unit.evidence)
    return GateResult(
        _verdict(question, action, reasons, policy=terms_of(policy)), rows, registered
    )


def _unasked(
    question: GateCase, action: str, reasons: Sequence[str], model: ModelVersionRef
) -> GateResult:
    """The answer about a model that is known: no comparison, no trial, no version of its own."""
    verdict = _verdict(question, action, reasons, policy=terms_of(question.policy))
    return GateResult(replace(verdict, model=model), (), None)


def _challenger(
    workspace: Workspace, unit: EvaluateUnit, scores: Mapping[str, Mapping[str, Row]], chosen: str
) -> Arm:
    """The candidate with the best validation score; without labels, the choice of `auto`."""
    if not unit.candidates:
        return Arm(BASE_ARM, "", "", is_candidate=False)
    metric = find_metric(metric_of(workspace, unit))
    scored = scores.get(unit.evaluation_id, {})
    if unit.evidence == LEAVE_ONE_OUT or not scored:
        by_name = {arm.name: arm for arm in unit.candidates}
        return by_name.get(chosen, unit.candidates[0])
    sign = 1.0 if metric.is_higher_better else -1.0
    return max(unit.candidates, key=lambda arm: sign * scored[f"{arm.name} {metric.name}"]["value"])


def _put_to_test(workspace: Workspace, question: GateCase) -> dict[str, Trial]:
    """The challenger against base, '', and against the champion, by the ensemble behind each."""
    unit, policy, lake = question.unit, question.policy, workspace.stores.lake
    items = items_by_arm(current.item_scores(lake, unit.evaluation_id, unit.gate_split))
    mine = items[AUTO_ARM if unit.evidence == LEAVE_ONE_OUT else question.challenger.name]
    baselines = {"": items[BASE_ARM]}
    served = _served_items(unit, question.champion, items) if question.champion else None
    if served is not None:
        baselines[question.champion_id] = served
    compared = {
        baseline_id: compared_by(policy, mine, theirs) for baseline_id, theirs in baselines.items()
    }
    tried = {}
    for baseline_id, comparison in compared.items():
        past = question.trials.past(
            question.challenger.record_id, compared, baseline_id, cap=policy.cap
        )
        tried[baseline_id] = put_to_test(policy, comparison, mine, baselines[baseline_id], past)
    return tried


def compared_by(policy: GatePolicy, challenger: Items, baseline: Items) -> Comparison:
    """The comparison that a gate decides on: of the mean over groups, scores capped as it says."""
    return compare(
        challenger,
        baseline,
        policy.metric,
        confidence=policy.confidence,
        mean_over="groups",
        cap=policy.cap,
    )


def _served_items(unit: EvaluateUnit, champion: Row, items: Mapping[str, Items]) -> Items | None:
    """What the champion answered, under whichever arm it was scored here; None where it was not.

    Without labels of the target it is what its strategy answered elsewhere, if the plan has it yet.
    """
    for arm in unit.arms:
        if arm.record_id == champion["ensemble_id"] and arm.name in items:
            return items[arm.name]
    return items.get(champion["strategy"]) if unit.evidence == LEAVE_ONE_OUT else None


def _told(question: GateCase, reasons: Sequence[str], *, is_scored: bool) -> tuple[str, ...]:
    """The reasons; a champion that could not be scored is none that does not exist."""
    if question.champion is None or is_scored:
        return tuple(reasons)
    return tuple(UNSCORED if reason == NO_CHAMPION else reason for reason in reasons)


def _gate(workspace: Workspace, unit: EvaluateUnit) -> GateSpec:
    return unit.target.spec.gate or workspace.plan.gate


def metric_of(workspace: Workspace, unit: EvaluateUnit) -> str:
    """The metric that a target's gate decides by."""
    return gate_metric(_gate(workspace, unit).metric, unit.target.task.type)


def _policy(workspace: Workspace, unit: EvaluateUnit) -> GatePolicy:
    return _gate(workspace, unit).policy(metric_of(workspace, unit))


def terms_of(policy: GatePolicy) -> Row:
    """What a policy asks, as ids have it: a key that is not used is in none of them."""
    return {name: value for name, value in asdict(policy).items() if value is not None}


def _verdict(
    question: GateCase, action: str, reasons: Sequence[str], *, policy: Mapping[str, Any]
) -> VerdictRecord:
    return VerdictRecord(
        target_name=question.unit.target.name,
        dataset_version_id=question.unit.target.version.dataset_version_id,
        arm=question.challenger.name,
        ensemble_id=question.challenger.record_id,
        champion_ensemble_id=question.champion_id,
        action=action,
        evidence=question.unit.evidence,
        reasons=tuple(reasons),
        actor="gate",
        policy=policy,
        question_id=question.question_id,
    )


def _comparison_row(
    workspace: Workspace, question: GateCase, baseline_id: str, trial: Trial
) -> Row:
    unit, served = question.unit, question.champion
    row: Mapping[str, Any] = {
        "target_name": unit.target.name,
        "dataset_version_id": unit.target.version.dataset_version_id,
        "evidence": unit.evidence,
        "arm": question.challenger.name,
        "ensemble_id": question.challenger.record_id,
        "baseline_arm": served["strategy"] if served and baseline_id else BASE_ARM,
        "baseline_ensemble_id": baseline_id,
        "evaluation_id": unit.evaluation_id,
        **asdict(trial.comparison),
        **trial_row(question.policy, trial),
    }
    return {**row, "comparison_id": fingerprint(row)[:12], "run_id": workspace.run.run_id}

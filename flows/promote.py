"""Promote: one challenger per target, gated once; a win moves the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from catalog import current, promotion, registration
from catalog.promotion import VerdictRecord
from flows import evaluate
from flows.evaluate import LEAVE_ONE_OUT, Arm, EvaluateUnit
from flows.plans import GateSpec
from flows.scoring import AUTO_ARM, BASE_ARM
from flows.workspace import Workspace
from rpe_core.evaluation.gates import GatePolicy, decide
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.metrics import Items, find_metric, gate_metric, make_items, pool
from rpe_core.fingerprint import fingerprint
from rpe_core.records import Comparison

Row = dict[str, Any]


@dataclass(frozen=True)
class Decision:
    """What the gate says of a target now: the verdict to record and the comparisons behind it."""

    unit: EvaluateUnit
    verdict: VerdictRecord
    comparisons: tuple[Row, ...]

    def __str__(self) -> str:
        return self.unit.retrieval.target.name


def pending(workspace: Workspace) -> list[Decision]:
    """Verdicts that follow from what is evaluated and are not on record yet."""
    lake = workspace.stores.lake
    units = [evaluate.unit_of(workspace, name) for name in workspace.plan.target_names]
    decisions = [
        decision_of(workspace, unit)
        for unit in units
        if unit and current.has_record(lake, "scores", "evaluation_id", unit.evaluation_id)
    ]
    return [
        decision
        for decision in decisions
        if decision
        and not current.has_record(
            lake, "promotions", "promotion_id", decision.verdict.promotion_id
        )
    ]


def act(workspace: Workspace, decision: Decision) -> str:
    """Register the challenger, then record the verdict, then let the aliases follow it."""
    verdict = decision.verdict
    if verdict.ensemble_id:
        registration.register_challenger(
            workspace.stores,
            verdict.ensemble_id,
            base=workspace.bases[decision.unit.retrieval.target.base],
            task=workspace.contracts[decision.unit.retrieval.target.source].task_spec,
            evidence=verdict.evidence,
            run=workspace.run,
        )
    promotion.record_verdict(
        workspace.stores, verdict, comparisons=decision.comparisons, run=workspace.run
    )
    return verdict.promotion_id


def decision_of(workspace: Workspace, unit: EvaluateUnit) -> Decision | None:
    """The verdict that follows from what the lake holds; None if the champion stands."""
    champion = current.champion(workspace.stores.lake, unit.retrieval.target.name)
    champion_id = champion["ensemble_id"] if champion else ""
    if not unit.candidates:
        reason = unit.retrieval.domain.reason
        return _decision(
            unit, "abstained", Arm(BASE_ARM, "", "", is_candidate=False), champion_id, (reason,), ()
        )
    evidence = _Evidence(workspace, unit)
    challenger = evidence.challenger()
    if challenger.record_id == champion_id:
        return None
    policy = _policy(workspace, unit)
    against_base = evidence.compare(challenger, BASE_ARM, policy)
    against_champion = None
    if champion:
        against_champion = evidence.compare(challenger, evidence.arm_of(champion), policy)
    verdict = decide(policy, against_base, against_champion)
    action = "refused"
    if verdict.is_promoted:
        action = "pending" if policy.approval == "required" else "promoted"
    reasons = verdict.reasons
    if action != "refused" and _was_rolled_back(workspace, unit, challenger):
        action, reasons = "refused", (*reasons, "It was rolled back by a person before.")
    compared = [(BASE_ARM, "", against_base)]
    if champion and against_champion:
        compared.append((champion["strategy"], champion_id, against_champion))
    rows = tuple(_comparison_row(workspace, unit, challenger, *entry) for entry in compared)
    return _decision(unit, action, challenger, champion_id, reasons, rows, policy)


class _Evidence:
    """Per-item scores of an evaluation, read once: labels of the target, or left-out references."""

    def __init__(self, workspace: Workspace, unit: EvaluateUnit) -> None:
        self.workspace, self.unit = workspace, unit
        self.lake = workspace.stores.lake
        self.split = "test" if unit.evidence == "labels" else LEAVE_ONE_OUT
        self.items = _items_by_arm(current.item_scores(self.lake, unit.evaluation_id, self.split))

    def challenger(self) -> Arm:
        """The candidate with the best validation score; without labels, the choice of `auto`."""
        metric = find_metric(_metric(self.workspace, self.unit))
        scored = _items_by_arm(
            current.item_scores(self.lake, self.unit.evaluation_id, "validation")
        )
        if self.unit.evidence == LEAVE_ONE_OUT or not scored:
            return self._chosen()
        sign = 1.0 if metric.is_higher_better else -1.0
        return max(self.unit.candidates, key=lambda arm: sign * metric.value(scored[arm.name]))

    def _chosen(self) -> Arm:
        rows = self.lake.rows(
            "SELECT candidate FROM core.choices WHERE choice_id = ? AND is_chosen",
            [self.unit.evaluation_id],
        )
        by_name = {arm.name: arm for arm in self.unit.candidates}
        return by_name[rows[0]["candidate"]] if rows else self.unit.candidates[0]

    def compare(self, challenger: Arm, baseline: str, policy: GatePolicy) -> Comparison:
        """Challenger against another arm on the same items."""
        mine = AUTO_ARM if self.split == LEAVE_ONE_OUT else challenger.name
        return compare(
            self.items[mine], self.items[baseline], policy.metric, confidence=policy.confidence
        )

    def arm_of(self, champion: Row) -> str:
        """The arm under which the champion was scored here."""
        for arm in self.unit.arms:
            if arm.record_id == champion["ensemble_id"] and arm.name in self.items:
                return arm.name
        return champion["strategy"] if champion["strategy"] in self.items else BASE_ARM


def _items_by_arm(rows: Sequence[Row]) -> dict[str, Items]:
    """Items per arm; those of several references are pooled, each with label indices of its own."""
    parts: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        parts.setdefault(row["arm"], {}).setdefault(row["dataset_version_id"], []).append(row)
    return {
        arm: pool([_items(part) for _, part in sorted(versions.items())])
        for arm, versions in parts.items()
    }


def _items(rows: Sequence[Row]) -> Items:
    return make_items(
        [row["predicted"] for row in rows],
        [row["expected"] for row in rows],
        [row["group_sha256"] for row in rows],
    )


def _gate(workspace: Workspace, unit: EvaluateUnit) -> GateSpec:
    return unit.retrieval.target.gate or workspace.plan.gate


def _metric(workspace: Workspace, unit: EvaluateUnit) -> str:
    contract = workspace.contracts[unit.retrieval.target.source]
    return gate_metric(_gate(workspace, unit).metric, contract.task.type)


def _policy(workspace: Workspace, unit: EvaluateUnit) -> GatePolicy:
    gate = _gate(workspace, unit)
    return GatePolicy(
        _metric(workspace, unit), gate.baseline, gate.confidence, gate.min_items, gate.approval
    )


def _was_rolled_back(workspace: Workspace, unit: EvaluateUnit, arm: Arm) -> bool:
    rows = workspace.stores.lake.rows(
        "SELECT 1 FROM core.promotions WHERE target_name = ? AND action = 'rolled_back'"
        " AND champion_ensemble_id = ?",
        [unit.retrieval.target.name, arm.record_id],
    )
    return bool(rows)


def _decision(
    unit: EvaluateUnit,
    action: str,
    arm: Arm,
    champion_id: str,
    reasons: Sequence[str],
    comparisons: tuple[Row, ...],
    policy: GatePolicy | None = None,
) -> Decision:
    verdict = VerdictRecord(
        target_name=unit.retrieval.target.name,
        dataset_version_id=unit.retrieval.dataset_version_id,
        arm=arm.name,
        ensemble_id=arm.record_id,
        champion_ensemble_id=champion_id,
        action=action,
        evidence=unit.evidence,
        reasons=tuple(reasons),
        actor="gate",
        policy=asdict(policy) if policy else {},
    )
    return Decision(unit, verdict, comparisons)


def _comparison_row(
    workspace: Workspace,
    unit: EvaluateUnit,
    arm: Arm,
    baseline_arm: str,
    baseline_id: str,
    comparison: Comparison,
) -> Row:
    row: Mapping[str, Any] = {
        "target_name": unit.retrieval.target.name,
        "dataset_version_id": unit.retrieval.dataset_version_id,
        "evidence": unit.evidence,
        "arm": arm.name,
        "ensemble_id": arm.record_id,
        "baseline_arm": baseline_arm,
        "baseline_ensemble_id": baseline_id,
        **asdict(comparison),
    }
    made_of = fingerprint({**row, "evaluation": unit.evaluation_id})
    return {**row, "comparison_id": made_of[:12], "run_id": workspace.run.run_id}

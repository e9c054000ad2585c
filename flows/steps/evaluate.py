"""Evaluate: every arm of a target, scored on the same items; and the choice that `auto` makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from catalog.queries import current
from catalog.queries.current import AdapterFilter
from flows.library.answers import LabelledRows, predict_arm, score_items
from flows.library.references import filter_of
from flows.library.retrieval import TargetView, rows_of_target
from flows.steps import ensemble
from flows.steps.auto_choice import Choice, choose_arm
from flows.steps.scoring import (
    AUTO_ARM,
    BASE_ARM,
    CHAMPION_ARM,
    OWN_ARM,
    OWN_ENSEMBLE_ARM,
    REFERENCE_ARM,
    item_rows,
    score_row,
    score_rows,
)
from flows.workspace.plan import TargetSpec
from flows.workspace.run_cache import CacheSection
from flows.workspace.task_rows import TaskRows
from flows.workspace.workspace import Workspace
from rpe_core.evaluation.metrics import METRICS, Items, gate_metric, metrics_of, pool
from rpe_core.fingerprint import fingerprint
from rpe_core.records import Evidence

LEAVE_ONE_OUT = "leave_one_out"


@dataclass(frozen=True)
class Arm:
    """What is evaluated: a name, the record behind it ('' for base), whether it may serve.

    `base_name` is the plan's name of the base that it was made on, where that is not the target's.
    """

    name: str
    record_id: str
    artifact_sha256: str
    is_candidate: bool
    base_name: str = ""


@dataclass(frozen=True)
class EvaluateUnit:
    """A target with the arms that stand for it."""

    target: TargetView
    arms: tuple[Arm, ...]
    evidence: Evidence
    evaluation_id: str

    @property
    def candidates(self) -> tuple[Arm, ...]:
        """Arms that may become the challenger: ensembles that did not abstain."""
        return tuple(arm for arm in self.arms if arm.is_candidate)

    @property
    def gate_split(self) -> str:
        """The split whose items a gate looks at: test rows, or those of left-out references."""
        return "test" if self.evidence == "labels" else LEAVE_ONE_OUT

    @property
    def is_choosing(self) -> bool:
        """Whether one of the candidates is chosen without a label of the target."""
        asked = self.target.spec.has_auto or self.evidence == LEAVE_ONE_OUT
        return bool(self.candidates) and asked

    def __str__(self) -> str:
        return self.target.name


EVALUATIONS = CacheSection[tuple[str, ...], list[EvaluateUnit]]("arms of targets, by their names")


def units_of(workspace: Workspace) -> list[EvaluateUnit]:
    """The arms of every target for which all ensembles stand; found once a run."""
    return workspace.cache.get(EVALUATIONS, workspace.plan.target_names, lambda: _units(workspace))


def _units(workspace: Workspace) -> list[EvaluateUnit]:
    own = _own_adapters(workspace)
    units = [_unit_of(workspace, target, own) for target in workspace.plan.targets]
    return [unit for unit in units if unit]


def _unit_of(
    workspace: Workspace, target: TargetSpec, own: Mapping[str, Arm]
) -> EvaluateUnit | None:
    standing, units = workspace.standing, ensemble.ensemble_units_of(workspace, target)
    if target.source not in workspace.contracts:  # it has faults, which the night tells
        return None
    if not units or any(unit.ensemble_id not in standing.ensembles for unit in units):
        return None
    view = units[0].target
    rows = [standing.ensembles[unit.ensemble_id] for unit in units]
    arms = [Arm(BASE_ARM, "", "", is_candidate=False)]
    for r in rows:
        may_serve = not r["abstained"] and r["strategy"] != OWN_ENSEMBLE_ARM
        arms.append(Arm(r["strategy"], r["ensemble_id"], r["artifact_sha256"], may_serve))
    champion = standing.champions.get(target.name)
    if champion and champion["ensemble_id"] not in {arm.record_id for arm in arms}:
        arms += _champion_arm(workspace, target, champion)
    evidence = _evidence(view)
    if evidence == "labels" and target.name in own:
        arms.append(own[target.name])
    if workspace.plan.evaluation.transfer:
        arms += _single_references(workspace, view)
    task_type = workspace.contracts[target.source].task.type
    made_of = {
        "target": target.name,
        "dataset": view.version.sha256,
        "arms": [[arm.name, arm.record_id] for arm in arms],
        "library": sorted(c.adapter_id for c in view.library),
        "evaluation": workspace.plan.evaluation.limits,
        "auto": target.has_auto,
        "metrics": {name: METRICS[name].version for name in metrics_of(task_type)},
    }
    if task_type == "text-generation":
        made_of["scorers"] = {
            metric: [spec.model_dump(), workspace.bases[spec.base].sha256]
            for metric, spec in workspace.plan.evaluation.scorers.items()
        }
    return EvaluateUnit(view, tuple(arms), evidence, fingerprint(made_of)[:12])


def pending(workspace: Workspace) -> list[EvaluateUnit]:
    """Targets whose arms, rows or metrics are not the ones that were evaluated."""
    known = workspace.standing.evaluation_ids
    wanted = [unit for unit in units_of(workspace) if unit.evaluation_id not in known]
    # those without labels first: what they find out about the library serves the others too
    return sorted(wanted, key=lambda unit: unit.evidence == "labels")


@dataclass(frozen=True)
class Evaluated:
    """The rows of one evaluation, as they are kept."""

    scores: list[dict[str, Any]]
    items: list[dict[str, Any]]
    choices: list[dict[str, Any]]


def make(workspace: Workspace, unit: EvaluateUnit) -> Evaluated:
    """Scores of the arms, per item and over all, and the choice among them."""
    target = unit.target
    rows = rows_of_target(workspace, target)
    record = Record(workspace, unit, rows)
    seen = rows.first(workspace.plan.evaluation.criterion_items if unit.is_choosing else 0)
    wanted = np.unique(np.concatenate([seen, *_scored_rows(workspace, rows).values()]))
    inputs = rows.inputs_of(wanted)
    looked_at = {}  # what the choice sees; the other answers go when they are scored
    for arm in unit.arms if len(wanted) else ():
        folder = _folder(workspace, arm)
        base_name = arm.base_name or target.base.name
        answers = predict_arm(workspace, base_name, target.task, folder, inputs)
        record.add(arm, wanted, answers)
        if arm.is_candidate and unit.is_choosing:
            looked_at[arm.name] = answers[np.searchsorted(wanted, seen)]
    if unit.is_choosing:
        _choose(workspace, unit, looked_at, record)
    return Evaluated(record.scores, record.items, record.choices)


def unpack_evaluated(values: Mapping[str, Any]) -> Evaluated:
    """An evaluation from the values that `asdict` gave."""
    return Evaluated(**values)


def keep(workspace: Workspace, made: Sequence[Evaluated]) -> None:
    """Put the evaluations on record in one commit."""
    with workspace.stores.lake.transaction(message="evaluate", run=workspace.run) as commit:
        commit.insert_new("scores", [row for record in made for row in record.scores])
        commit.insert_new("item_scores", [row for record in made for row in record.items])
        commit.insert_new("choices", [row for record in made for row in record.choices])


@dataclass(frozen=True)
class AnsweredRows:
    """What an arm answered to the rows of a split, and how good that was."""

    labelled: LabelledRows
    items: Items


class Record:
    """The rows of one evaluation, gathered before they are kept."""

    def __init__(self, workspace: Workspace, unit: EvaluateUnit, rows: TaskRows) -> None:
        self.workspace, self.unit, self.rows = workspace, unit, rows
        self.task = unit.target.task
        self.run_id = workspace.run.run_id
        self.scores: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.choices: list[dict[str, Any]] = []
        self._answered: dict[tuple[str, str], AnsweredRows] = {}  # by arm and split

    def common(self, split: str, arm: str, record_id: str) -> dict[str, Any]:
        """What every row of one arm and split shares."""
        return {
            "evaluation_id": self.unit.evaluation_id,
            "target_name": self.unit.target.name,
            "dataset_version_id": self.unit.target.version.dataset_version_id,
            "split": split,
            "arm": arm,
            "ensemble_id": record_id,
        }

    def add(self, arm: Arm, answered: np.ndarray, answers: np.ndarray) -> None:
        """Scores and per-item scores of one arm from its answers on rows `answered`, ascending."""
        base_name = arm.base_name or self.unit.target.base.name
        for split, chosen in _scored_rows(self.workspace, self.rows).items():
            if len(chosen):
                labelled = LabelledRows(self.task, self.rows, chosen)
                theirs = answers[np.searchsorted(answered, chosen)]
                items = score_items(self.workspace, base_name, labelled, theirs)
                self._put(arm, split, AnsweredRows(labelled, items))

    def repeat(self, arm: Arm, answered_by: str) -> None:
        """Scores of an arm for which another one answers, whose items are scored already."""
        for (name, split), answered in list(self._answered.items()):
            if name == answered_by:
                self._put(arm, split, answered)

    def _put(self, arm: Arm, split: str, answered: AnsweredRows) -> None:
        self._answered[arm.name, split] = answered
        labelled, items = answered.labelled, answered.items
        common = self.common(split, arm.name, arm.record_id)
        self.scores += score_rows(labelled, items, {**common, "run_id": self.run_id})
        self.items += item_rows(labelled, items, common)


def _choose(
    workspace: Workspace, unit: EvaluateUnit, answers: Mapping[str, np.ndarray], record: Record
) -> None:
    """Choose among the candidates without a label of the target, and keep why."""
    by_name = {arm.name: arm for arm in unit.candidates}
    needs_evidence = unit.evidence == LEAVE_ONE_OUT
    choice = choose_arm(workspace, unit.target, answers, with_test=needs_evidence)
    record.choices += _choice_rows(unit, choice)
    auto = Arm(AUTO_ARM, by_name[choice.chosen].record_id, "", is_candidate=False)
    record.repeat(auto, choice.chosen)
    if needs_evidence:
        _keep_evidence(choice, record)


def _keep_evidence(choice: Choice, record: Record) -> None:
    """Answers on the test rows of the references, per arm and by the rule that `auto` follows."""
    pooled: dict[str, list[Any]] = {}
    for left in choice.left_out:
        for arm, items in {**left.test, AUTO_ARM: left.test[choice.served(left)]}.items():
            pooled.setdefault(arm, []).append(items)
            common = record.common(LEAVE_ONE_OUT, arm, "")
            common["dataset_version_id"] = left.adapter.dataset_version_id
            record.items += item_rows(left.test_rows, items, common)
    metric = gate_metric("auto", record.task.type)
    for arm, parts in pooled.items():
        common = {**record.common(LEAVE_ONE_OUT, arm, ""), "run_id": record.run_id, "slice": ""}
        record.scores.append(score_row(pool(parts), metric, common))


def _choice_rows(unit: EvaluateUnit, choice: Choice) -> list[dict[str, Any]]:
    by_name = {arm.name: arm.record_id for arm in unit.candidates}
    return [
        {
            "choice_id": unit.evaluation_id,
            "target_name": unit.target.name,
            "dataset_version_id": unit.target.version.dataset_version_id,
            "candidate": name,
            "ensemble_id": by_name[name],
            "criterion": choice.criterion,
            "value": value,
            "margin": choice.margin.margin,
            "calibration": choice.margin.calibration,
            "is_chosen": name == choice.chosen,
        }
        for name, value in choice.values.items()
    ]


def _scored_rows(workspace: Workspace, rows: TaskRows) -> dict[str, np.ndarray]:
    evaluation = workspace.plan.evaluation
    splits = ("test",) if evaluation.transfer else ("validation", "test")
    return {split: rows.labelled(split, evaluation.max_items) for split in splits}


def _evidence(target: TargetView) -> Evidence:
    """`labels` where the target has labelled test rows, else leave-one-out over the references."""
    return "labels" if target.version.n_test_labelled else "leave_one_out"


def _own_adapters(workspace: Workspace) -> dict[str, Arm]:
    """Target -> the adapter trained on the target itself: a yardstick, never promoted."""
    asked: dict[tuple[str, str | None], list[TargetSpec]] = {}
    for target in workspace.plan.targets:  # in as few questions as a thousand targets allow
        asked.setdefault((target.base, target.library.recipe), []).append(target)
    arms = {}
    for targets in asked.values():
        allowed = filter_of(workspace, targets[0])
        sources = {target.source for target in targets}
        wanted = AdapterFilter(allowed.base_id, sources=sources, recipe_ids=allowed.recipe_ids)
        rows = current.visible_adapters(workspace.stores.lake, wanted)
        own = {row["source"]: row for row in reversed(rows)}
        for target in targets:
            if row := own.get(target.source):
                arms[target.name] = _served(OWN_ARM, row["adapter_id"], row["artifact_sha256"])
    return arms


def _champion_arm(
    workspace: Workspace, target: TargetSpec, champion: Mapping[str, Any]
) -> list[Arm]:
    """The champion on the base that it was made on; none where the plan names that no more.

    Weights of one base on another would answer something, and it would not be the champion.
    """
    named = {_files_of(base.base_id): name for name, base in workspace.bases.items()}
    named[_files_of(workspace.bases[target.base].base_id)] = ""
    made_on = _files_of(champion["base_id"])
    if made_on not in named:
        return []
    arm = _served(CHAMPION_ARM, champion["ensemble_id"], champion["artifact_sha256"])
    return [replace(arm, base_name=named[made_on])]


def _files_of(base_id: str) -> str:
    """The hash of a base's files, whatever the plan calls it."""
    return base_id.rpartition("@")[2]


def _single_references(workspace: Workspace, target: TargetView) -> list[Arm]:
    """Each reference that the target may see, by itself, in the order of their sources."""
    rows = workspace.adapter_rows(candidate.adapter_id for candidate in target.library)
    return [
        _served(f"{REFERENCE_ARM}{row['source']}", row["adapter_id"], row["artifact_sha256"])
        for row in sorted(rows.values(), key=lambda row: row["source"])
    ]


def _served(name: str, record_id: str, artifact_sha256: str) -> Arm:
    return Arm(name, record_id, artifact_sha256, is_candidate=False)


def _folder(workspace: Workspace, arm: Arm) -> Path | None:
    if not arm.artifact_sha256:
        return None
    # hashed again: what was changed since it was kept would be scored as what it is not
    return workspace.stores.artifacts.folder(arm.artifact_sha256, is_verified=True)

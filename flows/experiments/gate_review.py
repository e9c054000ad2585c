"""Gate review: what the gate of this release would have said of the promotions on record.

A read: nothing is written and nothing is demoted. Each promotion is asked about again from the item
scores that the lake keeps, in their order, with what had been tried and bet before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any

import numpy as np

from catalog.lineage import source_of
from catalog.queries import current
from catalog.queries.past_gates import Withdrawn, let_in, withdrawals
from catalog.queries.serving import standing_changes
from catalog.records.champions import former_of
from catalog.stores.lake.lake import Lake
from flows.steps.promote import UNSCORED, compared_by
from flows.steps.scoring import AUTO_ARM, BASE_ARM, items_by_arm
from flows.workspace.lake_reads import require_lake
from flows.workspace.plan import GateSpec, Plan
from flows.workspace.settings import Settings
from flows.workspace.stores import leaving_no_trace, open_lake
from flows.workspace.workspace import load_declarations
from rpe_core.errors import InputError
from rpe_core.evaluation.gates import (
    NO_CHAMPION,
    GateHistory,
    GatePolicy,
    Trial,
    decide,
    put_to_test,
)
from rpe_core.evaluation.metrics import Floats, Items, find_metric
from rpe_core.evaluation.paired import gated_metrics
from rpe_core.records import Comparison

Row = dict[str, Any]
STANDS, FALLS, UNKNOWN = "stands", "would not have happened", "cannot be reviewed"
BLIND = "Item scores of an earlier trial are gone: no group counts as new to bets."


@dataclass(frozen=True)
class Reviewed:
    """A promotion beside what the gate says of it now; reasons are lines of text."""

    target: str
    version: str
    decided_at: datetime | None
    action: str
    outcome: str
    reasons: str
    ensemble_id: str = ""
    evaluation_id: str = ""
    metric: str = ""
    is_serving: bool = False
    former_version: str = ""  # what a roll-back from it would let serve
    against_base: Row = field(default_factory=dict)
    against_champion: Row = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Again:
    """A comparison that was made again, or why it cannot be; `is_blind` if items before are gone.

    Then it is not known which groups were used before it, so that none counts as new.
    """

    trial: Trial | None
    why: str = ""
    is_blind: bool = False


class _NotReviewable(Exception):
    """Why a comparison cannot be made again, in words."""


def review(settings: Settings) -> list[Reviewed]:
    """Every promotion on record, the oldest first, and what withdrawals took away.

    Raises:
        InputError: there is no workspace, or no lake in it.
    """
    require_lake(settings)
    plan = load_declarations(settings).plan
    with leaving_no_trace(settings), open_lake(settings, read_only=True) as lake:
        return _reviewed(lake, plan)


def _reviewed(lake: Lake, plan: Plan) -> list[Reviewed]:
    promotions, serves = let_in(lake), standing_changes(lake)
    trials = current.trials(lake, sorted({row["target_name"] for row in promotions}))
    behind = {row["promotion_id"]: _behind(row, trials) for row in promotions}
    asked = {c["comparison_id"] for rows in behind.values() for c in rows.values()}
    again: dict[str, Again] = {}
    for lineage in _lineages(trials):
        again |= _Replay(lake, plan, asked).run(lineage)
    reviews = [
        replace(
            _told(row, behind[row["promotion_id"]], again, plan),
            **_serving(row, serves.get(row["target_name"], [])),
        )
        for row in promotions
    ]
    return sorted(
        [*reviews, *map(_gone, withdrawals(lake))],
        key=lambda review: (str(review.decided_at or ""), review.target),
    )


def _behind(promotion: Row, trials: Sequence[Row]) -> dict[str, Row]:
    """Baseline -> the newest comparison with it that the promotion rests on."""
    wanted = {"", promotion["champion_ensemble_id"]}
    return {
        row["baseline_ensemble_id"]: row
        for row in trials  # the oldest first
        if (row["target_name"], row["ensemble_id"])
        == (promotion["target_name"], promotion["ensemble_id"])
        and row["recorded_at"] <= promotion["recorded_at"]
        and row["baseline_ensemble_id"] in wanted
    }


def _lineages(trials: Sequence[Row]) -> Iterator[list[Row]]:
    """The trials of each target, source and kind of evidence, the oldest first."""
    by_target: dict[tuple[str, ...], list[Row]] = {}
    for row in trials:
        key = (row["target_name"], row["evidence"], source_of(row["dataset_version_id"]))
        by_target.setdefault(key, []).append(row)
    yield from by_target.values()


class _Replay:
    """The trials of a lineage again, in their order, each with what was known before it."""

    def __init__(self, lake: Lake, plan: Plan, asked: set[str]) -> None:
        self._lake, self._plan, self._asked = lake, plan, asked
        self._groups: frozenset[str] = frozenset()
        self._capitals: dict[tuple[str, GatePolicy], Floats] = {}
        self._is_blind = False  # items of an earlier trial are gone

    def run(self, rows: Sequence[Row]) -> dict[str, Again]:
        """Comparison -> the same, made again."""
        made_again: dict[str, Again] = {}
        for _, trials in groupby(rows, key=lambda row: (row["recorded_at"], row["ensemble_id"])):
            question = list(trials)
            tried = {row["comparison_id"]: self._again(row) for row in question}
            made_again |= tried
            self._learn(question, tried)
        return made_again

    def _again(self, row: Row) -> Again:
        try:
            policy = policy_of(self._plan, row)
            mine, theirs = self._items(row)
            past = self._past(row, policy, mine)
            is_asked = row["comparison_id"] in self._asked
            # an interval takes a while, and of other trials only bets and groups are wanted
            compared = compared_by(policy, mine, theirs) if is_asked else _as_recorded(row)
            trial = put_to_test(policy, compared, mine, theirs, past)
        except _NotReviewable as refusal:
            return Again(None, str(refusal))
        except InputError as error:  # the arms did not answer the same items
            return Again(None, error.what)
        return Again(trial, is_blind=self._is_blind)

    def _past(self, row: Row, policy: GatePolicy, mine: Items) -> GateHistory:
        """What was known then; where groups of before are not known, none counts as new."""
        used = frozenset(mine.groups.astype(str)) if self._is_blind else self._groups
        none = GateHistory().log_capitals
        capital = self._capitals.get((row["baseline_ensemble_id"], _terms(policy)), none)
        return GateHistory(row["n_tried"] - 1, used, capital)

    def _learn(self, question: Sequence[Row], tried: Mapping[str, Again]) -> None:
        for row in question:
            if trial := tried[row["comparison_id"]].trial:
                key = (row["baseline_ensemble_id"], _terms(policy_of(self._plan, row)))
                self._capitals[key] = self._capitals.get(key, 0.0) + np.asarray(trial.log_gains)
        evaluation = question[0]["evaluation_id"]
        groups = current.groups_of(self._lake, [evaluation or ""], _split(question[0]))
        self._is_blind |= not groups
        self._groups |= groups

    def _items(self, row: Row) -> tuple[Items, Items]:
        """What the challenger and the baseline answered, as it was compared then."""
        is_labelled = row["evidence"] == "labels"
        baseline = row["baseline_ensemble_id"]
        mine = self._answers(row, row["ensemble_id"], row["arm"] if is_labelled else AUTO_ARM)
        theirs = self._answers(row, baseline, row["baseline_arm"] if baseline else BASE_ARM)
        return mine, theirs

    def _answers(self, row: Row, ensemble_id: str, arm: str) -> Items:
        is_labelled, evaluation = row["evidence"] == "labels", row["evaluation_id"]
        rows = current.answers(
            self._lake,
            evaluation or "",
            _split(row),
            ensemble_id=ensemble_id if is_labelled else "",
            arm="" if is_labelled and ensemble_id else arm,
        )
        if not rows:
            raise _NotReviewable(f"The item scores of evaluation {evaluation} are gone.")
        (items,) = items_by_arm(rows).values()
        if not set(find_metric(row["metric"]).needs) <= set(items.statistics):
            raise _NotReviewable(f"No item score by {row['metric']} is on record.")
        if items.n_items != row["n_items"]:
            raise _NotReviewable(
                f"{items.n_items} of {row['n_items']} item scores of evaluation {evaluation} are"
                " left."
            )
        return items


def policy_of(plan: Plan, row: Row) -> GatePolicy:
    """The gate of now for what was compared then: metric and confidence are those of then.

    Raises:
        _NotReviewable: no gate takes that metric any more, or the plan has no cap for it.
    """
    metric, gate = row["metric"], _gate(plan, row["target_name"])
    if metric not in gated_metrics():
        raise _NotReviewable(
            f"{metric} is no mean over items, and no gate by it can hold its level: a plan that"
            " says so is refused now."
        )
    asked = {"confidence": row["confidence"], "approval": "automatic"}
    for terms in ({}, {"cap": None, "max_loss": None}, {"cap": row.get("cap"), "max_loss": None}):
        try:
            return gate.model_copy(update={**asked, **terms}).policy(metric)
        except InputError:
            continue
    raise _NotReviewable(
        f"{metric} has no bounds: say in plan.yaml from which score on all count alike, such as"
        f" gate: {{metric: {metric}, cap: 50}}, and ask again."
    )


def _gate(plan: Plan, target: str) -> GateSpec:
    specs = {spec.name: spec.gate for spec in plan.targets}
    return specs.get(target) or plan.gate


def _terms(policy: GatePolicy) -> GatePolicy:
    """What of a policy bets depend on."""
    return GatePolicy(policy.metric, cap=policy.cap)


def _split(row: Row) -> str:
    return "test" if row["evidence"] == "labels" else "leave_one_out"


def _as_recorded(row: Row) -> Comparison:
    names = Comparison.__dataclass_fields__
    return Comparison(**{name: row[name] for name in names if row.get(name) is not None})


def _told(
    promotion: Row,
    behind: Mapping[str, Row],
    made_again: Mapping[str, Again],
    plan: Plan,
) -> Reviewed:
    """What the gate says of a promotion now."""
    review = Reviewed(
        promotion["target_name"],
        promotion["model_version"] or "",
        promotion["recorded_at"],
        promotion["action"],
        UNKNOWN,
        "",
        promotion["ensemble_id"],
    )
    if promotion["retracted_at"] is not None:
        return replace(review, reasons="Data behind it are being withdrawn.")
    if "" not in behind:
        return replace(review, reasons="No comparison of it with the base is on record.")
    base = behind[""]
    review = replace(review, evaluation_id=base["evaluation_id"] or "", metric=base["metric"])
    tried = {baseline: made_again[row["comparison_id"]] for baseline, row in behind.items()}
    if unseen := [again.why for again in tried.values() if again.trial is None]:
        outcome = FALLS if base["metric"] not in gated_metrics() else UNKNOWN
        return replace(review, outcome=outcome, reasons="\n".join(dict.fromkeys(unseen)))
    return _decided(review, tried, promotion["champion_ensemble_id"], policy_of(plan, base))


def _decided(
    review: Reviewed, tried: Mapping[str, Again], champion_id: str, policy: GatePolicy
) -> Reviewed:
    base, champion = tried[""], tried.get(champion_id) if champion_id else None
    against_base, against_champion = base.trial, champion.trial if champion else None
    if against_base is None:
        return review
    verdict = decide(policy, against_base, against_champion)
    reasons = [UNSCORED if champion_id and r == NO_CHAMPION else r for r in verdict.reasons]
    reasons += [BLIND] if any(again.is_blind for again in tried.values()) else []
    return replace(
        review,
        outcome=STANDS if verdict.is_promoted else FALLS,
        reasons="\n".join(reasons),
        against_base=_shown(against_base),
        against_champion=_shown(against_champion) if against_champion else {},
    )


def _shown(trial: Trial) -> Row:
    """A trial as plain values."""
    columns = asdict(trial)
    return {**columns.pop("comparison"), **{k: v for k, v in columns.items() if k != "log_gains"}}


def _serving(promotion: Row, served: Sequence[Row]) -> dict[str, Any]:
    """Whether it serves now, and what would serve after a roll-back."""
    if not served or served[-1]["ensemble_id"] != promotion["ensemble_id"]:
        return {}
    former = former_of(served)
    return {"is_serving": True, "former_version": former["model_version"] if former else ""}


def _gone(withdrawal: Withdrawn) -> Reviewed:
    what = "What was decided about ensembles of the target until then was erased with them."
    return Reviewed(withdrawal.target, "", withdrawal.at, "withdrawn", UNKNOWN, what)

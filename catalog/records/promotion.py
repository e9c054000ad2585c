"""Promotion: verdicts and roll-backs as rows of core.promotions; the aliases only follow them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from catalog.errors import RecordConflict, RecordNotFound
from catalog.records import intents
from catalog.records.champions import (
    CHALLENGER,
    CHAMPION,
    RESTORED,
    SERVING,
    WITHDRAWN,
    champion_of,
    chosen_before,
    histories,
    served_stack,
    serving_by_target,
    wanted_aliases,
)
from catalog.stores.registry.model_versions import ModelVersionRef, RegisteredModel, ref_of
from catalog.stores.stores import Stores
from rpe_core.errors import InputError, UnknownName, shown_name
from rpe_core.fingerprint import SHORT, fingerprint
from rpe_core.records import Evidence, RunRef

Row = dict[str, Any]

NO_CHAMPION = "rpe.no_champion"  # tag of a registered model that no version serves: why
NIGHT = "night"  # who decided where damage did, and no gate and no person
_WHY_CHARS = 1000
KEPT = "kept"  # the challenger is the champion's very model: nothing was asked
ACTIONS = (*SERVING, KEPT, "refused", "abstained", "pending")


@dataclass(frozen=True)
class VerdictRecord:
    """What was decided about a challenger; the id leaves out time and run, so it is kept once.

    `question_id` is what the gate was asked, '' for a person's act; `follows` is the promotion that
    such an act answers: the same act on another state is new. `model` is the version of the very
    same model, where the ensemble has none of its own.
    """

    target_name: str
    dataset_version_id: str
    arm: str
    ensemble_id: str
    champion_ensemble_id: str
    action: str
    evidence: str
    reasons: tuple[str, ...]
    actor: str
    policy: Mapping[str, Any] = field(default_factory=dict)
    question_id: str = ""
    follows: str = ""
    model: ModelVersionRef | None = None

    @property
    def promotion_id(self) -> str:
        """Sha12 over target, data, challenger, champion, evidence, policy, question and action."""
        made_of = {
            "target": self.target_name,
            "dataset": self.dataset_version_id,
            "challenger": self.ensemble_id,
            "champion": self.champion_ensemble_id,
            "evidence": self.evidence,
            "policy": self.policy,
            "action": self.action,
            "question": self.question_id,
            "follows": self.follows,
        }
        return fingerprint(made_of)[:SHORT]


def record_verdicts(
    stores: Stores,
    verdicts: Sequence[tuple[VerdictRecord, Sequence[Mapping[str, Any]]]],
    *,
    run: RunRef,
) -> list[Row]:
    """Keep verdicts, each with the comparisons behind it, in one commit; then the aliases follow.

    Returns the row of each.

    Raises:
        RecordNotFound: a challenger has no version in the registry.
        UnknownName: an action or evidence that does not exist.
    """
    for verdict, _ in verdicts:
        _require_known(verdict)
    models = _models_of(stores, [v.ensemble_id for v, _ in verdicts if v.model is None])
    rows = [_verdict_row(v, v.model or models.get(v.ensemble_id), run) for v, _ in verdicts]
    message = ", ".join(sorted({verdict.action for verdict, _ in verdicts}))
    named = [r["target_name"] for r in rows if r["model_version"] or r["action"] == WITHDRAWN]
    with stores.lake.transaction(message=message, run=run) as commit:
        commit.insert_new("comparisons", [row for _, compared in verdicts for row in compared])
        is_new = commit.insert_new("promotions", rows) > 0
        moved = [intents.aliases_of(target) for target in named if is_new]
        intents.add(commit, moved, workspace=stores.lake.workspace)
    repair_aliases(stores, targets=[verdict.target_name for verdict, _ in verdicts])
    if moved:
        with stores.lake.transaction(message="aliases moved", run=run) as commit:
            intents.fulfil(commit, moved)
    return _rows(stores, [verdict.promotion_id for verdict, _ in verdicts])


def approve(
    stores: Stores,
    target: str,
    *,
    actor: str,
    run: RunRef,
    require: Callable[[Stores, ModelVersionRef], None] = lambda stores, ref: None,
) -> Row:
    """Let a pending challenger serve, in a person's name; `require` raises if it must not.

    Raises:
        RecordNotFound: nothing waits for approval.
        RecordConflict: the champion has changed since the gate looked.
        InputError: no actor.
    """
    _require_actor(actor)
    rows = _history(stores, target)
    pending = _pending(rows)
    if pending is None:
        raise RecordNotFound(
            f"Nothing waits for approval at target {shown_name(target)}.",
            remedy="a gate with `approval: required` leaves a pending verdict after a win",
        )
    champion = champion_of(rows)
    now = champion["ensemble_id"] if champion else ""
    if now != pending["champion_ensemble_id"]:
        raise RecordConflict(
            "The champion has changed since the gate compared the challenger with it.",
            where=target,
            remedy="run `rpe promote` again; the gate then compares with the present champion",
        )
    require(stores, ref_of(pending))
    verdict = VerdictRecord(
        target_name=target,
        dataset_version_id=pending["dataset_version_id"],
        arm=pending["arm"],
        ensemble_id=pending["ensemble_id"],
        champion_ensemble_id=now,
        action="approved",
        evidence=pending["evidence"],
        reasons=(f"Approved by {actor}.", *pending["reasons"].split("\n")),
        actor=actor,
        follows=pending["promotion_id"],
    )
    return record_verdicts(stores, [(verdict, ())], run=run)[0]


def pending_verdicts(stores: Stores, targets: Sequence[str]) -> dict[str, Row]:
    """Target -> the pending verdict that a person may approve, where there is one."""
    pending = {name: _pending(rows) for name, rows in histories(stores.lake, targets).items()}
    return {name: row for name, row in pending.items() if row}


def roll_back(
    stores: Stores,
    target: str,
    *,
    actor: str,
    run: RunRef,
    require: Callable[[Stores, ModelVersionRef], None] = lambda stores, ref: None,
) -> Row:
    """Let the champion before the present one serve again, in a person's name, if `require` lets.

    Raises:
        RecordNotFound: there is no champion, or none before it.
        InputError: no actor.
    """
    _require_actor(actor)
    served = served_stack(_history(stores, target))
    if len(served) < 2:
        count = "only one champion" if served else "no champion"
        raise RecordNotFound(
            f"Target {shown_name(target)} has had {count}: there is nothing to roll back to.",
            remedy=f"`rpe sql \"SELECT * FROM core.promotions WHERE target_name = '{target}'\"`"
            if served
            else "a night promotes the first one",
        )
    present, previous = served[-1], served[-2]
    require(stores, ref_of(previous))
    reason = f"Rolled back by {actor} from {present['ensemble_id']}."
    return _act(stores, previous, present, "rolled_back", (reason,), actor=actor, run=run)


def withdraw_damaged(
    stores: Stores, target: str, *, sound: Row | None, reason: str, run: RunRef
) -> Row:
    """Take a champion whose files are damaged away: a sound one before it serves, or none.

    Raises:
        RecordNotFound: there is no champion.
    """
    champion = champion_of(_history(stores, target))
    if champion is None:
        raise RecordNotFound("There is no champion to withdraw.", where=target)
    serving = sound or {**champion, "ensemble_id": "", "arm": "base"}
    return _act(stores, serving, champion, WITHDRAWN, (reason,), run=run)


def restore(stores: Stores, target: str, *, run: RunRef) -> Row:
    """Let a champion serve again that was withdrawn because of damage, and is sound now.

    Raises:
        RecordNotFound: something else was decided since.
    """
    now = serving_by_target(stores.lake, [target]).get(target)
    if not now or not now.withdrawal or not now.withdrawn:
        raise RecordNotFound("No champion was withdrawn because of damage.", where=target)
    reason = f"The files of {now.withdrawn['ensemble_id']} are what was kept again."
    return _act(stores, now.withdrawn, now.withdrawal, RESTORED, (reason,), run=run)


def _act(
    stores: Stores,
    serves: Row,
    present: Row,
    action: str,
    reasons: tuple[str, ...],
    *,
    actor: str = NIGHT,
    run: RunRef,
) -> Row:
    """Let what a row names serve in the place of the present champion, as a person or the night."""
    verdict = VerdictRecord(
        target_name=present["target_name"],
        dataset_version_id=serves["dataset_version_id"],
        arm=serves["arm"],
        ensemble_id=serves["ensemble_id"],
        champion_ensemble_id=present["ensemble_id"],
        action=action,
        evidence=serves["evidence"],
        reasons=reasons,
        actor=actor,
        follows=present["promotion_id"],
        model=ref_of(serves) if serves["ensemble_id"] else None,
    )
    return record_verdicts(stores, [(verdict, ())], run=run)[0]


def has_former(stores: Stores, target: str) -> bool:
    """Whether there is a champion before the present one to roll back to."""
    return len(served_stack(_history(stores, target))) > 1


def repair_aliases(stores: Stores, *, targets: Sequence[str] | None = None) -> list[str]:
    """Make the aliases what core.promotions says, writing only what differs; returns what it did.

    Called at every start, because a kill between row and alias leaves the alias behind. Models that
    no verdict names are left alone: a server may be shared. A model without a champion gets a tag
    that says why.

    Raises:
        RecordNotFound: the registry lacks a version that a standing verdict names.
    """
    decided, there = histories(stores.lake, targets), stores.registry.models()
    wanted = {target: wanted_aliases(rows) for target, rows in decided.items()}
    left, done = chosen_before(stores.lake, decided), list[str]()
    for name in sorted(wanted):
        aliases = there[name].aliases if name in there else {}
        for alias in (CHALLENGER,) if name in left else (CHALLENGER, CHAMPION):
            version = wanted[name].get(alias)
            if version == aliases.get(alias):
                continue
            if version is None:
                stores.registry.delete_alias(name, alias)
            elif alias == CHAMPION or _is_there(stores, ModelVersionRef(name, version)):
                stores.registry.set_alias(ModelVersionRef(name, version), alias)
            else:
                continue
            done.append(f"{name}@{alias} -> {version or 'nothing'}")
        if name in there and name not in left:
            tell_none(stores, name, there[name], _why_none(decided[name]))
    return done


def _is_there(stores: Stores, ref: ModelVersionRef) -> bool:
    """Whether the registry has a version; who is only a challenger may be gone, doctor tells."""
    try:
        stores.registry.version(ref)
    except RecordNotFound:
        return False
    return True


def tell_none(stores: Stores, name: str, model: RegisteredModel, why: str) -> None:
    """Let a registered model's tag say why no version of it serves; '' where one does."""
    if model.tags.get(NO_CHAMPION, "") != why:
        stores.registry.tag(name, NO_CHAMPION, why)


def why_no_champion(stores: Stores, targets: Sequence[str]) -> dict[str, str]:
    """Target -> why none serves it, in words; '' where one does, nothing of an unjudged target."""
    decided = histories(stores.lake, targets)
    return {name: _why_none(rows) for name, rows in decided.items()}


def _why_none(rows: Sequence[Row]) -> str:
    if champion_of(rows):
        return ""
    if not rows:
        return "What was decided was withdrawn, and nothing has been judged since."
    newest = [row for row in rows if row["action"] in SERVING][-1:]
    if newest:  # it names no ensemble
        rows = newest
    words = {
        WITHDRAWN: "The files of the champion are damaged",
        "abstained": "The challenger is the base itself",
        "pending": "A challenger waits for approval",
        "refused": "The gate refused the challenger",
    }
    text = f"{words.get(rows[-1]['action'], rows[-1]['action'])}: {rows[-1]['reasons']}"
    return text.replace("\n", " ")[:_WHY_CHARS]


def _pending(rows: Sequence[Row]) -> Row | None:
    """The newest judgement, if it waits for a person."""
    judged = [row for row in rows if row["action"] not in ("abstained", WITHDRAWN, RESTORED)]
    return judged[-1] if judged and judged[-1]["action"] == "pending" else None


def _history(stores: Stores, target: str) -> list[Row]:
    return histories(stores.lake, [target]).get(target, [])


def _rows(stores: Stores, promotion_ids: Sequence[str]) -> list[Row]:
    rows = stores.lake.rows(
        "SELECT * FROM core.promotions WHERE list_contains(?, promotion_id)", [list(promotion_ids)]
    )
    by_id = {row["promotion_id"]: row for row in rows}
    return [by_id[promotion_id] for promotion_id in promotion_ids]


def _verdict_row(verdict: VerdictRecord, model: ModelVersionRef | None, run: RunRef) -> Row:
    return {
        "promotion_id": verdict.promotion_id,
        "question_id": verdict.question_id,
        "run_id": run.run_id,
        "target_name": verdict.target_name,
        "dataset_version_id": verdict.dataset_version_id,
        "arm": verdict.arm,
        "ensemble_id": verdict.ensemble_id,
        "champion_ensemble_id": verdict.champion_ensemble_id,
        "action": verdict.action,
        "evidence": verdict.evidence,
        "reasons": "\n".join(verdict.reasons),
        "actor": verdict.actor,
        "model_name": model.name if model else "",
        "model_version": model.version if model else "",
    }


def _models_of(stores: Stores, ensemble_ids: Sequence[str]) -> dict[str, ModelVersionRef]:
    """The registered versions of ensembles; '' stands for none and has none."""
    wanted = [ensemble_id for ensemble_id in ensemble_ids if ensemble_id]
    rows = stores.lake.rows(
        "SELECT record_id, model_name, model_version FROM core.model_versions"
        " WHERE kind = 'ensemble' AND list_contains(?, record_id) AND retracted_at IS NULL",
        [wanted],
    )
    models = {r["record_id"]: ref_of(r) for r in rows}
    for ensemble_id in wanted:
        if ensemble_id not in models:
            raise RecordNotFound(
                "The challenger has no version in the registry.",
                where=ensemble_id,
                remedy="register the challenger before its verdict is recorded",
            )
    return models


def _require_known(verdict: VerdictRecord) -> None:
    if verdict.action not in ACTIONS:
        raise UnknownName("action", verdict.action, ACTIONS)
    if verdict.evidence not in get_args(Evidence):
        raise UnknownName("evidence", verdict.evidence, get_args(Evidence))
    if not verdict.ensemble_id and verdict.action not in ("abstained", WITHDRAWN):
        raise InputError(
            "Only an abstention, or a withdrawal, names no ensemble.",
            where=verdict.target_name,
            expected=f"abstained or {WITHDRAWN}",
        )


def _require_actor(actor: str) -> None:
    if not actor.strip():
        raise InputError(
            "A decision needs the name of the person who makes it.", expected="--actor NAME"
        )

"""Watching: what serves now held against then, and z against earlier z; each pair is judged once.

A look is a row of core.checks, named by what it compares: nothing new, no look. Those of one run
share `NIGHTLY_LEVEL`, a kind each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from catalog.queries import current, evaluations
from catalog.queries.shared_groups import places_of, shared_rows, shares_of
from flows.steps import embed, evaluate
from flows.steps.evaluate import LEAVE_ONE_OUT, EvaluateUnit
from flows.steps.promote import metric_of
from flows.steps.scoring import items_by_arm
from flows.workspace.representations import EmbedUnit
from flows.workspace.workspace import Workspace
from rpe_core.evaluation.change import NIGHTLY_LEVEL, change_between, judge_move
from rpe_core.evaluation.metrics import Items
from rpe_core.fingerprint import SHORT, fingerprint
from rpe_core.records import Representation

BELOW, FALL, DRIFT = "below_promotion", "fall", "drift"
MOVED, WORSE = "moved", "worse"
LOOKS = 2  # of each source and role: against the version before, and against the last that was told
Row = dict[str, Any]


@dataclass(frozen=True)
class ServedScores:
    """An ensemble that serves, and the evaluation that scored it."""

    ensemble: Row
    evaluation_id: str


def evaluation_by_target(workspace: Workspace) -> dict[str, EvaluateUnit]:
    """Target -> its evaluation as it stands, of those that are scored and served by an ensemble."""
    standing = workspace.standing
    return {
        str(unit): unit
        for unit in evaluate.units_of(workspace)
        if unit.evaluation_id in standing.evaluation_ids and str(unit) in standing.champions
    }


def encoded_units(workspace: Workspace) -> list[EmbedUnit]:
    """The references and targets whose standing dataset version has a representation."""
    known = workspace.standing.representation_ids
    return [unit for unit in embed.units_of(workspace) if unit.representation_id in known]


def look_at_champions(workspace: Workspace, *, n_targets: int) -> list[Row]:
    """Judge what serves on the rows of its newest evaluation, where that was not done yet."""
    lake, units = workspace.stores.lake, evaluation_by_target(workspace)
    champions, level = workspace.standing.champions, NIGHTLY_LEVEL / max(n_targets, 1)
    then = {BELOW: _at_promotion(workspace, units), FALL: _before(workspace, units)}
    rows = []
    for kind, former in then.items():
        known = {
            (row["subject"], row["record_id"], row["ensemble_id"])
            for row in current.checks(lake, kind, [u.evaluation_id for u in units.values()])
        }
        for name, unit in units.items():
            now = ServedScores(champions[name], unit.evaluation_id)
            is_known = (name, now.evaluation_id, now.ensemble["ensemble_id"]) in known
            if name in former and former[name] != now and not is_known:
                rows += _compared(workspace, kind, unit, now, former[name], level=level)
    return rows


def look_at_moves(workspace: Workspace, *, n_places: int) -> list[Row]:
    """Judge how far z of each source moved with its newest version, where that was not done yet."""
    level = NIGHTLY_LEVEL / (LOOKS * max(n_places, 1))
    by_place: dict[tuple[str, str], list[EmbedUnit]] = {}
    for unit in encoded_units(workspace):
        encoder_and_role = (workspace.encoder(unit.base_name), unit.role)
        by_place.setdefault(encoder_and_role, []).append(unit)
    rows = []
    for (encoder_id, role), units in by_place.items():
        sources = sorted({unit.source for unit in units})
        history = places_of(workspace.stores.lake, encoder_id, role, sources)
        ids = [row["representation_id"] for past in history.values() for row in past]
        looked_at = current.checks(workspace.stores.lake, DRIFT, ids)
        for unit in units:
            rows += _moves(workspace, unit, history[unit.source], looked_at, level=level)
    return rows


def keep(workspace: Workspace, rows: Sequence[Row]) -> None:
    """Put looks on record in one commit."""
    if rows:
        with workspace.stores.lake.transaction(message="watch", run=workspace.run) as commit:
            commit.insert_new("checks", rows)


def _at_promotion(
    workspace: Workspace, units: Mapping[str, EvaluateUnit]
) -> dict[str, ServedScores]:
    """Target -> its champion, and the evaluation by which the gate let it in."""
    champions = workspace.standing.champions
    wanted = {name: champions[name] for name in units}
    evaluation_of = evaluations.promoting_evaluations(
        workspace.stores.lake, [row["ensemble_id"] for row in wanted.values()]
    )
    return {
        name: ServedScores(row, evaluation_of[name, row["ensemble_id"]])
        for name, row in wanted.items()
        if (name, row["ensemble_id"]) in evaluation_of
    }


def _before(workspace: Workspace, units: Mapping[str, EvaluateUnit]) -> dict[str, ServedScores]:
    """Target -> what served before its evaluation, and the one before that had scored it.

    That is what was looked at last, for an older evaluation may stand again; before the first look
    it is what the promotions tell.
    """
    lake, ensembles = workspace.stores.lake, workspace.standing.ensembles
    wanted = {name: unit.evaluation_id for name, unit in units.items()}
    last = evaluations.last_looked_at(lake, FALL, wanted)
    last_served = {
        name: (row["ensemble_id"], row["record_id"])
        for name, row in last.items()
        if row["record_id"] != wanted[name]
    }
    for name, row in evaluations.served_before(
        lake,
        {name: evaluation_id for name, evaluation_id in wanted.items() if name not in last_served},
    ).items():
        last_served[name] = (row["ensemble_id"], row["evaluation_id"])
    return {
        name: ServedScores(ensembles[ensemble_id], evaluation_id)
        for name, (ensemble_id, evaluation_id) in last_served.items()
        if ensemble_id in ensembles
    }


def _compared(
    workspace: Workspace,
    kind: str,
    unit: EvaluateUnit,
    now: ServedScores,
    then: ServedScores,
    *,
    level: float,
) -> list[Row]:
    """The look at a target; none where one of the two was not scored by this kind of evidence."""
    ours, theirs = (_answers(workspace, unit, served) for served in (now, then))
    if ours is None or theirs is None:
        return []
    change = change_between(ours, theirs, metric_of(workspace, unit), level=level)
    made_of = {
        "kind": kind,
        "subject": str(unit),
        "ensemble_id": now.ensemble["ensemble_id"],
        "former_ensemble_id": then.ensemble["ensemble_id"],
        "record_id": now.evaluation_id,
        "former_record_id": then.evaluation_id,
        "metric": change.metric,
    }
    versions = evaluations.version_of(
        workspace.stores.lake, str(unit), [now.evaluation_id, then.evaluation_id]
    )
    return [
        {
            **made_of,
            **asdict(change),
            "check_id": fingerprint(made_of)[:SHORT],
            "run_id": workspace.run.run_id,
            "dataset_version_id": unit.target.version.dataset_version_id,
            "former_dataset_version_id": versions.get(then.evaluation_id, ""),
            "level": level,
        }
    ]


def _answers(workspace: Workspace, unit: EvaluateUnit, served: ServedScores) -> Items | None:
    """What an ensemble answered; without labels of the target, what its strategy did elsewhere."""
    named = {"ensemble_id": served.ensemble["ensemble_id"]}
    if unit.evidence == LEAVE_ONE_OUT:
        named = {"arm": served.ensemble["strategy"]}
    lake, split = workspace.stores.lake, unit.gate_split
    rows = current.answers(lake, served.evaluation_id, split, **named)
    return next(iter(items_by_arm(rows).values())) if rows else None


def _moves(
    workspace: Workspace,
    unit: EmbedUnit,
    history: Sequence[Row],
    looked_at: Sequence[Row],
    *,
    level: float,
) -> list[Row]:
    """The looks at a source in one role: from the version before, and from the last drift or first.

    What comes a little at a time is a step of nothing each night: only the second look sees it.
    """
    ids = [row["representation_id"] for row in history]
    earlier = ids[: ids.index(unit.representation_id)]
    if not earlier:
        return []
    moved = {row["record_id"] for row in looked_at if row["result"] == MOVED}
    since = next((former for former in reversed(earlier) if former in moved), earlier[0])
    known = {(row["record_id"], row["former_record_id"]) for row in looked_at}
    wanted = [
        former for former in dict.fromkeys([earlier[-1], since])
        if (unit.representation_id, former) not in known
    ]  # fmt: skip
    if not wanted:
        return []
    read = workspace.stores.vectors.representations([unit.representation_id, *wanted])
    now = read[unit.representation_id]
    return [_move(workspace, unit, now, read[former], level=level) for former in wanted]


def _move(
    workspace: Workspace,
    unit: EmbedUnit,
    now: Representation,
    then: Representation,
    *,
    level: float,
) -> Row:
    split = "train" if unit.role == "reference" else ""
    lake = workspace.stores.lake
    shared = shared_rows(lake, now.dataset_version_id, then.dataset_version_id, split=split)
    noise = float(np.sqrt(shared.factor * max(_spread(now), _spread(then))))
    distance = float(np.linalg.norm(np.subtract(now.z, then.z)))
    # of the two the one that makes a long way likelier
    known = shares_of(lake, [now.representation_id, then.representation_id]).values()
    moves = [
        judge_move(distance, noise, shares=shares, n_new_groups=shared.n_new_groups, level=level)
        for shares in [*known] or [()]
    ]
    move = max(moves, key=lambda move: move.p_value)
    return {
        **_named(unit.source, now, then),
        "run_id": workspace.run.run_id,
        "value": distance,
        "former_value": 0.0,
        "difference": distance,
        "noise": noise,
        "p_value": move.p_value,
        "level": level,
        "n_items": now.n_items,
        "n_former_items": then.n_items,
        "n_groups": shared.n_new_groups,
        "result": move.result,
    }


def _named(source: str, now: Representation, then: Representation) -> Row:
    """What a look at a move is called, and what it compares."""
    made_of = {
        "kind": DRIFT,
        "subject": source,
        "ensemble_id": "",
        "former_ensemble_id": "",
        "record_id": now.representation_id,
        "former_record_id": then.representation_id,
        "metric": "distance",
    }
    return {
        **made_of,
        "check_id": fingerprint(made_of)[:SHORT],
        "dataset_version_id": now.dataset_version_id,
        "former_dataset_version_id": then.dataset_version_id,
    }


def _spread(representation: Representation) -> float:
    """The variance of a row, all dimensions together, by n - 1."""
    return (
        float(np.sum(representation.variance))
        * representation.n_items
        / max(representation.n_items - 1, 1)
    )


def subjects(rows: Iterable[Row]) -> list[str]:
    """What was looked at, each once."""
    return sorted({row["subject"] for row in rows})

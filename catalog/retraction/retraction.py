"""Retraction: withdrawn in one commit, then a record of how far it has come; the certificate."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from catalog.records import promotion
from catalog.retraction.influence import Influence
from catalog.stores.lake.chain import record_amendment
from catalog.stores.lake.lake import Lake, Transaction
from catalog.stores.stores import Stores
from catalog.tables.run_tables import RETRACTIONS
from rpe_core.errors import InputError
from rpe_core.fingerprint import SHORT, canonical_json, fingerprint
from rpe_core.records import RunRef

Row = dict[str, Any]

WITHDRAWN, ERASED, CERTIFIED = "withdrawn", "erased", "certified"  # states, in this order


@dataclass(frozen=True)
class Retraction:
    """A retraction on record; what it holds is `Influence` until it is certified."""

    retraction_id: str
    subject_id: str
    source: str
    reason: str
    state: str
    content: Mapping[str, Any]
    recorded_at: Any

    @property
    def influence(self) -> Influence:
        """What it withdraws, while it is not certified."""
        kept: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.content["influence"].items()
        }
        return Influence(**kept)


def begin(
    stores: Stores, influence: Influence, *, reason: str, run: RunRef, process: str = ""
) -> Retraction:
    """Put the retraction on record and withdraw all that it names, in one commit; aliases follow.

    `process` tells who began it from who goes on with it. From here on nothing of it is retrieved
    or served, and whoever starts next goes on with it.
    """
    made_of = [influence.subject_id, influence.batches, influence.adapters, influence.ensembles]
    retraction_id = fingerprint(made_of)[:SHORT]
    content = {"influence": asdict(influence), "begun_by": [run.run_id, process]}
    with stores.lake.transaction(message="withdraw", run=run) as commit:
        row = {
            "retraction_id": retraction_id,
            "subject_id": influence.subject_id,
            "source": influence.source,
            "reason": reason,
            "state": WITHDRAWN,
            "certificate_json": canonical_json(content),
        }
        commit.insert_new("retractions", [row])
        _mark(commit, influence)
    promotion.repair_aliases(stores)
    return find(stores.lake, influence.subject_id)[-1]


def _mark(commit: Transaction, influence: Influence) -> None:
    marked: dict[str, tuple[str, Collection[str]]] = {
        "batches": ("batch_id", influence.batches),
        "dataset_versions": ("dataset_version_id", influence.dataset_versions),
        "representations": ("representation_id", influence.representations),
        "adapters": ("adapter_id", influence.adapters),
        "ensembles": ("ensemble_id", influence.ensembles),
        "promotions": ("promotion_id", influence.promotions),
        "model_versions": ("model_name || '/' || model_version", influence.versions),
        "experiments": ("experiment_id", influence.experiments),
    }
    for table, (column, ids) in marked.items():
        commit.execute(
            f"UPDATE core.{table} SET retracted_at = ? WHERE list_contains(?, {column})"
            " AND retracted_at IS NULL",
            [commit.recorded_at, list(ids)],
        )


def find(lake: Lake, subject_id: str) -> list[Retraction]:
    """Retractions of a subject, the oldest first."""
    rows = lake.rows(
        "FROM core.retractions WHERE subject_id = ? ORDER BY recorded_at", [subject_id]
    )
    return [_retraction(row) for row in rows]


def unfinished_retractions(lake: Lake) -> list[Retraction]:
    """Retractions that were begun and have no certificate yet, the oldest first."""
    rows = lake.rows(
        "FROM core.retractions WHERE state <> ? ORDER BY recorded_at, retraction_id", [CERTIFIED]
    )
    return [_retraction(row) for row in rows]


def advance(
    lake: Lake, current: Retraction, state: str, content: Mapping[str, Any], *, run: RunRef
) -> None:
    """Record how far a retraction has come, and what it holds from now on."""
    with (
        lake.transaction(message=f"retraction {state}", run=run) as commit,
        record_amendment(commit, reason=f"retraction {state}", tables=[RETRACTIONS]),
    ):
        commit.execute(
            "UPDATE core.retractions SET state = ?, certificate_json = ?, completed_at = ?"
            " WHERE retraction_id = ?",
            [
                state,
                canonical_json(content),
                commit.recorded_at if state == CERTIFIED else None,
                current.retraction_id,
            ],
        )


def require_reason(reason: str) -> None:
    """Raise InputError where nobody said why."""
    if not reason.strip():
        raise InputError("A retraction needs a reason; it goes on record.", expected="--reason ...")


def _retraction(row: Row) -> Retraction:
    return Retraction(
        row["retraction_id"],
        row["subject_id"],
        row["source"],
        row["reason"],
        row["state"],
        json.loads(row["certificate_json"]),
        row["recorded_at"],
    )

"""What is on record of an ensemble that is to be replayed, as its parts need it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from catalog.errors import RecordNotFound
from catalog.stores.lake.lake import Lake
from rpe_core.records import StrategySpec

Row = dict[str, Any]


@dataclass(frozen=True)
class MadeWith:
    """Threads and library versions of a doing; unknown where no run that did it is on record."""

    threads: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EnsembleRecord:
    """Rows of the core tables about one ensemble; `version` is None where it has been erased."""

    row: Row
    members: tuple[Row, ...]  # in the order of the merge: the nearest first
    base: Row
    representation_id: str
    version: Row | None

    @cached_property
    def asked(self) -> Row:
        """What the plan asked; empty for an ensemble of before it was kept."""
        return dict(json.loads(self.row["asked_json"] or "{}"))

    @cached_property
    def strategy(self) -> StrategySpec:
        """How it was weighed."""
        return StrategySpec(**json.loads(self.row["parameters"])["strategy"])

    @property
    def weights(self) -> dict[str, float]:
        """Weight by member, in the order of the merge."""
        return {member["adapter_id"]: member["weight"] for member in self.members}

    @property
    def weighing(self) -> dict[str, Any]:
        """Everything that weighing decided, by what it is; the id stands for the candidates."""
        ordered = sorted(self.members, key=lambda member: str(member["adapter_id"]))
        return {
            "candidates": self.row["ensemble_id"],
            "weights": [[member["adapter_id"], member["weight"]] for member in ordered],
            "distances": [[member["adapter_id"], member["distance"]] for member in ordered],
            "details": json.loads(self.row["parameters"])["details"],
            "guards": [self.row[name] for name in ("abstained", "reason", "distance_ratio")],
        }


def read_ensemble(lake: Lake, ensemble_id: str) -> EnsembleRecord:
    """Everything about an ensemble that a replay starts from.

    Raises:
        RecordNotFound: no ensemble has this id, or its base or representation is not on record.
    """
    ensembles = lake.rows("FROM core.ensembles WHERE ensemble_id = ?", [ensemble_id])
    if not ensembles:
        raise RecordNotFound(
            "No ensemble has this id.",
            remedy='`rpe sql "SELECT ensemble_id, target_name, strategy FROM core.ensembles"`',
        )
    row = ensembles[0]
    members = lake.rows(
        "FROM core.ensemble_members WHERE ensemble_id = ? ORDER BY distance, adapter_id",
        [ensemble_id],
    )
    bases = lake.rows("FROM core.bases WHERE base_id = ?", [row["base_id"]])
    places = lake.rows(
        "SELECT parent_id FROM core.lineage WHERE child_id = ? AND role = 'representation'",
        [ensemble_id],
    )
    if not bases or not places:
        raise RecordNotFound("Its base or its representation is not on record.", where=ensemble_id)
    versions = lake.rows(
        "FROM core.dataset_versions WHERE dataset_version_id = ?", [row["dataset_version_id"]]
    )
    return EnsembleRecord(
        row, tuple(members), bases[0], places[0]["parent_id"], versions[0] if versions else None
    )


def evidence_of(lake: Lake, ensemble_id: str) -> str | None:
    """What the first verdict about an ensemble stood on; None where nothing was decided of it."""
    rows = lake.rows(
        "SELECT evidence FROM core.promotions WHERE ensemble_id = ? ORDER BY recorded_at LIMIT 1",
        [ensemble_id],
    )
    return str(rows[0]["evidence"]) if rows else None


def count_ensemble_kinds(lake: Lake, targets: Collection[str]) -> int:
    """How many ensembles a night makes for these targets: one of each target and strategy."""
    rows = lake.rows(
        "SELECT count(DISTINCT (target_name, strategy)) AS n FROM core.ensembles"
        " WHERE list_contains(?, target_name)",
        [sorted(targets)],
    )
    return int(rows[0]["n"])


def made_with(lake: Lake, record: EnsembleRecord, part: str) -> MadeWith:
    """What a part was made with: of a representation what the run says that recorded it."""
    row = record.row
    if part == "representation":
        rows = lake.rows(
            "SELECT r.threads, r.versions_json FROM core.runs AS r"
            " JOIN core.representations AS p"
            " ON p.recorded_at BETWEEN r.started_at AND r.recorded_at"
            " WHERE p.representation_id = ? ORDER BY r.recorded_at",
            [record.representation_id],
        )
        row = rows[0] if rows else {"threads": None, "versions_json": None}
    return MadeWith(row["threads"], json.loads(row["versions_json"] or "{}"))

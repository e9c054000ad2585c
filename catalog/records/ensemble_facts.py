"""What a version's tags and model card say of an ensemble, read from the lake."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from catalog.records.ensemble_file import scale_of
from catalog.records.model_card import EnsembleFacts, MemberLine, ScoreLine
from catalog.stores.served_model import read_config
from catalog.stores.stores import Stores

_MEMBERS = """
SELECT m.ensemble_id, m.adapter_id, a.dataset_version_id, m.weight, m.distance, a.license,
    a.weights_sha256, a.model_name, a.rank, a.artifact_sha256
FROM core.ensemble_members m JOIN core.adapters a USING (adapter_id)
WHERE list_contains(?, m.ensemble_id)
ORDER BY m.adapter_id
"""
# the newest score of the ensemble and of the base on the data that it was made for
_SCORES = """
SELECT e.ensemble_id, s.arm, s.split, s.metric, s.value, s.ci_low, s.ci_high, s.n_items
FROM core.scores s JOIN core.ensembles e
    ON e.target_name = s.target_name AND e.dataset_version_id = s.dataset_version_id
    AND (s.ensemble_id = e.ensemble_id OR s.arm = 'base')
WHERE list_contains(?, e.ensemble_id) AND s.recorded_at <= ? AND s.slice = '' AND s.split <> 'train'
QUALIFY row_number() OVER (PARTITION BY e.ensemble_id, s.arm, s.split, s.metric
    ORDER BY s.recorded_at DESC, s.evaluation_id) = 1
ORDER BY s.split, s.metric, s.arm
"""
_EVER = datetime.max.replace(tzinfo=UTC)


def facts_of(
    stores: Stores,
    rows: Mapping[str, Mapping[str, Any]],
    evidence: Mapping[str, str],
    *,
    until: datetime = _EVER,
) -> dict[str, EnsembleFacts]:
    """Members and scores of ensembles, by id; `rows` are theirs of core.ensembles.

    Scores are those that were known at a moment: what a version says does not change afterwards.
    """
    members: dict[str, list[MemberLine]] = {}
    scales: dict[str, float | None] = {}  # by artifact: members are shared by many ensembles
    for row in stores.lake.rows(_MEMBERS, [list(rows)]):
        artifact = row.pop("artifact_sha256")
        if artifact not in scales:
            scales[artifact] = scale_of(read_config(stores.artifacts.folder(artifact)))
        line = members.setdefault(row.pop("ensemble_id"), [])
        line.append(MemberLine(**row, scale=scales[artifact]))
    scores: dict[str, list[ScoreLine]] = {}
    for row in stores.lake.rows(_SCORES, [list(rows), until]):
        scores.setdefault(row.pop("ensemble_id"), []).append(ScoreLine(**row))
    return {
        ensemble_id: EnsembleFacts(
            ensemble_id,
            row["target_name"],
            row["dataset_version_id"],
            row["strategy"],
            row["merge"],
            evidence[ensemble_id],
            row["license"],
            row["reason"],
            row["rank"],
            tuple(members.get(ensemble_id, ())),
            tuple(scores.get(ensemble_id, ())),
            row["merge_error_ratio"],
        )
        for ensemble_id, row in rows.items()
    }

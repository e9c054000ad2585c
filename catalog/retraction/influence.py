"""Influence: everything on record that a source went into, or may have moved. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.errors import RecordNotFound
from catalog.lineage import source_of
from catalog.queries import current
from catalog.stores.lake.lake import Lake
from catalog.stores.lake.session import ALIAS
from catalog.stores.lake.source_tables import raw_name
from rpe_core.errors import UnknownName

Row = dict[str, Any]

# What the rows of a source went into, or may have moved: every ensemble of a base that came after
# the source's first adapter there, for a candidate, a vote in leave-one-out or in calibration moves
# an answer without being a member. Ensembles of experiments that did not use the source stay.
_ENSEMBLES = """
WITH arrived AS (
    SELECT base_id, min(recorded_at) AS since FROM core.adapters WHERE source = $1 GROUP BY base_id
), named AS (
    SELECT ensemble_id FROM core.ensemble_members JOIN core.adapters USING (adapter_id)
    WHERE source = $1
    UNION SELECT ensemble_id FROM core.attributions WHERE source = $1
)
SELECT ensemble_id, target_name, strategy, weights_sha256, artifact_sha256, recorded_at, since,
    starts_with(dataset_version_id, $2) AS is_own,
    coalesce(is_own OR recorded_at >= since OR ensemble_id IN (FROM named), false) AS is_influenced
FROM core.ensembles LEFT JOIN arrived USING (base_id)
WHERE (since IS NOT NULL OR is_own) AND NOT list_contains($3, ensemble_id)
ORDER BY ensemble_id
"""
_EXPERIMENTS = """
SELECT experiment_id, list_contains(sources_json::JSON::VARCHAR[], $1) AS is_using,
    list(DISTINCT s.ensemble_id) AS ensembles, list(DISTINCT s.evaluation_id) AS evaluations
FROM core.experiments JOIN core.experiment_scores s USING (experiment_id) GROUP BY ALL
"""


@dataclass(frozen=True)
class Subject:
    """What is withdrawn: a source, or one dataset version of it with the deliveries behind it."""

    source: str
    dataset_version_id: str = ""  # '' for the whole source

    @property
    def subject_id(self) -> str:
        """The name that it was asked for by."""
        return self.dataset_version_id or self.source


@dataclass(frozen=True)
class Influence:
    """Everything on record that a subject went into or may have moved: ids and hashes only."""

    source: str
    subject_id: str
    deliveries: Mapping[str, str]  # withdrawn batch -> sha256 of its file
    batches: tuple[str, ...]  # every batch of the source: those that stay are landed again
    staying: Mapping[str, str]  # sha256 of a file that stays -> its batch
    dataset_versions: tuple[str, ...]
    representations: tuple[str, ...]
    adapters: Mapping[str, str]  # id -> weights_sha256
    ensembles: Mapping[str, str]  # id -> weights_sha256
    artifacts: tuple[str, ...]
    evaluations: tuple[str, ...]
    comparisons: tuple[str, ...]
    promotions: tuple[str, ...]
    versions: tuple[str, ...]  # "<model>/<version>" of the registry
    experiments: tuple[str, ...]
    targets: Mapping[str, str]  # target -> from when on it may have been moved; '' for always
    champions: Mapping[str, str]  # target -> ensemble that served it

    @property
    def rebuilt(self) -> tuple[str, ...]:
        """Targets that are made again: all but those that the source itself is the data of."""
        return tuple(sorted(name for name, since in self.targets.items() if since))


def subject_of(lake: Lake, named: str, *, declared: Collection[str]) -> Subject:
    """The source or dataset version of this name.

    Raises:
        RecordNotFound: no such dataset version.
        UnknownName: no such source, declared or on record.
    """
    if named.startswith("dataset:"):
        if not lake.rows("FROM core.dataset_versions WHERE dataset_version_id = ?", [named]):
            raise RecordNotFound(
                "No dataset version has this id.",
                where=named,
                remedy="`rpe source list` shows those on record",
            )
        return Subject(source_of(named), named)
    known = {*declared, *_names(lake, "source", "core.batches", "core.adapters", "core.sources")}
    if named not in known:
        raise UnknownName("source", named, known)
    return Subject(named)


def influence_of(lake: Lake, subject: Subject) -> Influence:
    """What a subject went into or may have moved, found by lineage, by base and by time."""
    source, prefix = subject.source, f"dataset:{subject.source}@"
    experiments = lake.rows(_EXPERIMENTS, [source])
    others = [row for row in experiments if not row["is_using"]]
    kept = sorted({ensemble for row in others for ensemble in row["ensembles"]})
    influenced = lake.rows(_ENSEMBLES, [source, prefix, kept])
    ensembles = [row for row in influenced if row["is_influenced"]]
    adapters = lake.rows("FROM core.adapters WHERE source = ? ORDER BY adapter_id", [source])
    ids = [row["ensemble_id"] for row in ensembles]
    targets = _targets(influenced)
    moved = _Moved(lake, targets, prefix)
    champions = current.read_standing(lake).champions
    return Influence(
        source=source,
        subject_id=subject.subject_id,
        **_data_of(lake, subject, prefix),
        adapters={row["adapter_id"]: row["weights_sha256"] for row in adapters},
        ensembles={row["ensemble_id"]: row["weights_sha256"] for row in ensembles},
        artifacts=tuple(sorted({row["artifact_sha256"] for row in [*adapters, *ensembles]})),
        evaluations=moved.evaluations(
            {evaluation for row in others for evaluation in row["evaluations"]}
        ),
        comparisons=moved.verdicts("comparison_id", "comparisons", "baseline_ensemble_id", ids),
        promotions=moved.verdicts("promotion_id", "promotions", "champion_ensemble_id", ids),
        versions=moved.versions([*ids, *(row["adapter_id"] for row in adapters)], kept),
        experiments=tuple(sorted(r["experiment_id"] for r in experiments if r["is_using"])),
        targets=targets,
        champions={name: champions[name]["ensemble_id"] for name in targets if name in champions},
    )


def count_disagreeing(lake: Lake, influence: Influence) -> int:
    """How many deliveries that stay have replaced rows of others that stay.

    They are landed anew at once, and then only an order of the contract tells which came later.
    """
    staying = sorted(influence.staying.values())
    if len(staying) < 2:
        return 0
    rows = lake.rows(
        f"SELECT count(DISTINCT _superseded_by) AS n FROM {raw_name(influence.source)}"
        " WHERE list_contains($1, _batch_id) AND list_contains($1, _superseded_by)",
        [staying],
    )
    return int(rows[0]["n"])


def own_bytes(lake: Lake, source: str) -> int:
    """Bytes of the files that hold the source's rows, those set aside included."""
    rows = lake.rows(
        f"SELECT coalesce(sum(file_size_bytes), 0)::BIGINT AS n FROM ducklake_table_info('{ALIAS}')"
        " WHERE table_name = ?",
        [source],
    )
    return int(rows[0]["n"])


def _data_of(lake: Lake, subject: Subject, prefix: str) -> dict[str, Any]:
    """Deliveries that go and that stay, dataset versions and representations."""
    source = subject.source
    batches = lake.rows("FROM core.batches WHERE source = ? ORDER BY batch_id", [source])
    withdrawn = _withdrawn(lake, subject, batches)
    staying = [b for b in batches if b["n_accepted"] and b not in withdrawn]
    return {
        "deliveries": {b["batch_id"]: b["file_sha256"] for b in withdrawn},
        "batches": tuple(b["batch_id"] for b in batches),
        "staying": {b["file_sha256"]: b["batch_id"] for b in staying},
        "dataset_versions": _ids(
            lake, "dataset_version_id", "dataset_versions", "source = ?", source
        ),
        "representations": _ids(
            lake,
            "representation_id",
            "representations",
            "starts_with(dataset_version_id, ?)",
            prefix,
        ),
    }


class _Moved:
    """Records about influenced targets since each of them may have been moved."""

    def __init__(self, lake: Lake, targets: Mapping[str, str], prefix: str) -> None:
        self._lake, self._prefix = lake, prefix
        self._names, self._since = list(targets), [s or "1970-01-01" for s in targets.values()]

    def evaluations(self, kept: Collection[str]) -> tuple[str, ...]:
        """Evaluations of these targets, and those on the source's own rows."""
        condition = f"starts_with(dataset_version_id, ?) OR {_SINCE}"
        ids: set[str] = set()
        for column, table in (
            ("evaluation_id", "scores"), ("evaluation_id", "item_scores"), ("choice_id", "choices"),
        ):  # fmt: skip
            ids.update(_ids(self._lake, column, table, condition, self._prefix, *self._moved))
        return tuple(sorted(ids - set(kept)))

    def verdicts(
        self, column: str, table: str, other: str, ensembles: Sequence[str]
    ) -> tuple[str, ...]:
        """Comparisons or promotions of these targets, and those that name these ensembles."""
        condition = f"list_contains(?, ensemble_id) OR list_contains(?, {other}) OR {_SINCE}"
        return _ids(self._lake, column, table, condition, ensembles, ensembles, *self._moved)

    def versions(self, records: Sequence[str], kept: Sequence[str]) -> tuple[str, ...]:
        """Registry versions of these records, and those that these targets got since."""
        since = _SINCE.replace("target_name", "model_name")
        return _ids(
            self._lake,
            "model_name || '/' || model_version",
            "model_versions",
            f"(list_contains(?, record_id) OR {since}) AND NOT list_contains(?, record_id)",
            records, *self._moved, kept,
        )  # fmt: skip

    @property
    def _moved(self) -> tuple[list[str], list[str], list[str]]:
        return self._names, self._since, self._names


# a row of a target since its time; parameters: names, times, names
_SINCE = (
    "coalesce(list_contains(?, target_name)"
    " AND recorded_at >= list_extract(?, list_position(?, target_name))::TIMESTAMPTZ, false)"
)


def _targets(rows: Sequence[Row]) -> dict[str, str]:
    """Target -> since when it may have been moved, '' where the source itself is its data."""
    since: dict[str, str] = {}
    for row in rows:
        name, times = row["target_name"], [row["since"]] if row["since"] else []
        if row["is_influenced"]:
            times.append(row["recorded_at"])
        first = "" if row["is_own"] else min(times).isoformat()
        since[name] = min(first, since.get(name, first))
    return dict(sorted(since.items()))


def _withdrawn(lake: Lake, subject: Subject, batches: Sequence[Row]) -> list[Row]:
    """All deliveries of a source; of a version those behind it, and those with nothing else.

    A delivery whose every row stood already would bring the same rows back, and one that came too
    late would bring what these rows said before. Bytes that are behind it under one name are so
    under every name.
    """
    if not subject.dataset_version_id:
        return list(batches)
    behind = current.batches(lake, [subject.dataset_version_id])[subject.dataset_version_id]
    gone = {b["file_sha256"] for b in batches if b["batch_id"] in behind}
    return [
        b
        for b in batches
        if b["file_sha256"] in gone
        or ((b["n_unchanged"] or b["n_outdated"]) and not b["n_accepted"])
    ]


def _ids(lake: Lake, column: str, table: str, condition: str, *parameters: Any) -> tuple[str, ...]:
    rows = lake.rows(
        f"SELECT DISTINCT {column} AS id FROM core.{table} WHERE {condition} ORDER BY id",
        parameters,
    )
    return tuple(row["id"] for row in rows)


def _names(lake: Lake, column: str, *tables: str) -> set[str]:
    return {
        row["name"]
        for table in tables
        for row in lake.rows(f"SELECT DISTINCT {column} AS name FROM {table}")
    }

"""What stands now: newest dataset versions, visible adapters, ensembles, champions. Reads only."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from catalog.queries.serving import champions_at, champions_now
from catalog.stores.lake.lake import Lake

Row = dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """All that a step asks before it acts, read at once: a night of a thousand targets asks often.

    Every mapping is by id or name; rows are those of the core tables.
    """

    versions: Mapping[str, Row]  # source -> its newest dataset version
    representation_ids: frozenset[str]
    ensembles: Mapping[str, Row]
    evaluation_ids: frozenset[str]
    champions: Mapping[str, Row]  # target -> the ensemble that serves it
    rolled_back: frozenset[tuple[str, str]]  # (target, ensemble) that a person took back
    questions: frozenset[str]  # what the gate has answered


def read_standing(lake: Lake, *, as_of: datetime | None = None) -> Standing:
    """What the lake holds now, or held at a moment as far as it has not been erased since."""
    kept, at_kept = _stands(as_of)
    standing, at_standing = _stands(as_of, "retracted_at")
    newest, at_newest = _stands(as_of, "superseded_at", "retracted_at")
    ensembles = _by(lake, "ensemble_id", f"FROM core.ensembles WHERE {standing}", at_standing)
    if as_of is None:
        serving = {name: row["ensemble_id"] for name, row in champions_now(lake).items()}
    else:
        serving = champions_at(lake, as_of)
    taken_back = lake.rows(
        "SELECT target_name, champion_ensemble_id FROM core.promotions"
        f" WHERE action = 'rolled_back' AND {kept}",
        at_kept,
    )
    return Standing(
        versions=_by(
            lake,
            "source",
            f"FROM core.dataset_versions WHERE {newest}"
            " QUALIFY row_number() OVER (PARTITION BY source"
            " ORDER BY recorded_at DESC, dataset_version_id) = 1",
            at_newest,
        ),
        representation_ids=_ids(lake, "representation_id", "representations", as_of),
        ensembles=ensembles,
        evaluation_ids=_ids(lake, "evaluation_id", "scores", as_of),
        champions={
            name: ensembles[ensemble_id]
            for name, ensemble_id in serving.items()
            if ensemble_id in ensembles
        },
        rolled_back=frozenset((r["target_name"], r["champion_ensemble_id"]) for r in taken_back),
        questions=_ids(lake, "question_id", "promotions", as_of),
    )


def _stands(as_of: datetime | None, *ends: str) -> tuple[str, list[Any]]:
    """The condition that a row stands, or stood at a moment; `ends` are columns that end it."""
    if as_of is None:
        return " AND ".join(["true", *(f"{end} IS NULL" for end in ends)]), []
    stood = ["recorded_at <= ?", *(f"({end} IS NULL OR {end} > ?)" for end in ends)]
    return " AND ".join(stood), [as_of] * len(stood)


@dataclass(frozen=True)
class AdapterFilter:
    """Which adapters of a base may be seen; None lets all pass.

    Those `without_methods` are left out. `as_of` asks what stood at that time, as far as it has not
    been erased since.
    """

    base_id: str
    licenses: Collection[str] | None = None
    sources: Collection[str] | None = None
    tasks: Collection[str] | None = None
    methods: Collection[str] | None = None
    recipe_ids: Collection[str] | None = None
    without_methods: Collection[str] = ()
    as_of: datetime | None = None


def visible_adapters(lake: Lake, wanted: AdapterFilter) -> list[Row]:
    """The newest standing adapter of each (source, recipe) under a base, sorted by id.

    Older adapters stay for lineage only.
    """
    return lake.rows(*_visible("*", wanted))


def visible_ids(lake: Lake, wanted: AdapterFilter) -> pa.Table:
    """Columns adapter_id and source of the adapters that may be seen, for millions of them."""
    sql, parameters = _visible("adapter_id, source", wanted)
    return lake.table(sql, parameters)


def newest_representations(lake: Lake) -> dict[tuple[str, str, str], str]:
    """(source, encoder, role) -> the representation of its newest encoded dataset version."""
    rows = lake.rows(
        "SELECT d.source, r.encoder_id, r.role,"
        " max_by(r.representation_id, (d.recorded_at, r.recorded_at)) AS representation_id"
        " FROM core.representations AS r JOIN core.dataset_versions AS d USING (dataset_version_id)"
        " WHERE r.retracted_at IS NULL AND d.retracted_at IS NULL GROUP BY ALL"
    )
    return {(r["source"], r["encoder_id"], r["role"]): r["representation_id"] for r in rows}


def library_state(lake: Lake, base_id: str) -> tuple[Any, ...]:
    """What changes whenever an adapter of the base comes or is retracted."""
    row = lake.rows(
        "SELECT count(*) AS n, count(retracted_at) AS n_retracted, max(recorded_at) AS newest"
        " FROM core.adapters WHERE base_id = ?",
        [base_id],
    )[0]
    return tuple(row.values())


def first_version_at(lake: Lake, source: str) -> datetime | None:
    """When the first dataset version of a source was recorded."""
    return _first_at(lake, "dataset_versions", "source", source)


def first_adapter_at(lake: Lake, base_id: str) -> datetime | None:
    """When the first adapter of a base was recorded."""
    return _first_at(lake, "adapters", "base_id", base_id)


def n_withdrawn(lake: Lake, *, since: datetime) -> int:
    """How often data were withdrawn after a moment: what stood then may be gone."""
    rows = lake.rows("SELECT count(*) AS n FROM core.retractions WHERE recorded_at > ?", [since])
    return int(rows[0]["n"])


def _visible(columns: str, wanted: AdapterFilter) -> tuple[str, list[Any]]:
    """The newest adapter of each (source, recipe) first, then the filters that choose among them.

    A licence or a task that a plan does not want must not bring an older adapter back.
    """
    standing, moments = _stands(wanted.as_of, "retracted_at")
    parameters: list[Any] = [wanted.base_id, *moments]
    chosen = {
        "license": wanted.licenses,
        "source": wanted.sources,
        "recipe_id": wanted.recipe_ids,
        "json_extract_string(task_json, '$.type')": wanted.tasks,
        "json_extract_string(recipe_json, '$.method')": wanted.methods,
    }
    filters = {name: values for name, values in chosen.items() if values is not None}
    parameters += [sorted(values) for values in filters.values()]
    parts = ["true", *(f"list_contains(?, {name})" for name in filters)]
    parts += ["NOT contains(recipe_json, ?)"] * len(wanted.without_methods)  # parsing takes longer
    parameters += [f'"method":"{name}"' for name in wanted.without_methods]
    conditions = " AND ".join(parts)
    return (
        f"WITH newest AS (SELECT * FROM core.adapters WHERE base_id = ? AND {standing}"
        " QUALIFY row_number() OVER (PARTITION BY source, recipe_id"
        " ORDER BY recorded_at DESC, adapter_id) = 1)"
        f" SELECT {columns} FROM newest WHERE {conditions} ORDER BY adapter_id",
        parameters,
    )


def adapters(lake: Lake, adapter_ids: Collection[str]) -> dict[str, Row]:
    """The rows of these adapters, as far as they are on record."""
    rows = lake.rows("FROM core.adapters WHERE list_contains(?, adapter_id)", [sorted(adapter_ids)])
    return {row["adapter_id"]: row for row in rows}


def batches(lake: Lake, dataset_version_ids: Collection[str]) -> dict[str, list[str]]:
    """Dataset version -> ids of the batches that it is made of, as far as it is on record."""
    by_version: dict[str, list[str]] = {}
    for row in lake.rows(
        "SELECT child_id, parent_id FROM core.lineage WHERE role = 'batch'"
        " AND list_contains(?, child_id) ORDER BY ALL",
        [sorted(dataset_version_ids)],
    ):
        by_version.setdefault(row["child_id"], []).append(row["parent_id"])
    return by_version


def last_arrivals(lake: Lake) -> dict[str, datetime]:
    """Source -> when a file of it was last accepted that had not been accepted before."""
    rows = lake.rows("SELECT source, last_accepted_at FROM mart.source_health")
    return {row["source"]: row["last_accepted_at"] for row in rows if row["last_accepted_at"]}


def n_delivered(lake: Lake, sources: Collection[str], *, since: datetime) -> int:
    """Rows that these sources delivered from a moment on, accepted or not."""
    rows = lake.rows(
        "SELECT coalesce(sum(n_rows), 0)::BIGINT AS n FROM core.batches"
        " WHERE list_contains(?, source) AND recorded_at >= ?",
        [sorted(sources), since],
    )
    return int(rows[0]["n"])


def validation_scores(lake: Lake, evaluation_ids: Sequence[str]) -> dict[str, dict[str, Row]]:
    """Evaluation -> "arm metric" -> its row of scores over all items of the validation split."""
    by_evaluation: dict[str, dict[str, Row]] = {}
    for row in lake.rows(
        "FROM core.scores WHERE split = 'validation' AND slice = ''"
        " AND list_contains(?, evaluation_id)",
        [list(evaluation_ids)],
    ):
        by_evaluation.setdefault(row["evaluation_id"], {})[f"{row['arm']} {row['metric']}"] = row
    return by_evaluation


def choices(lake: Lake, evaluation_ids: Sequence[str]) -> dict[str, str]:
    """Evaluation -> the arm that was chosen there without labels."""
    rows = lake.rows(
        "SELECT choice_id, candidate FROM core.choices WHERE is_chosen"
        " AND list_contains(?, choice_id)",
        [list(evaluation_ids)],
    )
    return {row["choice_id"]: row["candidate"] for row in rows}


def served_versions(lake: Lake, targets: Sequence[str]) -> list[Row]:
    """Standing versions of these targets, each with its ensemble and what it is made of."""
    return lake.rows(
        "SELECT e.target_name, e.ensemble_id, e.weights_sha256, b.base_sha256, v.model_name,"
        " v.model_version, v.served_sha256 FROM core.model_versions AS v"
        " JOIN core.ensembles AS e ON v.kind = 'ensemble' AND v.record_id = e.ensemble_id"
        " JOIN core.bases AS b USING (base_id)"
        " WHERE list_contains(?, e.target_name) AND v.retracted_at IS NULL"
        " ORDER BY v.recorded_at, e.ensemble_id",
        [list(targets)],
    )


def item_scores(lake: Lake, evaluation_id: str, split: str) -> list[Row]:
    """Per-item scores of an evaluation on one split, ordered so that arms pair up."""
    return lake.rows(
        "SELECT arm, dataset_version_id, group_sha256, metric, value, predicted, expected"
        " FROM core.item_scores WHERE evaluation_id = ? AND split = ?"
        " ORDER BY arm, ensemble_id, dataset_version_id, metric, item_sha256",
        [evaluation_id, split],
    )


def answers(
    lake: Lake, evaluation_id: str, split: str, *, ensemble_id: str = "", arm: str = ""
) -> list[Row]:
    """Per-item scores of what one ensemble answered, or without one of an arm, in their order."""
    return lake.rows(
        "SELECT arm, dataset_version_id, group_sha256, metric, value, predicted, expected"
        " FROM core.item_scores WHERE evaluation_id = ? AND split = ? AND retracted_at IS NULL"
        " AND ensemble_id = ? AND (? = '' OR arm = ?)"
        # an ensemble that `auto` chose answers under two names
        " QUALIFY dense_rank() OVER (ORDER BY arm) = 1"
        " ORDER BY dataset_version_id, metric, item_sha256",
        [evaluation_id, split, ensemble_id, arm, arm],
    )


def last_alerts(lake: Lake, *, flow: str = "") -> list[dict[str, Any]]:
    """The alerts that held when the newest run ended, or the newest run of a flow."""
    rows = lake.rows(
        "SELECT alerts_json FROM core.runs WHERE alerts_json IS NOT NULL AND (? = '' OR flow = ?)"
        " ORDER BY recorded_at DESC, run_id DESC LIMIT 1",
        [flow, flow],
    )
    alerts: list[dict[str, Any]] = json.loads(rows[0]["alerts_json"]) if rows else []
    return alerts


def checks(lake: Lake, kind: str, record_ids: Collection[str]) -> list[Row]:
    """Looks of a kind at these evaluations or representations, the oldest first."""
    return lake.rows(
        "FROM core.checks WHERE kind = ? AND list_contains(?, record_id) AND retracted_at IS NULL"
        " ORDER BY recorded_at, check_id",
        [kind, sorted(record_ids)],
    )


def trials(lake: Lake, targets: Sequence[str]) -> list[Row]:
    """Comparisons that the gates of these targets decided on, oldest first."""
    return lake.rows(
        "FROM core.comparisons WHERE n_tried > 0 AND list_contains(?, target_name)"
        " AND retracted_at IS NULL ORDER BY recorded_at, n_tried, comparison_id",
        [list(targets)],
    )


def groups_of(lake: Lake, evaluation_ids: Sequence[str], split: str) -> frozenset[str]:
    """The groups whose items these evaluations scored on one split."""
    rows = lake.rows(
        "SELECT DISTINCT group_sha256 FROM core.item_scores"
        " WHERE list_contains(?, evaluation_id) AND split = ? AND arm = 'base'",
        [list(evaluation_ids), split],
    )
    return frozenset(row["group_sha256"] for row in rows)


def _by(lake: Lake, key: str, sql: str, parameters: Sequence[Any]) -> dict[str, Row]:
    return {row[key]: row for row in lake.rows(sql, parameters)}


def _ids(lake: Lake, column: str, table: str, as_of: datetime | None) -> frozenset[str]:
    kept, moments = _stands(as_of)
    rows = lake.rows(f"SELECT DISTINCT {column} AS id FROM core.{table} WHERE {kept}", moments)
    return frozenset(row["id"] for row in rows if row["id"])


def _first_at(lake: Lake, table: str, column: str, value: str) -> datetime | None:
    rows = lake.rows(f"SELECT min(recorded_at) AS at FROM core.{table} WHERE {column} = ?", [value])
    earliest: datetime | None = rows[0]["at"]
    return earliest

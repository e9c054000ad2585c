"""Erasure: what a retraction withdrew is removed from lake, vectors, artifacts and registry.

The one place that removes rows of the lake. Every part finds by itself what is left to do, so a
killed erasure is simply done again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from catalog.intake.deliveries import RETRACTED
from catalog.records import orphans
from catalog.records.version_drafts import adapter_name
from catalog.retraction.influence import Influence
from catalog.stores.lake.chain import record_amendment
from catalog.stores.lake.files import named_files
from catalog.stores.lake.lake import Lake, Transaction
from catalog.stores.stores import Stores
from catalog.tables.migrate import comment_sql, create_table_sql
from catalog.tables.quoting import quote_identifier
from catalog.tables.schema import TABLES
from rpe_core.fingerprint import canonical_json
from rpe_core.records import RunRef

Row = dict[str, Any]

_BY_NAME = {table.name: table for table in TABLES}
# What a tombstone keeps: which bytes and which content to refuse, and nothing that they held.
_TOMBSTONES = {
    "batches": ("batch_id", "source", "file_sha256", "contract_sha256", "recorded_at"),
    "dataset_versions": (
        "dataset_version_id",
        "sha256",
        "source",
        "contract_sha256",
        "recorded_at",
    ),
}


def count_rows(lake: Lake, influence: Influence) -> dict[str, int]:
    """Table -> how many rows of it an erasure removes, where there are any."""
    counts = {
        f"core.{table}": lake.rows(
            f"SELECT count(*) AS n FROM core.{table} WHERE {condition}", parameters
        )[0]["n"]
        for table, (condition, parameters) in _conditions(influence).items()
    }
    for name in _own_tables(lake, influence.source):
        counts[name] = lake.rows(f"SELECT count(*) AS n FROM {name}")[0]["n"]
    return {name: int(n) for name, n in sorted(counts.items()) if n}


def came_at(lake: Lake, influence: Influence) -> datetime | None:
    """When the first of what is withdrawn landed; None where nothing ever did."""
    rows = lake.rows(
        "SELECT min(recorded_at) AS at FROM core.batches WHERE list_contains(?, batch_id)",
        [list(influence.deliveries)],
    )
    at: datetime | None = rows[0]["at"]
    return at


def names_of(influence: Influence) -> list[str]:
    """Words that tell of what is withdrawn; where nothing of the source stays, its names too."""
    ids = [influence.subject_id, *influence.deliveries]
    return ids if influence.staying else [*ids, influence.source, *_own_targets(influence)]


def erase_rows(lake: Lake, influence: Influence, *, run: RunRef) -> None:
    """Remove every row of an influence, in one commit.

    The remainder of each table is copied to a new one, because DuckLake keeps the column minima and
    maxima of a table for as long as the table stands.
    """
    with (
        lake.transaction(message="erase", run=run) as commit,
        record_amendment(commit, reason="withdrawn data erased"),
    ):
        _bury(commit, influence)
        for table, (condition, parameters) in _conditions(influence).items():
            _rewrite(commit, table, condition, parameters)
        _clean_runs(
            commit,
            {influence.source, *_own_targets(influence)},
            {*influence.dataset_versions, *influence.evaluations, *influence.ensembles},
            files=_staying_files(commit, influence.source),
        )
        for name in _own_tables(commit, influence.source):
            commit.execute(f"DROP TABLE {name}")


def erase_stores(stores: Stores, influence: Influence) -> None:
    """Remove what no row names any more: artifacts, vectors, versions; then old files for good."""
    orphans.remove_orphans(stores, withdrawn=influence.artifacts)
    stores.vectors.optimize()
    stores.registry.erase_deleted(_emptied_models(influence))
    stores.lake.forget_history()


def _emptied_models(influence: Influence) -> list[str]:
    """Registered models that stand for the source: its adapters, and targets on its rows."""
    return [adapter_name(influence.source), *_own_targets(influence)]


def _own_targets(influence: Influence) -> list[str]:
    """Targets whose data the source is."""
    return [name for name, since in influence.targets.items() if not since]


_OF_EXPERIMENTS = (
    *("experiments", "experiment_scores", "experiment_distances", "experiment_findings"),
    "experiment_methods",
)


def _conditions(influence: Influence) -> Mapping[str, tuple[str, list[Any]]]:
    """Table -> which of its rows go."""
    adapters, ensembles = list(influence.adapters), list(influence.ensembles)
    nodes = [*influence.batches, *influence.dataset_versions, *influence.representations,
             *adapters, *ensembles]  # fmt: skip
    source, experiments = influence.source, list(influence.experiments)
    evaluations, places = list(influence.evaluations), list(influence.representations)
    listed = {
        "validations": ("batch_id", list(influence.batches)),
        "representations": ("representation_id", places),
        "adapters": ("adapter_id", adapters),
        "ensembles": ("ensemble_id", ensembles),
        "ensemble_members": ("ensemble_id", ensembles),
        "choices": ("choice_id", evaluations),
        "scores": ("evaluation_id", evaluations),
        "item_scores": ("evaluation_id", evaluations),
        "comparisons": ("comparison_id", list(influence.comparisons)),
        "model_versions": ("model_name || '/' || model_version", list(influence.versions)),
        "intents": ("record_id", nodes),
        **{table: ("experiment_id", experiments) for table in _OF_EXPERIMENTS},
    }
    return {
        "sources": ("source = ?", [source]),
        **_pairs(places, [*evaluations, *places]),
        "confirmations": ("source = ?", [source]),
        # what a person took back stays taken back, should the same model come out again
        "promotions": (
            "list_contains(?, promotion_id) AND action <> 'rolled_back'",
            [list(influence.promotions)],
        ),
        "attributions": ("list_contains(?, ensemble_id) OR source = ?", [ensembles, source]),
        "lineage": ("list_contains(?, child_id) OR list_contains(?, parent_id)", [nodes, nodes]),
        **{
            table: (f"list_contains(?, {column})", [ids]) for table, (column, ids) in listed.items()
        },
    }


def _pairs(places: list[str], seen: list[str]) -> dict[str, tuple[str, list[Any]]]:
    """Rows that compare two of these: representations, and what was looked at for an alert."""
    either = "list_contains(?, {}) OR list_contains(?, {})"
    return {
        "checks": (either.format("record_id", "former_record_id"), [seen, seen]),
        "drifts": (either.format("representation_id", "former_id"), [places, places]),
    }


def _rewrite(commit: Transaction, table: str, condition: str, parameters: Sequence[Any]) -> None:
    """Make a table anew of the rows that stay; untouched where none goes."""
    if not commit.rows(f"SELECT 1 FROM core.{table} WHERE {condition} LIMIT 1", parameters):
        return
    commit.execute(
        f"CREATE TEMP TABLE _kept AS FROM core.{table} WHERE NOT coalesce(({condition}), false)",
        parameters,
    )
    _replace(commit, table, "FROM temp._kept")
    commit.execute("DROP TABLE temp._kept")


def _replace(commit: Transaction, table: str, rows: str) -> None:
    spec = _BY_NAME[table]
    columns = ", ".join(quote_identifier(column) for column in spec.column_names)
    commit.execute(f"DROP TABLE core.{table}")
    commit.execute(create_table_sql("core", table, spec.columns))
    for statement in comment_sql("core", table, spec.columns, doc=spec.doc):
        commit.execute(statement)
    commit.execute(f"INSERT INTO core.{table} ({columns}) SELECT {columns} {rows}")


def _bury(commit: Transaction, influence: Influence) -> None:
    """Leave of withdrawn batches and dataset versions what it takes to refuse them."""
    wanted: dict[str, tuple[str, Sequence[str], Sequence[str]]] = {
        "batches": ("batch_id", influence.batches, list(influence.deliveries)),
        "dataset_versions": (
            "dataset_version_id", influence.dataset_versions, influence.dataset_versions,
        ),
    }  # fmt: skip
    for table, (key, ids, buried) in wanted.items():
        if not ids:
            continue
        kept = ", ".join(_TOMBSTONES[table])
        commit.execute(
            f"CREATE TEMP TABLE _tombstones AS SELECT {kept},"
            f" coalesce(retracted_at, ?::TIMESTAMPTZ) AS retracted_at FROM core.{table}"
            f" WHERE list_contains(?, {key})",
            [commit.recorded_at, list(buried)],
        )
        _rewrite(commit, table, f"list_contains(?, {key})", [list(ids)])
        said = {"batches": f", 'refused' AS outcome, '{RETRACTED}' AS reason"}.get(table, "")
        commit.execute(f"INSERT INTO core.{table} BY NAME SELECT *{said} FROM temp._tombstones")
        commit.execute("DROP TABLE temp._tombstones")


def _staying_files(commit: Transaction, source: str) -> set[str] | None:
    """Names of the lake's files but those of the source's own tables, whose hashes go with them.

    None where it has none: an erasure that is done again changes nothing.
    """
    named = named_files(commit)
    own = {f.name for f in named if f.table == source and f.schema in ("raw", "quarantine")}
    return {f.name for f in named} - own if own else None


def _clean_runs(
    commit: Transaction,
    names: Collection[str],
    records: Collection[str],
    *,
    files: Collection[str] | None,
) -> None:
    """Take a source and its targets out of what runs say that they did; their costs stay.

    Alerts that rest on one of the records that go are taken out too, and hashes of files that do
    not stay.
    """
    rows = commit.rows(
        "SELECT run_id, steps_json, faults_json, alerts_json, files_json FROM core.runs"
    )
    changed = []
    for row in rows:
        recorded = (row["steps_json"], row["faults_json"], row["alerts_json"])
        cleaned = _without(*recorded, names, records)
        kept = _only(row["files_json"], files)
        if (*cleaned, kept) != (*recorded, row["files_json"]):
            changed.append((row["run_id"], *cleaned, kept))
    if not changed:
        return
    commit.execute("CREATE TEMP TABLE _runs AS FROM core.runs")
    for run_id, steps, faults, alerts, kept in changed:
        commit.execute(
            "UPDATE temp._runs SET steps_json = ?, faults_json = ?, alerts_json = ?, files_json = ?"
            " WHERE run_id = ?",
            [steps, faults, alerts, kept, run_id],
        )
    _replace(commit, "runs", "FROM temp._runs")
    commit.execute("DROP TABLE temp._runs")


def _only(files_json: str | None, files: Collection[str] | None) -> str | None:
    """Hashes of those of some files that a run's row tells; None are all.

    >>> _only('{"a":"1","b":"2"}', {"b"})
    '{"b":"2"}'
    """
    if files_json is None or files is None:  # of an older run
        return files_json
    return canonical_json({n: h for n, h in json.loads(files_json).items() if n in files})


def _without(
    steps_json: str,
    faults_json: str,
    alerts_json: str | None,
    names: Collection[str],
    records: Collection[str] = (),
) -> tuple[str, str, str | None]:
    """Steps, faults and alerts of a run without the units that begin with one of the names.

    >>> steps = '[{"done":["a","b as target"],"failed":[]}]'
    >>> alerts = '[{"source":"a"},{"source":"b"},{"rests_on":["x"],"source":"c"}]'
    >>> _without(steps, '[{"unit":"a"}]', alerts, {"a"}, {"x"})
    ('[{"done":["b as target"],"failed":[]}]', '[]', '[{"source":"b"}]')
    """

    def others(units: Sequence[str]) -> list[str]:
        return [unit for unit in units if unit.split(" ")[0] not in names]

    steps = [
        {**step, "done": others(step["done"]), "failed": others(step["failed"])}
        for step in json.loads(steps_json)
    ]
    faults = [fault for fault in json.loads(faults_json) if others([fault["unit"]])]
    if alerts_json is not None:  # of an older run there are none
        alerts = [
            alert
            for alert in json.loads(alerts_json)
            if alert["source"] not in names and not set(alert.get("rests_on", ())) & set(records)
        ]
        alerts_json = canonical_json(alerts)
    return canonical_json(steps), canonical_json(faults), alerts_json


def _own_tables(lake: Lake | Transaction, source: str) -> list[str]:
    """The source's tables of rows, as SQL names them."""
    rows = lake.rows(
        "SELECT schema_name FROM duckdb_tables() WHERE database_name = current_database()"
        " AND schema_name IN ('raw', 'quarantine') AND table_name = ? ORDER BY schema_name",
        [source],
    )
    return [f"{row['schema_name']}.{quote_identifier(source)}" for row in rows]

"""The chain: every run's close seals by hash what was recorded since the close before it.

A row's content never changes but for two times that are set once, `superseded_at` and
`retracted_at`. Rows are sealed by commit, each by the moment that it shares with the others of its
commit; a time that is set later is sealed as an event of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import Any

from catalog.stores.lake.files import unsealed_hashes
from catalog.stores.lake.lake import Lake
from catalog.stores.lake.session import ALIAS
from catalog.stores.lake.transaction import Transaction
from catalog.tables.run_tables import INTENTS, LINKS, RUNS
from catalog.tables.schema import TABLES
from catalog.tables.spec import Column, TableSpec
from rpe_core.fingerprint import canonical_json, fingerprint

Row = dict[str, Any]
Moment = tuple[str, str, datetime]  # table, event, and when

EVENTS = {
    "recorded": "recorded_at",
    "superseded": "superseded_at",
    "retracted": "retracted_at",
}
PLAIN = ("recorded",)
CLOSING = "close run"  # the message of a close's commit
SHOWN = 12  # digits of a row's hash that a link keeps, to tell which row of a commit was edited
LISTED = 4096  # rows of a commit to a table; of more no single hash is kept
_BY_ITSELF = (RUNS.name, LINKS.name)  # what a link is over, without a row of core.links
_CHANGING = ("superseded_at", "retracted_at", "link_sha256")
_TEXT = {
    "DOUBLE": "printf('%.17g', {})",  # exact, and no matter of a library's taste
    "TIMESTAMPTZ": "epoch_us({})::VARCHAR",
    "VARCHAR": "{}",
}


def row_hash_sql(spec: TableSpec) -> str:
    """SQL of a row's hash: sha256 over `name=length:value;` of every column that has a value.

    A column that is added later and empty in old rows leaves their hashes as they were.
    """
    parts = [_netstring(column) for column in spec.columns if column.name not in _CHANGING]
    return f"sha256(concat({', '.join(parts)}))"


def _netstring(column: Column) -> str:
    text = _TEXT.get(column.type, "{}::VARCHAR").format(f'"{column.name}"')
    return f"'{column.name}=' || strlen({text}) || ':' || {text} || ';'"


def events_of(spec: TableSpec) -> dict[str, str]:
    """The events of a table's rows, each with the column that holds its moment."""
    if spec.name in (*_BY_ITSELF, INTENTS.name):  # an intent is no record: it comes and goes
        return {}
    return {event: column for event, column in EVENTS.items() if column in spec.column_names}


def groups_sql(spec: TableSpec, events: Collection[str], *, condition: str, at: str = "") -> str:
    """SQL of one row for each moment of an event: how many rows, their hash, and theirs in short.

    `condition` is on a moment, in braces; `at` reads the table as it was in a snapshot.
    """
    columns = {event: column for event, column in events_of(spec).items() if event in events}
    wanted = " OR ".join(condition.format(column) for column in columns.values())
    hashed = (
        f"SELECT {', '.join(columns.values())}, {row_hash_sql(spec)} AS hash"
        f" FROM core.{spec.name} {at} WHERE {wanted}"
    )
    each = [
        f"SELECT '{event}' AS event, {column} AS moment, hash FROM h"
        f" WHERE {condition.format(column)}"
        for event, column in columns.items()
    ]
    return (
        f"SELECT '{spec.name}' AS table_name, event, moment, count(*) AS n_rows,"
        " sha256(string_agg(hash, '' ORDER BY hash)) AS rows_sha256,"
        f" CASE WHEN count(*) <= {LISTED} THEN string_agg(left(hash, {SHOWN}), ' ' ORDER BY hash)"
        " ELSE '' END AS row_hashes FROM"
        f" (WITH h AS MATERIALIZED ({hashed}) {' UNION ALL '.join(each)}) GROUP BY event, moment"
    )


def newest_links_sql() -> str:
    """SQL of what must hold now: a later link of a commit takes the place of an earlier one."""
    return (
        "SELECT * FROM core.links QUALIFY row_number() OVER"
        " (PARTITION BY table_name, event, moment ORDER BY recorded_at DESC, n_rows) = 1"
    )


def link_sha256(previous: str, *, runs: Sequence[str], links: Sequence[str]) -> str:
    """The hash of a link: over the one before, and the rows of core.runs and core.links since."""
    return fingerprint([previous, sorted(runs), sorted(links)])


def seal(
    commit: Transaction, run: Mapping[str, Any], *, files: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Record a run with its link: over the link before it and everything recorded since then.

    The row tells the lake's files that were written since the last close, by hash, and `files` of
    other stores as they tell theirs.

    Commits with the message CLOSING; by it the next close finds what was written since.
    """
    last = _last_link(commit)
    since = f"{{}} > TIMESTAMPTZ '{last['recorded_at'].isoformat()}'" if last else "{} IS NOT NULL"
    groups = [groups_sql(spec, events, condition=since) for spec, events in _written(commit, last)]
    if groups:
        commit.execute(
            "INSERT INTO core.links BY NAME SELECT *, ?::VARCHAR AS run_id, '' AS reason,"
            f" ?::TIMESTAMPTZ AS recorded_at FROM ({' UNION ALL '.join(groups)})",
            [run["run_id"], commit.recorded_at],
        )
    hashes = canonical_json({**unsealed_hashes(commit, commit.data_uri), **files})
    row = {**run, "files_json": hashes, "recorded_at": commit.recorded_at}
    runs = [row_hash["hash"] for row_hash in _hashes(commit, RUNS, since)]
    runs += commit.evaluate(RUNS, [row], row_hash_sql(RUNS))
    links = [row_hash["hash"] for row_hash in _hashes(commit, LINKS, since)]
    link = link_sha256(last["link_sha256"] if last else "", runs=runs, links=links)
    commit.insert_new(RUNS, [{**row, "link_sha256": link}])


def _written(commit: Transaction, last: Row | None) -> list[tuple[TableSpec, Collection[str]]]:
    """Tables that were written to since the last close, with the events that may have come about.

    The lake's snapshots tell, as far as all since then are kept; else it may have been any.
    """
    snapshots = commit.rows(
        f"SELECT * FROM {ALIAS}.snapshots() WHERE snapshot_id >= (SELECT max(snapshot_id)"
        f" FROM {ALIAS}.snapshots() WHERE commit_message = ?"
        " AND json_extract_string(commit_extra_info, '$.run_id') = ?) ORDER BY snapshot_id",
        [CLOSING, last["run_id"] if last else ""],
    )
    if not snapshots or len(snapshots) != commit.next_snapshot_id - snapshots[0]["snapshot_id"]:
        filled = filled_tables(commit)
        return [(spec, EVENTS) for spec in TABLES if events_of(spec) and spec.name in filled]
    tables = commit.rows(f"SELECT table_id, table_name FROM ducklake_table_info('{ALIAS}')")
    names = {str(row["table_id"]): row["table_name"] for row in tables}
    passing = {table_id for table_id, name in names.items() if name == INTENTS.name}
    events: dict[str, Collection[str]] = {}
    for snapshot in snapshots[1:]:
        changes = {kind: set(ids) - passing for kind, ids in snapshot["changes"].items()}
        is_plain = not any(changes[kind] for kind in changes if kind != "tables_inserted_into")
        for kind in ("tables_inserted_into", "tables_deleted_from"):
            for table in changes.get(kind, ()):
                name = names.get(table, "")
                events[name] = events.get(name, PLAIN) if is_plain else tuple(EVENTS)
    return [(spec, events[spec.name]) for spec in TABLES if events_of(spec) and spec.name in events]


def filled_tables(lake: Lake | Transaction) -> set[str]:
    """Names of tables that have rows in files."""
    tables = lake.rows(
        f"SELECT table_name FROM ducklake_table_info('{ALIAS}') WHERE file_count > 0"
    )
    return {row["table_name"] for row in tables}


@contextmanager
def record_amendment(
    commit: Transaction, *, reason: str, tables: Collection[TableSpec] = TABLES
) -> Iterator[None]:
    """Put on record what is lawfully changed inside, such as rows that a withdrawal takes away.

    For each sealed commit that is whole before and another after, a newer link says what it is now
    and why; the next close seals that. What was edited before stays found.
    """
    last = _last_link(commit)
    if last is None:  # nothing is sealed yet
        yield
        return
    filled = filled_tables(commit)
    written = [spec for spec in tables if spec.name in filled]
    before = _sealed(commit, written, last["recorded_at"])
    links = {_moment(row): row for row in commit.rows(newest_links_sql())}
    yield
    after, now = _sealed(commit, written, last["recorded_at"]), []
    for key in before:
        was, is_now = before[key], after.get(key) or _nothing(key)
        link = links.get(key)
        if is_now["rows_sha256"] == was["rows_sha256"]:
            continue
        if key[0] == RUNS.name:
            # a run's own link is over its row as it was at first
            first = link["row_hashes"] if link else was["rows_sha256"]
            now.append({**is_now, "row_hashes": first})
        elif link and link["rows_sha256"] == was["rows_sha256"]:
            now.append(is_now)
    common = {"run_id": commit.run_id, "reason": reason, "recorded_at": commit.recorded_at}
    commit.insert_new(LINKS, [{**row, **common} for row in now])


def _sealed(
    commit: Transaction, tables: Collection[TableSpec], until: datetime
) -> dict[Moment, Row]:
    """What is sealed of these tables, as it is now; each run by itself."""
    condition = f"{{}} <= TIMESTAMPTZ '{until.isoformat()}'"
    sealed = [
        row
        for spec in tables
        if events_of(spec)
        for row in commit.rows(groups_sql(spec, EVENTS, condition=condition))
    ]
    for row in _hashes(commit, RUNS, condition) if RUNS in tables else ():
        key = (RUNS.name, "recorded", row["recorded_at"])
        sealed.append({**_nothing(key), "n_rows": 1, "rows_sha256": row["hash"]})
    return {_moment(row): row for row in sealed}


def _moment(row: Mapping[str, Any]) -> Moment:
    return row["table_name"], row["event"], row["moment"]


def _nothing(key: Moment) -> Row:
    table, event, moment = key
    return {"table_name": table, "event": event, "moment": moment, "n_rows": 0,
            "rows_sha256": "", "row_hashes": ""}  # fmt: skip


def _hashes(commit: Transaction, spec: TableSpec, condition: str) -> list[Row]:
    return commit.rows(
        f"SELECT recorded_at, {row_hash_sql(spec)} AS hash FROM core.{spec.name}"
        f" WHERE {condition.format('recorded_at')}"
    )


def head_of(lake: Lake) -> str:
    """The hash of the chain's last link; '' before the first run has closed."""
    last = _last_link(lake)
    return str(last["link_sha256"]) if last else ""


def head_at(lake: Lake, moment: datetime) -> str:
    """The hash of the chain's last link as of a moment; '' before the first run had closed."""
    rows = lake.rows(
        "SELECT link_sha256 FROM core.runs WHERE link_sha256 IS NOT NULL AND recorded_at < ?"
        " ORDER BY recorded_at DESC LIMIT 1",
        [moment],
    )
    return str(rows[0]["link_sha256"]) if rows else ""


def _last_link(commit: Lake | Transaction) -> Row | None:
    """Run, link and moment of the last close; what is recorded after it is not sealed yet."""
    rows = commit.rows(
        "SELECT run_id, link_sha256, recorded_at FROM core.runs WHERE link_sha256 IS NOT NULL"
        " ORDER BY recorded_at DESC LIMIT 1"
    )
    return rows[0] if rows else None

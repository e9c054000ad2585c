"""Integrity of rows: whether core is what the chain sealed; what is not, and since when."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

from catalog.errors import StoreError
from catalog.stores.lake.chain import (
    EVENTS,
    LISTED,
    SHOWN,
    events_of,
    filled_tables,
    groups_sql,
    link_sha256,
    newest_links_sql,
    row_hash_sql,
)
from catalog.stores.lake.lake import Lake
from catalog.stores.lake.session import ALIAS
from catalog.tables.run_tables import LINKS, RUNS
from catalog.tables.schema import TABLES
from catalog.tables.spec import TableSpec

Row = dict[str, Any]
NAMED = 3  # rows or records that a finding names; of more it says how many


@dataclass(frozen=True)
class EditedRow:
    """Something that is not what was kept: where, what is wrong with it, since when."""

    where: str
    what: str
    since: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.since}"


@dataclass(frozen=True)
class Chain:
    """The chain as it was read: links, rows under them, the head, and what does not hold."""

    n_links: int
    n_rows: int
    n_open: int  # rows that no close has sealed yet
    n_amended: int  # commits that rows were lawfully taken out of
    head: Row | None  # run_id, link_sha256 and recorded_at of the last link
    findings: tuple[EditedRow, ...]


def read_chain(lake: Lake) -> Chain:
    """Hash every row of core once more and hold it against the chain.

    A column that an earlier release did not have yet leaves the hashes of its rows as they are.
    """
    closes = lake.rows(
        "SELECT run_id, link_sha256, recorded_at FROM core.runs WHERE link_sha256 IS NOT NULL"
        " ORDER BY recorded_at"
    )
    head = closes[-1] if closes else None
    findings, n_rows, n_open = _link_findings(lake, closes), 0, 0
    for spec in _with_rows(lake):
        for group in _held(lake, spec):
            n = group["n_rows"] if group["event"] == "recorded" else 0
            n_rows += n
            if head is None or (group["run_id"] is None and group["moment"] > head["recorded_at"]):
                n_open += n
            elif group["rows_sha256"] != group["was_sha256"]:
                findings.append(_finding(lake, spec, group))
    amended = lake.rows("SELECT count(*) AS n FROM core.links WHERE reason <> ''")
    return Chain(len(closes), n_rows, n_open, amended[0]["n"], head, tuple(findings))


def _with_rows(lake: Lake) -> list[TableSpec]:
    """Tables that have rows, or had some when they were sealed."""
    sealed = lake.rows("SELECT DISTINCT table_name FROM core.links")
    names = filled_tables(lake) | {row["table_name"] for row in sealed}
    specs = (_as_it_is(lake, spec) for spec in TABLES if spec.name in names)
    return [spec for spec in specs if events_of(spec)]


def _as_it_is(lake: Lake, spec: TableSpec) -> TableSpec:
    """A table with those of its columns that the lake has."""
    rows = lake.rows(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = current_database()"
        " AND schema_name = 'core' AND table_name = ?",
        [spec.name],
    )
    there = {row["column_name"] for row in rows}
    return replace(spec, columns=tuple(column for column in spec.columns if column.name in there))


def _held(lake: Lake, spec: TableSpec) -> list[Row]:
    """Every commit to a table as it is now, beside what its newest link says."""
    groups = groups_sql(spec, EVENTS, condition="{} IS NOT NULL")
    return lake.rows(
        f"WITH l AS (SELECT * FROM ({newest_links_sql()}) WHERE table_name = ?)"
        " SELECT coalesce(g.event, l.event) AS event, coalesce(g.moment, l.moment) AS moment,"
        " coalesce(g.n_rows, 0) AS n_rows, coalesce(g.rows_sha256, '') AS rows_sha256,"
        " coalesce(l.n_rows, 0) AS n_was, coalesce(l.rows_sha256, '') AS was_sha256,"
        " coalesce(l.row_hashes, '') AS was, l.run_id, l.recorded_at AS sealed_at"
        f" FROM ({groups}) AS g FULL JOIN l ON g.moment = l.moment AND g.event = l.event"
        " ORDER BY event, moment",
        [spec.name],
    )


def _link_findings(lake: Lake, closes: Sequence[Row]) -> list[EditedRow]:
    """What does not hold of core.runs and core.links, which each link is over."""
    runs_hash = row_hash_sql(_as_it_is(lake, RUNS))
    runs = lake.rows(f"SELECT run_id, recorded_at, {runs_hash} AS hash FROM core.runs")
    links = lake.rows(f"SELECT recorded_at, {row_hash_sql(LINKS)} AS hash FROM core.links")
    edited = []
    amended = {
        row["moment"]: row
        for row in lake.rows(f"FROM ({newest_links_sql()}) WHERE table_name = '{RUNS.name}'")
    }
    for run in runs:
        if link := amended.get(run["recorded_at"]):
            if run["hash"] != link["rows_sha256"]:
                since = f"whole when it was amended at {at_of(link)}"
                edited.append(EditedRow("core.runs", f"{run['run_id']} was edited", since))
            run["hash"] = link["row_hashes"]
    sealed_runs, sealed_links = _by_close(runs, closes), _by_close(links, closes)
    before: Row | None = None
    for i, close in enumerate(closes):
        previous = before["link_sha256"] if before else ""
        link_is = link_sha256(previous, runs=sealed_runs[i], links=sealed_links[i])
        if link_is != close["link_sha256"]:
            what = (
                f"the link of {close['run_id']} does not hold: its row, one of its rows of"
                " core.links, or a row of core.runs before it was edited or taken out"
            )
            whole = f"whole when {before['run_id']} closed at {at_of(before)}" if before else ""
            edited.append(EditedRow("core.runs", what, whole or "no link is before it"))
        before = close
    return edited


def _by_close(rows: Sequence[Row], closes: Sequence[Row]) -> list[list[str]]:
    """Hashes of rows by the first close at or after them; what is later is not sealed."""
    moments = [close["recorded_at"] for close in closes]
    by_close: list[list[str]] = [[] for _ in [*closes, None]]
    for row in rows:
        by_close[bisect_left(moments, row["recorded_at"])].append(row["hash"])
    return by_close


def _finding(lake: Lake, spec: TableSpec, group: Row) -> EditedRow:
    known, rows = set(group["was"].split()), _rows_of(lake, spec, group)
    odd = [row for row in rows if row["hash"][:SHOWN] not in known]
    n_gone = group["n_was"] - len(rows)
    parts = []
    if group["n_was"] > LISTED:
        parts.append(f"some of {group['n_was']} rows are not what was {group['event']}")
    elif odd:
        more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
        names = "; ".join(_named(row, spec) for row in odd[:NAMED])
        parts.append(f"{len(odd)} rows are not what was {group['event']}: {names}{more}")
    if n_gone > 0:
        parts.append(f"{n_gone} rows of {group['n_was']} are missing")
    if group["run_id"] is None:
        since = f"dated {at_of(group, 'moment')}, when no run recorded it"
    else:
        since = _since(lake, spec, group)
    return EditedRow(f"core.{spec.name}", ", ".join(parts), since)


def _rows_of(lake: Lake, spec: TableSpec, group: Row) -> list[Row]:
    keys = ", ".join(f'"{key}"' for key in spec.key)
    return lake.rows(
        f"SELECT {keys}, {row_hash_sql(spec)} AS hash FROM core.{spec.name}"
        f" WHERE {EVENTS[group['event']]} = ? ORDER BY ALL",
        [group["moment"]],
    )


def _named(row: Mapping[str, Any], spec: TableSpec) -> str:
    return " ".join(f"{key}={row[key]}" for key in spec.key if row[key])


def _since(lake: Lake, spec: TableSpec, group: Row) -> str:
    """By which run's close it was whole, and which snapshot changed it, as far as they are kept."""
    whole = f"whole when {group['run_id']} closed at {at_of(group, 'sealed_at')}"
    snapshots = lake.rows(
        f"SELECT snapshot_id, snapshot_time, commit_extra_info FROM {ALIAS}.snapshots()"
        " ORDER BY snapshot_id"
    )
    own = [i for i, snapshot in enumerate(snapshots) if _run_of(snapshot) == group["run_id"]]
    kept = snapshots[own[-1] if own else 0 :]

    def is_broken(snapshot: Row) -> bool:
        at = f"AT (VERSION => {int(snapshot['snapshot_id'])})"
        moment = f"{{}} = TIMESTAMPTZ '{group['moment'].isoformat()}'"
        rows = lake.rows(groups_sql(spec, [group["event"]], condition=moment, at=at))
        return bool((rows[0]["rows_sha256"] if rows else "") != group["was_sha256"])

    try:
        first = bisect_left(kept, True, key=is_broken)
    except StoreError:  # of a snapshot before a migration
        return f"{whole}; its snapshots cannot be read"
    if first in (0, len(kept)):
        return f"{whole}; edited in the files, or before the snapshots that are kept"
    edit, by = kept[first], _run_of(kept[first]) or "no run of ours"
    number, at = edit["snapshot_id"], at_of(edit, "snapshot_time")
    return f"{whole}; edited in snapshot {number} of {at} by {by}"


def _run_of(snapshot: Row) -> str:
    try:
        return str(json.loads(snapshot["commit_extra_info"] or "{}").get("run_id", ""))
    except (ValueError, AttributeError):
        return ""


def at_of(row: Mapping[str, Any], name: str = "recorded_at") -> str:
    """A moment of a row in UTC, to the second, as findings tell it."""
    return str(row[name].astimezone(UTC).isoformat(timespec="seconds"))

"""Keys, groups and splits of one ingest against what stands: DuckDB over hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from catalog.contracts.contract import DeclaredExpectation, SourceContract
from catalog.tables.quoting import quote_identifier, quote_text, quote_texts
from catalog.validation.clashes import ClashFile, ClashRow, find_clashes
from catalog.validation.expectations import measure_sql, profile_column
from catalog.validation.staging import scratch_columns
from catalog.validation.variety import Variety

DISAGREE = "files_disagree"  # a refusal that hangs on another file: it ends when that is gone
_FETCHED_ROWS = 10_000
# Small row groups: a writer holds one in memory for each thread, and it may be of long texts.
_ROW_GROUPS = "ROW_GROUP_SIZE 8192, ROW_GROUP_SIZE_BYTES '16MB'"

# standing: the rows of the source as they would be now; chosen: rows of this ingest that land;
# superseded: rows of the lake that they replace; places: where the file of a batch stands in its
# order. `said` is the batch of the last file that says a row, `batch` the one that it came with.
_TABLES = """
CREATE TABLE standing (item VARCHAR, row_hash VARCHAR, grp VARCHAR, split VARCHAR, batch VARCHAR,
    label VARCHAR, input VARCHAR, said VARCHAR);
CREATE TABLE places (batch VARCHAR, rank BIGINT, uri VARCHAR, name VARCHAR);
CREATE TABLE chosen (path VARCHAR, n BIGINT, item VARCHAR, split VARCHAR, batch VARCHAR,
    superseded_by VARCHAR);
CREATE TABLE superseded (item VARCHAR, old_batch VARCHAR, new_batch VARCHAR);
"""
# A file that was accepted before, under another contract, replaces no row: what stands is newer.
# Where places decide, a row is replaced by a later file only; a file that lies under the name of
# the one that said the row has taken its place.
_JUDGED = """
CREATE OR REPLACE TABLE judged AS
SELECT f.*, s.batch AS old_batch, p.name AS said_in, CASE
    WHEN f.n <> min(f.n) OVER (PARTITION BY f.item) THEN 'duplicate'
    WHEN s.item IS NULL THEN 'new'
    WHEN s.row_hash = f.row_hash AND s.split = f.split THEN 'unchanged'
    WHEN {keeps_places} AND {rank} < coalesce(p.rank, -1) THEN 'outdated'
    WHEN {keeps_places} AND {rank} = p.rank AND p.uri <> {uri} THEN 'tied'
    WHEN {is_known} AND NOT {keeps_places} THEN 'unchanged'
    ELSE 'changed' END AS verdict,
    verdict = 'unchanged' AND {keeps_places} AND {rank} > coalesce(p.rank, -1) AS confirms
FROM (
    SELECT _item_sha256 AS item, _row_sha256 AS row_hash, _group_sha256 AS grp, {split} AS split,
        file_row_number AS n, _row_number AS number, md5({target}::VARCHAR) AS label,
        md5({input}) AS input
    FROM read_parquet({path}, file_row_number = true)
) f LEFT JOIN standing s USING (item) LEFT JOIN places p ON p.batch = s.said
"""
_DUPLICATE_KEYS = """
SELECT n, number FROM judged WHERE item IN (
    SELECT item FROM judged GROUP BY item
    HAVING count(DISTINCT row_hash) > 1 OR count(DISTINCT split) > 1)
"""
_LEAKING = """
WITH after AS (
    SELECT grp, split FROM standing
    WHERE grp IN (SELECT grp FROM judged)
      AND item NOT IN (SELECT item FROM judged WHERE verdict = 'changed')
    UNION ALL SELECT grp, split FROM judged WHERE verdict IN ('new', 'changed'))
SELECT n, number FROM judged WHERE grp IN (
    SELECT grp FROM after GROUP BY grp HAVING count(DISTINCT split) > 1)
"""


@dataclass
class KeyFindings:
    """What the keys of one file say: rows by verdict, and rows that break a rule."""

    n_new: int = 0
    n_unchanged: int = 0
    n_changed: int = 0
    n_duplicates: int = 0
    n_outdated: int = 0
    others: tuple[str, ...] = ()  # files that say otherwise, where neither is the later
    failing: dict[str, list[int]] = field(default_factory=dict)  # code -> row numbers
    # code -> places in the scratch file: several rows of one record have its number
    places: dict[str, list[int]] = field(default_factory=dict, repr=False)

    def mark(self, code: str, rows: Sequence[tuple[int, int]]) -> None:
        """Note the rows that break a rule, by place in the scratch file and by number."""
        self.failing[code] = sorted(number for _, number in rows)
        self.places[code] = [position for position, _ in rows]


class Judged(Protocol):
    """What of a delivery its keys are judged by."""

    @property
    def file_uri(self) -> str:
        """Where the file lies."""

    @property
    def rank(self) -> int:
        """Where it stands in the source's order."""

    @property
    def is_known(self) -> bool:
        """Whether it was accepted before."""


class KeyIndex:
    """The keys of a source while the files of one ingest are judged, one after another.

    Past its memory limit the database spills into `folder`.
    """

    def __init__(self, contract: SourceContract, folder: Path) -> None:
        self._contract, self._places = contract, scratch_columns(contract)
        config: dict[str, Any] = {
            "python_enable_replacements": "false",
            "autoinstall_known_extensions": "false",
        }
        self._database = duckdb.connect(":memory:", config=config)
        self._database.execute(
            "SET enable_progress_bar = false; SET preserve_insertion_order = false"
        )
        self._database.execute("SET memory_limit = '400MB'; SET TimeZone = 'UTC'")
        self._database.execute(f"SET temp_directory = {quote_text(folder / 'spill')}")
        self._database.execute(_TABLES)
        self._carved_below: str | None = None

    def close(self) -> None:
        """Close the database; what it spilled is gone with it."""
        self._database.close()

    def load_standing(self, path: Path) -> None:
        """Take what stands in the lake, as `export_standing` writes it."""
        self._run(f"INSERT INTO standing SELECT * FROM read_parquet({quote_text(path)})")

    def load_places(self, places: pa.Table) -> None:
        """Take batch, rank, uri and name of every file that said a row, or is about to."""
        self._database.register("told", places)
        self._run("INSERT INTO places SELECT batch, rank, uri, name FROM told")
        self._database.unregister("told")

    def carve_below(self, prefix: str | None) -> None:
        """Make validation of those train groups whose hash lies below this prefix."""
        self._carved_below = prefix

    def profile(self, path: Path, expectations: Sequence[DeclaredExpectation]) -> pa.Table:
        """One row: the measured number of each expectation over the accepted rows of a file."""
        rows = f"read_parquet({quote_text(path)})"
        measured = {}
        for named in expectations:
            query = measure_sql(named, rows=rows, column=self._places[named.column])
            measured[profile_column(named)] = pa.array([self._run(query)[0][0]], pa.float64())
        return pa.table(measured)

    def clashes(self, files: Sequence[ClashFile]) -> dict[int, dict[int, list[ClashRow]]]:
        """Number of a file -> other that says one of its keys otherwise -> rows, see clashes.py."""
        return find_clashes(self._database, files, split=self._split)

    def judge(self, path: Path, delivery: Judged) -> KeyFindings:
        """Hold the accepted rows of one file against each other and against what stands."""
        text, target = self._contract.content_columns
        self._run(
            _JUDGED.format(
                path=quote_text(path),
                split=self._split,
                is_known=delivery.is_known,
                rank=delivery.rank,
                uri=quote_text(delivery.file_uri),
                keeps_places=self._contract.keeps_places,
                target=self._places[target],
                input=self._places[text],
            )
        )
        verdicts = dict(self._run("SELECT verdict, count(*) FROM judged GROUP BY verdict"))
        findings = KeyFindings(
            n_new=verdicts.get("new", 0),
            n_unchanged=verdicts.get("unchanged", 0),
            n_changed=verdicts.get("changed", 0),
            n_duplicates=verdicts.get("duplicate", 0),
            n_outdated=verdicts.get("outdated", 0),
        )
        if "tied" in verdicts:
            tied = "FROM judged WHERE verdict = 'tied'"
            findings.mark(DISAGREE, self._run(f"SELECT n, number {tied}"))
            others = self._run(f"SELECT DISTINCT said_in {tied} ORDER BY 1")
            findings.others = tuple(uri for (uri,) in others)
        for code, query in (("duplicate_key", _DUPLICATE_KEYS), ("split_leakage", _LEAKING)):
            findings.mark(code, self._run(query))
        if self._contract.on_violation.changed_row == "refuse":
            changed = "SELECT n, number FROM judged WHERE verdict = 'changed'"
            findings.mark("changed_row", self._run(changed))
        return findings

    def variety(self) -> Variety:
        """How much the rows of the file judged last differ."""
        return self._variety("judged")

    def standing_variety(self) -> Variety:
        """How much the rows of the source differ, as they would stand."""
        return self._variety("standing")

    def apply(self, path: Path, batch_id: str) -> None:
        """Let the file judged last take its place in the source."""
        batch, landing = quote_text(batch_id), "verdict IN ('new', 'changed')"
        changed = "SELECT item FROM judged WHERE verdict = 'changed'"
        self._run(
            f"UPDATE chosen SET superseded_by = {batch} WHERE item IN ({changed})"
            " AND superseded_by IS NULL"
        )
        self._run(
            f"INSERT INTO superseded SELECT item, old_batch, {batch} FROM judged"
            " WHERE verdict = 'changed'"
            " AND (item, old_batch) NOT IN (SELECT item, batch FROM chosen)"
        )
        self._run(f"DELETE FROM standing WHERE item IN ({changed})")
        self._run(
            f"INSERT INTO standing SELECT item, row_hash, grp, split, {batch}, label, input,"
            f" {batch} FROM judged WHERE {landing}"
        )
        self._run(
            f"UPDATE standing SET said = {batch}"
            " WHERE item IN (SELECT item FROM judged WHERE confirms)"
        )
        self._run(
            f"INSERT INTO chosen SELECT {quote_text(path)}, n, item, split, {batch}, NULL"
            f" FROM judged WHERE {landing}"
        )

    def n_superseded(self) -> int:
        """Rows of the lake that this ingest replaces."""
        return int(self._run("SELECT count(*) FROM superseded")[0][0])

    def write_superseded(self, out: Path) -> None:
        """Item, old_batch and new_batch of each row of the lake that is replaced."""
        self._copy("FROM superseded", out)

    def write_said(self, batches: Sequence[str], out: Path) -> int:
        """Item and batch of the rows that these batches are the last to say; how many are not new.

        `batch` is null of a row that came with the one that says it.
        """
        listed = quote_texts(batches) or "NULL"
        said = f"FROM standing WHERE said IN ({listed})"
        self._copy(f"SELECT item, nullif(said, batch) AS batch {said}", out)
        return int(self._run(f"SELECT count(*) {said} AND said <> batch")[0][0])

    def write_landing(self, out: Path, *, at: datetime) -> int:
        """The rows that land, with their system columns in front; how many there are."""
        columns = ", ".join(
            f"p.{column} AS {quote_identifier(name)}" for name, column in self._places.items()
        )
        paths = [path for (path,) in self._run("SELECT DISTINCT path FROM chosen ORDER BY path")]
        if not paths:
            return 0
        moment = f"TIMESTAMPTZ {quote_text(at.isoformat())}"
        self._copy(
            "SELECT p._item_sha256, p._row_sha256, p._group_sha256, c.split AS _split,"
            " c.batch AS _batch_id, c.superseded_by AS _superseded_by,"
            f" {moment} AS recorded_at,"
            f" CASE WHEN c.superseded_by IS NOT NULL THEN {moment} END AS superseded_at,"
            f" NULL::TIMESTAMPTZ AS retracted_at, {columns}"
            f" FROM read_parquet([{quote_texts(paths)}], filename = true,"
            " file_row_number = true) p"
            " JOIN chosen c ON c.path = p.filename AND c.n = p.file_row_number",
            out,
        )
        return int(self._run("SELECT count(*) FROM chosen")[0][0])

    def write_marked(self, path: Path, out: Path, findings: KeyFindings, *, batch_id: str) -> int:
        """Write the rows that break a rule of keys as rows of quarantine; how many there are."""
        marks = pa.table(
            {
                "n": [n for places in findings.places.values() for n in places],
                "code": [c for c, places in findings.places.items() for _ in places],
            },
            schema=pa.schema([("n", pa.int64()), ("code", pa.string())]),
        )
        row = ", ".join(f"{quote_text(name)}: p.{column}" for name, column in self._places.items())
        self._database.register("marks", marks)
        self._copy(
            "WITH m AS (SELECT n, string_agg(code, ';' ORDER BY code) AS reasons"
            " FROM marks GROUP BY n)"
            f" SELECT {quote_text(batch_id)} AS _batch_id, p._row_number, m.reasons AS _reasons,"
            f" to_json({{{row}}})::VARCHAR AS _row_json"
            f" FROM read_parquet({quote_text(path)}, file_row_number = true) p"
            " JOIN m ON m.n = p.file_row_number",
            out,
        )
        self._database.unregister("marks")
        return len(set(marks.column("n").to_pylist()))

    def content(self) -> Iterator[str]:
        """`item row split` of each row of the source, in the order of items."""
        cursor = self._database.execute(
            "SELECT item || ' ' || row_hash || ' ' || split FROM standing ORDER BY item"
        )
        while rows := cursor.fetchmany(_FETCHED_ROWS):
            yield from (line for (line,) in rows)

    def counts(self) -> dict[str, int]:
        """The counts of a dataset version: rows, labelled rows, rows by split, groups."""
        counted = {
            "n_rows": "count(*)",
            "n_labelled": "count(label)",
            "n_train": "count(*) FILTER (split = 'train')",
            "n_validation": "count(*) FILTER (split = 'validation')",
            "n_test": "count(*) FILTER (split = 'test')",
            "n_test_labelled": "count(label) FILTER (split = 'test')",
            "n_groups": "count(DISTINCT grp)",
        }
        values = self._run(f"SELECT {', '.join(counted.values())} FROM standing")[0]
        return dict(zip(counted, map(int, values), strict=True))

    @property
    def _split(self) -> str:
        """SQL of a row's split, validation carved from train where that is so."""
        if self._carved_below is None:
            return "_split"
        return (
            f"CASE WHEN _split = 'train' AND _group_sha256 < {quote_text(self._carved_below)}"
            " THEN 'validation' ELSE _split END"
        )

    def _variety(self, table: str) -> Variety:
        n_rows, n_labelled, *ends = self._run(
            "SELECT count(*), count(label), min(label), max(label), min(input), max(input)"
            f" FROM {table}"
        )[0]
        labels, inputs = (frozenset(v for v in pair if v) for pair in (ends[:2], ends[2:]))
        return Variety(int(n_rows), int(n_labelled), labels, inputs)

    def _copy(self, query: str, out: Path) -> None:
        self._run(f"COPY ({query}) TO {quote_text(out)} (FORMAT parquet, {_ROW_GROUPS})")

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._database.execute(sql).fetchall()
        return rows

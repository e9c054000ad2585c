"""The lake: DuckLake over Parquet. Readers take no lock; every write is one locked transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from catalog.errors import StoreError, StoreUnavailable
from catalog.stores.disk import flush_files
from catalog.stores.lake.blame import name_damaged_files
from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.lake.errors import lake_errors
from catalog.stores.lake.files import FILES, hash_files
from catalog.stores.lake.guarded_reader import GuardedReader
from catalog.stores.lake.rows import fetch_rows
from catalog.stores.lake.session import ALIAS, connect, open_cursor
from catalog.stores.lake.transaction import Transaction
from catalog.stores.locks import TIMEOUT_SECONDS, WriterLock
from catalog.tables.migrate import apply, declared_schema, is_current
from catalog.tables.quoting import quote_text
from rpe_core.fingerprint import canonical_json
from rpe_core.records import RunRef

__all__ = ["Lake", "Transaction", "guarded_reader"]

# Our statements find few rows: two threads cost 1.4 times the CPU, a large scan gains 1.2 in time.
_THREADS = 1
_CLOCK_SLACK_NS = 2_000_000_000  # file systems stamp files by a coarser clock than ours
# A commit leaves a file in every table that it writes to, and every statement opens them all.
_MERGED_AFTER = 32  # commits through one object
_MANY_FILES = 32  # of a table: from here on they are merged
_SMALL_BYTES = 1 << 20  # of a file; larger ones are not written again
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_READ_WITHIN = timedelta(days=1)  # no statement runs longer


class Lake:
    """All rows of the platform. One object may be used by several threads of a process."""

    def __init__(
        self,
        connection: Any,
        *,
        data_uri: str,
        lock: WriterLock,
        clock: Callable[[], datetime],
        is_read_only: bool,
        workspace: str = "",
    ) -> None:
        self._connection, self.data_uri, self._lock = connection, data_uri, lock
        self._clock, self._is_read_only = clock, is_read_only
        self.workspace = workspace  # whose runs write through this object
        self._threads = threading.local()
        self._cursors: list[Any] = []
        self._is_writing = False
        self._latest = _LONG_AGO
        self._hashed: dict[str, str] = {}  # name -> sha256 of files that were written through it
        self.n_commits = 0  # through this object: what was read before the last one may be stale

    @classmethod
    def open(
        cls,
        *,
        uri: str,
        data_uri: str,
        lock_path: Path | str,
        clock: Callable[[], datetime],
        read_only: bool = False,
        lock_timeout_seconds: float = TIMEOUT_SECONDS,
        workspace: str = "",
    ) -> Self:
        """Open the lake at a URI of `catalog_uri`; a new one is empty until `migrate`.

        Raises:
            RecordNotFound: read-only, and there is no lake yet.
            StoreUnavailable: it is being made by another process that does not end.
        """
        catalog = parse_catalog(uri)
        lock = WriterLock(lock_path, timeout_seconds=lock_timeout_seconds)
        if read_only or catalog.exists():
            connection = connect(catalog, data_uri, is_read_only=read_only, threads=_THREADS)
        else:
            # attaching makes the catalog: two processes at once would make half of it each
            with lock.hold():
                connection = connect(catalog, data_uri, is_read_only=False, threads=_THREADS)
        return cls(
            connection,
            data_uri=data_uri,
            lock=lock,
            clock=clock,
            is_read_only=read_only,
            workspace=workspace,
        )

    def migrate(self) -> None:
        """Make or renew tables, comments and views; writes nothing where the lake is current.

        Raises:
            StoreError: the lake was written by a newer release, or a migration is missing.
        """
        declaration = declared_schema()
        with lake_errors("read the lake's version"):
            if is_current(self._cursor(), declaration):
                return
        message = f"migrate to version {declaration.version}"
        with self._begun(message=message, run=None) as cursor, lake_errors(message):
            # another process may have migrated while this one waited for the lock
            if not is_current(cursor, declaration):
                apply(cursor, declaration, now=self._clock())

    @property
    def is_current(self) -> bool:
        """Whether it holds the tables and views of this release: `migrate` would write nothing."""
        with lake_errors("read the lake's version"):
            return is_current(self._cursor(), declared_schema())

    def require_current(self) -> None:
        """Raise StoreError unless the tables are those of this release.

        Raises:
            StoreError: an earlier or a later release made them.
        """
        if not self.is_current:
            raise StoreError(
                "The lake's tables are those of an earlier release.",
                remedy="`rpe maintain` renews them, as the next night would",
            )

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Rows of one statement as dictionaries; tables read as `core.batches`, `raw.<source>`.

        Raises:
            StoreError: the statement or the store failed; the message holds no value.
        """
        with self._reading(sql):
            return fetch_rows(self._cursor(), sql, parameters)

    def table(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """The result of one statement as an Arrow table.

        Raises:
            StoreError: the statement or the store failed; the message holds no value.
        """
        with self._reading(sql):
            return self._cursor().execute(sql, list(parameters)).to_arrow_table()

    @contextmanager
    def transaction(self, *, message: str, run: RunRef | None) -> Iterator[Transaction]:
        """Hold the writer lock; commit at the end, roll back on any exception.

        The message and the run stand in DuckLake's commit. A transaction that changed nothing
        makes no snapshot.

        Raises:
            StoreUnavailable: another writer held the lock for longer than the timeout.
            StoreError: read-only, or a transaction is open already.
        """
        with self._begun(message=message, run=run) as cursor:
            yield Transaction(
                cursor,
                recorded_at=self._moment(cursor),
                run_id=run.run_id if run else "",
                data_uri=self.data_uri,
            )
        if self.n_commits % _MERGED_AFTER == 0:
            with suppress(StoreUnavailable):  # the rows are kept; the next time will do
                self.merge_files()

    def writing(self) -> AbstractContextManager[None]:
        """Hold the writer lock over several stores: no other transaction begins meanwhile."""
        return self._lock.hold()

    @property
    def now(self) -> datetime:
        """The time by which a commit would be dated; it never goes back."""
        return self._moment(self._cursor())

    def behind_seconds(self) -> float:
        """How far the clock, as it is, is before the newest run's row; 0 where it is not."""
        with lake_errors("read the last run"):
            sql = "SELECT max(recorded_at) AS at FROM core.runs"
            last = fetch_rows(self._cursor(), sql, [])[0]["at"]
        return max((last - self._clock()).total_seconds(), 0.0) if last else 0.0

    def merge_files(self, *, many: int = _MANY_FILES) -> int:
        """Write the small files of each table that has so many as one; how many they were.

        Every snapshot reads as before. The small files stay until `remove_replaced_files`.

        Raises:
            StoreUnavailable: another writer held the lock for longer than the timeout.
        """
        tables = self.rows(
            f"SELECT DISTINCT schema_name, table_name FROM ducklake_table_info('{ALIAS}')"
            " JOIN duckdb_tables() USING (table_name)"
            " WHERE database_name = current_database() AND file_count >= ? ORDER BY ALL",
            [many],
        )
        if not tables:
            return 0
        with self._begun(message="merge small files", run=None) as cursor:
            merged = [
                cursor.execute(
                    f"CALL ducklake_merge_adjacent_files('{ALIAS}', '{table['table_name']}',"
                    f" schema => '{table['schema_name']}', max_file_size => {_SMALL_BYTES})"
                ).fetchall()
                for table in tables
            ]
        return sum(int(n_files) for rows in merged for _, _, n_files, _ in rows)

    def remove_replaced_files(self) -> int:
        """Remove the files that a merge replaced more than a day ago; how many they were."""
        before = self._clock() - _READ_WITHIN
        with self._lock.hold(), lake_errors("remove replaced files"):
            removed = self._cursor().execute(
                f"CALL ducklake_cleanup_old_files('{ALIAS}', older_than => ?)", [before]
            )
            return len(removed.fetchall())

    def expire_snapshots(self, *, before: datetime) -> int:
        """Let snapshots from before a moment go, but for the last one; how many they were.

        Their rows stay where a later snapshot has them. Files that none has any more stay until
        `remove_replaced_files`.
        """
        with self._lock.hold(), lake_errors("expire old snapshots"):
            expired = self._cursor().execute(
                f"CALL ducklake_expire_snapshots('{ALIAS}', older_than => ?)", [before]
            )
            return len(expired.fetchall())

    def forget_history(self) -> None:
        """Expire every snapshot but the last, and remove the files that no longer count.

        A statement that is reading an old snapshot loses its files.
        """
        with self._lock.hold(), lake_errors("expire old snapshots"):
            cursor, ever = self._cursor(), "older_than => TIMESTAMPTZ '9999-01-01'"
            cursor.execute(f"CALL ducklake_expire_snapshots('{ALIAS}', {ever})").fetchall()
            for tidy in ("ducklake_cleanup_old_files", "ducklake_delete_orphaned_files"):
                cursor.execute(f"CALL {tidy}('{ALIAS}', cleanup_all => true)").fetchall()

    @property
    def has_records(self) -> bool:
        """Whether any table but that of its own making ever got a row that still lies in a file."""
        return bool(
            self.rows(
                f"SELECT 1 FROM ducklake_table_info('{ALIAS}')"
                " WHERE file_count > 0 AND table_name <> 'migrations' LIMIT 1"
            )
        )

    @property
    def snapshot_id(self) -> int:
        """Number of the last committed snapshot."""
        return int(self.rows(f"SELECT id FROM {ALIAS}.current_snapshot() AS t(id)")[0]["id"])

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        for cursor in self._cursors:
            cursor.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _reading(self, sql: str) -> AbstractContextManager[None]:
        return name_damaged_files(self._connection, self.data_uri, doing="read the lake", sql=sql)

    def _moment(self, cursor: Any) -> datetime:
        """The clock's time, but after the last run's row, whose close sealed what came before it.

        Nor is it before what was answered last, however the clock jumps.
        """
        with self._reading("core.runs"):
            last = fetch_rows(cursor, "SELECT max(recorded_at) AS at FROM core.runs", [])[0]["at"]
        earliest = self._latest if last is None else last + timedelta(microseconds=1)
        self._latest = max(self._clock(), earliest, self._latest)
        return self._latest

    def _cursor(self) -> Any:
        # a cursor belongs to one thread; `USE` costs milliseconds, so each thread keeps its own
        cursor = getattr(self._threads, "cursor", None)
        if cursor is None:
            cursor = self._threads.cursor = open_cursor(self._connection)
            self._cursors.append(cursor)
        return cursor

    @contextmanager
    def _begun(self, *, message: str, run: RunRef | None) -> Iterator[Any]:
        if self._is_read_only:
            raise StoreError("The lake is open for reading only.")
        with self._lock.hold():
            if self._is_writing:
                raise StoreError("A transaction is open already: its writes belong into it.")
            with lake_errors("begin to write"):
                cursor = open_cursor(self._connection)
            self._is_writing, began = True, time.time_ns()
            try:
                with lake_errors("begin to write"):
                    _begin(cursor, message=message, run=run)
                yield cursor
                written = flush_files(self.data_uri, since_ns=began - _CLOCK_SLACK_NS)
                hashed = hash_files(written, known=self._hashed)
                with lake_errors("commit"):
                    if hashed:
                        _tell(cursor, message=message, run=run, files=hashed)
                    cursor.execute("COMMIT")
                self._hashed.update(hashed)
                self.n_commits += 1
            except BaseException:
                # a failed COMMIT has rolled back already
                with suppress(duckdb.Error):
                    cursor.execute("ROLLBACK")
                raise
            finally:
                self._is_writing = False
                cursor.close()


def guarded_reader(uri: str, data_uri: str) -> closing[GuardedReader]:
    """The lake for SQL of other people: `query(sql)` runs one reading statement, nothing else.

    Raises:
        RecordNotFound: there is no lake yet.
    """
    return closing(GuardedReader(uri=uri, data_uri=data_uri))


def _begin(cursor: Any, *, message: str, run: RunRef | None) -> None:
    cursor.execute("BEGIN")
    _tell(cursor, message=message, run=run)


def _tell(
    cursor: Any, *, message: str, run: RunRef | None, files: Mapping[str, str] | None = None
) -> None:
    """What DuckLake keeps of a commit: why, by which run, and the files that it wrote by hash."""
    run_facts: dict[str, object] = {"run_id": run.run_id, "flow": run.flow} if run else {}
    extra = canonical_json({**run_facts, FILES: files} if files else run_facts)
    cursor.execute(
        f"CALL {ALIAS}.set_commit_message('rpe', {quote_text(message)},"
        f" extra_info => {quote_text(extra)})"
    )

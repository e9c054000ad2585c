"""PostgreSQL as the stores need it: whether a table is there, and a lock that all machines see."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from filelock import Timeout

from catalog.errors import StoreError, StoreUnavailable
from rpe_core.errors import InputError

PREFIX = "postgres:"
_PASSWORD = re.compile(r"\bpassword\s*=|://[^/@]*:[^/@]*@", re.IGNORECASE)
_CONNECT_SECONDS = 10


def require_no_password(uri: str, where: str) -> None:
    """Refuse a URI with a password in it: URIs end up in logs, process lists and tables.

    Raises:
        InputError: it holds one.
    """
    if _PASSWORD.search(uri):
        raise InputError(
            "The URI holds a password.",
            where=where,
            expected="a URI without one",
            remedy="put it into the file that PGPASSFILE names (.pgpass), which every client reads",
        )


def has_table(database_uri: str, table: str) -> bool:
    """Whether a table is on the search path of the database at `postgres:<libpq keywords>`.

    Raises:
        StoreUnavailable: the server does not answer, or refuses us.
    """
    with _errors(), closing(_connected(database_uri)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [table])
        return bool(cursor.fetchone()[0])


def vacuum_full(database_uri: str) -> None:
    """Write every table of a database anew, without the rows that were deleted from it.

    The statistics that the planner has drawn from them are drawn anew first: they quote values.
    What the server's own log and its back-ups hold goes when they are recycled.

    Raises:
        StoreUnavailable: the server does not answer, or the tables are somebody else's.
    """
    with _errors(), closing(_connected(database_uri)) as connection, connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("VACUUM FULL")


class AdvisoryLock:
    """An advisory lock of a session: the server frees it when the connection of its holder ends.

    It looks like a `FileLock`, so that a writer's lock need not know which of them it holds.
    """

    def __init__(self, database_uri: str, name: str) -> None:
        self._database_uri = database_uri
        digest = hashlib.sha256(f"rpe {name}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)  # PostgreSQL's keys are bigint
        self._connection: Any = None

    def acquire(self, *, timeout: float, poll_interval: float) -> None:
        """Wait for the lock; the server queues us, so nothing is polled.

        Raises:
            Timeout: another session held it for longer (seconds).
            StoreUnavailable: the server does not answer.
        """
        import psycopg2.errors  # only servers need it

        with _errors():
            connection = _connected(self._database_uri)
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, false)",
                                   [f"{max(1, int(timeout * 1000))}ms"])  # fmt: skip
                    cursor.execute("SELECT pg_advisory_lock(%s)", [self._key])
            except psycopg2.errors.LockNotAvailable:
                connection.close()
                raise Timeout("the advisory lock") from None
            except BaseException:
                connection.close()
                raise
        self._connection = connection

    def release(self) -> None:
        """Give the lock back.

        Raises:
            StoreUnavailable: the connection was lost while it was held, so that another writer may
                have been let in.
        """
        connection, self._connection = self._connection, None
        lost = "The writer lock was lost while it was held."
        with _errors(lost), closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [self._key])

    def holder_pid(self) -> int | None:
        """The process of the server that serves the holder; None if nobody holds the lock."""
        high, low = (self._key >> 32) & 0xFFFFFFFF, self._key & 0xFFFFFFFF
        with (
            suppress(StoreError),
            _errors(),
            closing(_connected(self._database_uri)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND classid = %s AND objid = %s",
                [high, low],
            )
            row = cursor.fetchone()
            return int(row[0]) if row else None
        return None


def _connected(database_uri: str) -> Any:
    import psycopg2  # only servers need it

    connection = psycopg2.connect(
        database_uri.removeprefix(PREFIX),
        connect_timeout=_CONNECT_SECONDS,
        application_name="rpe",
        keepalives_idle=30,
    )
    connection.autocommit = True
    return connection


@contextmanager
def _errors(what: str = "The database cannot be reached, or refuses us.") -> Iterator[None]:
    """Raise our own error for psycopg's, whose text names users and addresses."""
    try:
        import psycopg2
    except ImportError:
        raise StoreError(
            "The driver of PostgreSQL is not installed.",
            remedy="install rpe-platform[servers]",
        ) from None
    try:
        yield
    except psycopg2.Error:
        raise StoreUnavailable(
            what,
            where="the server of RPE_LAKE_URI",
            remedy="look whether it runs, and whether PGPASSFILE, PGUSER and pg_hba.conf let us in",
        ) from None

"""Databases: the rows of a query of somebody else's, read only, in a Parquet file of ours."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.contracts.database_rules import one_statement
from catalog.contracts.databases import SERVERS
from catalog.contracts.files import Files
from catalog.contracts.load import read_yaml
from catalog.errors import ContractViolated, StoreUnavailable
from catalog.stores.disk import disk_errors
from catalog.stores.lake.session import CONFIG, extension_path
from catalog.tables.quoting import quote_identifier, quote_text
from rpe_core.errors import InputError
from rpe_core.regular_files import special_kind

BATCH_ROWS = 8192  # of a row group
MEMORY = "1GB"  # for sorting; what does not fit is spilled beside the extract
CONNECT_SECONDS = "10"
_CONFIG = {**CONFIG, "threads": "1", "memory_limit": MEMORY}  # one thread: equal rows, equal bytes
_EXTENSIONS = {"postgresql": "postgres_scanner", "postgres": "postgres_scanner"}
_EXTENSIONS |= {"sqlite": "sqlite_scanner"}
# Types that Parquet or Arrow would round, or that no column of a contract holds as they are
_AS_TEXT = ("UUID", "ENUM", "JSON", "INTERVAL", "BIT", "TIME", "HUGEINT", "UHUGEINT", "BIGNUM")
_NO_TEXT = ("TIMESTAMP",)
_LISTS = re.compile(r"\[\d*\](?=(?:\[\d*\])*$)")


def write_rows(
    files: Files, file: Path, *, bound: str = "", column: str = "", limit: int | None = None
) -> None:
    """Write the rows of a contract's query to a Parquet file, sorted.

    Args:
        files: the contract's `files`, with query and uri.
        file: where to write them; memory is bounded by a batch of it, and 1 GB to sort in.
        bound: SQL literal; rows whose `column` is less are left out, those without one are not.
        column: what `bound` is of.
        limit: so many rows at most, not sorted: a sample.

    Raises:
        StoreUnavailable: the database does not answer.
        InputError: it refuses the query, or us.
        ContractViolated: a cell is not what its column says.
    """
    with (
        disk_errors("the extract", file),
        _database_errors(files.query or ""),
        tempfile.TemporaryDirectory(dir=file.parent, prefix=".spill-") as spill,
        closing(duckdb.connect(":memory:", config=_CONFIG)) as connection,
    ):
        connection.execute(f"SET temp_directory = {quote_text(spill)}")
        _attach(connection, files)
        relation = _relation(files, _bounded(files.query or "", bound, column))
        columns = [
            _cast(name, kind)
            for name, kind, *_ in connection.execute(
                f"DESCRIBE SELECT * FROM {relation}"
            ).fetchall()
        ]
        tail = "ORDER BY ALL" if limit is None else f"LIMIT {limit}"
        sql = f"SELECT {', '.join(columns)} FROM {relation} {tail}"
        batches = connection.execute(sql).to_arrow_reader(BATCH_ROWS)
        with pq.ParquetWriter(file, batches.schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)


def _bounded(query: str, bound: str, column: str) -> str:
    # on lines of its own: a query may end in a comment
    inner = f"(\n{one_statement(query)}\n) AS rows_of_source"
    if not bound:
        return f"SELECT * FROM {inner}"
    name = quote_identifier(column)
    return f"SELECT * FROM {inner} WHERE {name} >= {bound} OR {name} IS NULL"


def _relation(files: Files, sql: str) -> str:
    """What a FROM may name: a server answers in its own SQL, a file is asked in DuckDB's."""
    if urlsplit(files.uri or "").scheme in SERVERS:
        return f"postgres_query('source', {quote_text(sql)})"
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise _refused("is not one SELECT")
    return f"({sql})"


def _cast(name: str, kind: str) -> str:
    is_told = kind.startswith(_AS_TEXT) and not kind.startswith(_NO_TEXT)
    text = f"VARCHAR{''.join(_LISTS.findall(kind))}"  # a list stays one
    return (
        f"CAST({quote_identifier(name)} AS {text}) AS {quote_identifier(name)}"
        if is_told
        else quote_identifier(name)
    )


def _attach(connection: Any, files: Files) -> None:
    parts = urlsplit(files.uri or "")
    login = _login(parts, files.credentials) if parts.scheme in SERVERS else ""
    if extension := _EXTENSIONS.get(parts.scheme):
        connection.execute(f"LOAD {quote_text(str(extension_path(extension)))}")
    connection.execute("SET TimeZone = 'UTC'")
    if login:
        connection.execute(f"CREATE SECRET source_login (TYPE postgres, {login})")
        more = quote_text(f"connect_timeout={CONNECT_SECONDS} options='-c TimeZone=UTC'")
        access = "TYPE postgres, SECRET source_login, READ_ONLY"
        connection.execute(f"ATTACH {more} AS source ({access})")
        return
    path = Path(unquote(parts.path[1:]))
    if kind := special_kind(path):
        raise InputError(
            f"The database is {kind}.", where=path.name, expected="the file of a database"
        )
    if not path.is_file():
        raise StoreUnavailable(
            "The database's file is not there.",
            where=path.name,
            remedy="check files.uri, and whether the file can be reached from here",
        )
    kind = "TYPE sqlite, " if parts.scheme == "sqlite" else ""
    connection.execute(f"ATTACH {quote_text(str(path))} AS source ({kind}READ_ONLY)")
    connection.execute("USE source")


def _login(parts: SplitResult, credentials: str | None) -> str:
    """Options of DuckDB's secret for a server: where it is, and who asks."""
    user, password = _credentials(credentials)
    options = {
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or 5432),
        "DATABASE": unquote(parts.path.strip("/")),
        "USER": user or unquote(parts.username or ""),
        "PASSWORD": password,
    }
    return ", ".join(f"{key} {quote_text(value)}" for key, value in options.items() if value)


def _credentials(file: str | None) -> tuple[str, str]:
    """User and password of the file that a contract names; libpq's own ways where it names none.

    Raises:
        InputError: it holds anything else, which is not told.
    """
    if file is None:
        return "", ""
    keys = read_yaml(Path(file))
    if not keys.keys() <= {"user", "password"} or not all(
        isinstance(value, str | int) for value in keys.values()
    ):
        raise InputError(
            "The file of files.credentials has other keys, or values that are no text.",
            where=Path(file).name,
            expected="two lines, `user: NAME` and `password: WORD`",
        )
    return str(keys.get("user", "")), str(keys.get("password", ""))


Marks = tuple[str, ...]
_LOGIN: Marks = ("authentication", "no password supplied", "pg_hba", 'role "" ')
_ABSENT: Marks = ("could not connect", "connection refused", "could not translate", "timed out",
                  "timeout", "no route", "server closed", "connection to server")  # fmt: skip
_LOCKED: Marks = ("is locked", "could not set lock")
_CELLS: Marks = ("mismatch type", "conversion error", "invalid input syntax", "out of range")
_REFUSALS: tuple[tuple[Marks, str], ...] = (
    (("not a database", "not a valid duckdb"), "is none that the scheme of files.uri names"),
    (("permission denied",), "lets this user not read what the query names"),
    (("read-only", "read only", "cannot execute"), "may only be read, and the query would write"),
    (("does not exist", "not found", "no such"), "has no table, column or function of that name"),
    (
        (
            "syntax error",
            "parser error",
            "multiple commands",
            "failed to prepare query",
            "prepared",
        ),
        "does not understand the query",
    ),
    (("binder error",), "cannot answer the query"),
    (("not implemented", "unsupported"), "gives a column of a type that is not read here"),
)
# What an error quotes: names and cells in quotes, and from `LINE 1:` on the query itself
_QUOTES = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`")
_QUOTED_QUERY = re.compile(r"\nline \d+:.*", re.DOTALL)


@contextmanager
def _database_errors(query: str) -> Iterator[None]:
    """Raise our own error for a driver's, whose text quotes cells, users and addresses."""
    try:
        yield
    except duckdb.Error as error:
        text = str(error).lower().replace(one_statement(query).lower(), "")
        raise _translated(_QUOTES.sub('""', _QUOTED_QUERY.sub("", text))) from None
    except pa.ArrowException:
        raise _translated("") from None


def _translated(text: str) -> Exception:
    def says(marks: Marks) -> bool:
        return any(mark in text for mark in marks)

    if says(_LOGIN):
        return _refused("refuses the credentials")
    if says(_ABSENT):
        return StoreUnavailable(
            "The database does not answer.",
            where="files.uri",
            remedy="look whether it runs and can be reached from here; the next run asks again",
        )
    if says(_LOCKED):
        return StoreUnavailable(
            "The database is locked, for somebody writes to it.",
            where="files.uri",
            remedy="the next run asks again; a copy of the file could be read at any time",
        )
    if says(_CELLS):
        return ContractViolated(
            "A cell of the query is not of the type that its column has.",
            source="",
            where="files.query",
            remedy="cast that column to text in the query; the contract's type is checked here",
            reasons=("unreadable_file",),
        )
    for marks, what in _REFUSALS:
        if says(marks):
            return _refused(what)
    return StoreUnavailable(
        "The database broke off the query.",
        where="files.query",
        remedy="run the query there by hand; the next run asks again",
    )


def _refused(what: str) -> InputError:
    return InputError(
        f"The database {what}.",
        where="files.query, files.uri, files.credentials",
        expected="one SELECT that the user of files.credentials may ask",
        remedy="run the query there by hand, as that user",
    )

"""Extracts: what the query of a source gave that was not there before, each a delivery of its own.

A source that is a query has no files, so its rows are written to some, one an extract that brings
news: `extracts/<source>/<query>/000001.parquet`. From there on they are files as any other.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from catalog.contracts.contract import SourceContract
from catalog.databases import write_rows
from catalog.readers.files import file_sha256
from catalog.stores.disk import disk_errors
from catalog.stores.lake_session import quoted_text
from catalog.tables.migrate import quoted
from rpe_core.fingerprint import SHORT, fingerprint

_SCRATCH = ".new-"


def located(contract: SourceContract, place: Path) -> SourceContract:
    """The contract with its extracts below a folder; one of files is as it was."""
    files = contract.files
    if files.query is None:
        return contract
    asked = fingerprint([files.uri, files.query, files.cursor])[:SHORT]
    path = str(place / contract.source / asked / "*.parquet")
    placed = files.model_copy(update={"path": path, "order": "natural"})
    return contract.model_copy(update={"files": placed})


def refresh(
    contract: SourceContract, *, withdrawn: Collection[str] = (), limit: int | None = None
) -> bool:
    """Ask the database of a located contract; whether it gave what no extract holds.

    With a cursor only rows at or above the highest that was seen are asked for, and those without
    one. Without a cursor all rows are, and written anew if any of them has changed. `withdrawn` are
    hashes of extracts that may not lie here again.

    Raises:
        StoreUnavailable, InputError, ContractViolated: as `databases.write_rows`.
    """
    folder = Path(contract.files.path).parent
    with disk_errors("the extracts", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_SCRATCH}*"):  # by an ingest that was killed
            shutil.rmtree(left)
    held = sorted(folder.glob("[0-9]*.parquet"))
    cursor = _cursor_column(contract)
    bound = _bound(held, cursor)
    with (
        disk_errors("the extracts", folder),
        tempfile.TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch,
    ):
        fresh = Path(scratch) / "fresh.parquet"
        n_rows = write_rows(contract.files, fresh, bound=bound, column=cursor, limit=limit)
        if held and bound:
            fresh = _beyond(fresh, held, cursor, bound, Path(scratch) / "news.parquet")
            n_rows = pq.read_metadata(fresh).num_rows
        elif held and _is_same(fresh, held[-1]):
            return False
        if (held and not n_rows) or file_sha256(str(fresh)) in withdrawn:
            return False
        fresh.rename(folder / f"{_number(held) + 1:06d}.parquet")
    return True


@contextmanager
def apart(contract: SourceContract, *, is_empty: bool = False) -> Iterator[SourceContract]:
    """The contract with its extracts in a folder that is gone afterwards; one of files as it was.

    An empty one knows of no extract, so that its database would be asked for all rows.
    """
    if contract.files.query is None:
        yield contract
        return
    with tempfile.TemporaryDirectory() as place:
        other = located(contract, Path(place))
        folder = Path(other.files.path).parent
        folder.mkdir(parents=True)
        held = [] if is_empty else Path(contract.files.path).parent.glob("[0-9]*.parquet")
        for file in held:
            (folder / file.name).symlink_to(file)
        yield other


@contextmanager
def sampled(contract: SourceContract, *, rows: int) -> Iterator[SourceContract]:
    """The contract with some rows of its database as its only extract; one of files as it was.

    Raises:
        StoreUnavailable, InputError, ContractViolated: as `databases.write_rows`.
    """
    with apart(contract, is_empty=True) as other:
        if other.files.query is not None:
            refresh(other, limit=rows)
        yield other


def erase(place: Path, source: str, sha256s: Collection[str] | None = None) -> None:
    """Remove the extracts of a source, or those of them with these hashes."""
    folder = place / source
    if sha256s is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for file in folder.glob("*/*.parquet"):
        if file_sha256(str(file)) in sha256s:
            file.unlink()


def _number(held: Sequence[Path]) -> int:
    return max((int(file.stem) for file in held), default=0)


def _cursor_column(contract: SourceContract) -> str:
    """What the query calls the cursor; '' without one."""
    cursor = contract.files.cursor
    if cursor is None:
        return ""
    told = contract.columns[cursor].in_file
    return told if isinstance(told, str) else cursor


def _bound(held: Sequence[Path], cursor: str) -> str:
    """The highest cursor of the extracts as a literal of SQL; '' if there is none yet."""
    if not cursor or not held:
        return ""
    with closing(_files_only()) as connection:
        try:
            value = connection.execute(
                f"SELECT max({quoted(cursor)}) FROM {_listed(held)}"
            ).fetchone()[0]
        except duckdb.Error:  # a column of another name or type before: all is asked for again
            return ""
    return "" if value is None else _literal(value)


def _literal(value: Any) -> str:
    """A moment, a day or a number as every one of the databases writes it.

    >>> _literal(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    "TIMESTAMPTZ '2026-01-02 03:04:05.000006+00:00'"
    >>> _literal(date(2026, 1, 2)), _literal(7)
    ("DATE '2026-01-02'", '7')
    """
    if isinstance(value, datetime):
        kind = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
        told = value if value.tzinfo is None else value.astimezone(UTC)
        return f"{kind} '{told.isoformat(sep=' ', timespec='microseconds')}'"
    return f"DATE '{value.isoformat()}'" if isinstance(value, date) else str(value)


def _beyond(fresh: Path, held: Sequence[Path], cursor: str, bound: str, place: Path) -> Path:
    """The rows of a file that no extract holds, at the bound or without a cursor."""
    name = quoted(cursor)
    seen = f"SELECT * FROM {_listed(held)} WHERE {name} >= {bound} OR {name} IS NULL"
    with closing(_files_only()) as connection:
        try:
            connection.execute(
                f"COPY (SELECT * FROM (SELECT * FROM {_listed([fresh])} EXCEPT ALL {seen})"
                f" ORDER BY ALL) TO {quoted_text(str(place))} (FORMAT parquet)"
            )
        except duckdb.Error:  # other columns than before: every row is news
            return fresh
    return place


def _is_same(fresh: Path, held: Path) -> bool:
    """Whether two files hold the same rows, which are sorted in both, whatever wrote them."""
    one, other = pq.ParquetFile(fresh), pq.ParquetFile(held)
    if one.schema_arrow != other.schema_arrow or one.metadata.num_rows != other.metadata.num_rows:
        return False
    pairs = zip(one.iter_batches(), other.iter_batches(), strict=False)
    return all(left.equals(right) for left, right in pairs)


def _files_only() -> Any:
    connection = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET threads = 1")
    return connection


def _listed(held: Sequence[Path]) -> str:
    names = ", ".join(quoted_text(str(file)) for file in held)
    return f"read_parquet([{names}], union_by_name = true)"

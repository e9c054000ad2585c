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
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.contracts.contract import SourceContract
from catalog.contracts.paths import Name, column_paths, flat_name
from catalog.intake.databases import write_rows
from catalog.intake.deliveries import refused_bytes
from catalog.queries.withdrawn import withdrawn_bytes, withdrawn_sources
from catalog.readers.files import file_sha256
from catalog.stores.disk import disk_errors
from catalog.stores.rows import Rows
from catalog.tables.quoting import quote_identifier, quote_text, quote_texts
from rpe_core.errors import InputError
from rpe_core.fingerprint import SHORT, fingerprint

_SCRATCH = ".new-"
_WITHDRAWN = "withdrawn"  # an empty file: some of this query's extracts were erased
_FILE = '"extract of rpe"'  # which none of its columns is called


def with_extracts_below(contract: SourceContract, root: Path) -> SourceContract:
    """The contract with its extracts below a folder; one of files is as it was."""
    files = contract.files
    if files.query is None:
        return contract
    asked = fingerprint([files.uri, files.query, files.cursor])[:SHORT]
    path = str(root / contract.source / asked / "*.parquet")
    placed = files.model_copy(update={"path": path, "order": "natural"})
    return contract.model_copy(update={"files": placed})


def bring_extract(lake: Rows, contract: SourceContract) -> None:
    """Bring what is new in the database of a located contract; of files, or withdrawn, nothing.

    Raises:
        StoreError, InputError, ContractViolated: as `refresh`.
    """
    if contract.files.query is None or contract.source in withdrawn_sources(lake):
        return
    refused = refused_bytes(lake, contract)
    refresh(contract, withdrawn=withdrawn_bytes(lake), refused=refused)


def refresh(
    contract: SourceContract,
    *,
    withdrawn: Collection[str] = (),
    refused: Collection[str] = (),
    limit: int | None = None,
) -> bool:
    """Ask the database of a located contract; whether it gave what no extract holds.

    With a cursor only rows at or above the highest that was seen are asked for, and those without
    one. Without a cursor all rows are, and written anew if any of them has changed. `withdrawn` are
    hashes of extracts that may not lie here again. `refused` are those of which nothing landed:
    what they hold is asked for again, and where the database gives it otherwise they are replaced.

    Raises:
        StoreUnavailable, InputError, ContractViolated: as `databases.write_rows`.
        InputError: rows of this query were withdrawn, which it may give again.
    """
    folder = Path(contract.files.path).parent
    _require_not_withdrawn(folder)
    with disk_errors("the extracts", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_SCRATCH}*"):  # by an ingest that was killed
            shutil.rmtree(left)
        lying = sorted(folder.glob("[0-9]*.parquet"))
        in_vain = [file for file in lying if refused and file_sha256(str(file)) in refused]
        held = [file for file in lying if file not in in_vain]
        in_vain = _replaced(in_vain, held)
    cursor = _cursor_column(contract)
    bound = _bound(held, cursor)
    with (
        disk_errors("the extracts", folder),
        tempfile.TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch,
    ):
        fresh = Path(scratch) / "fresh.parquet"
        write_rows(contract.files, fresh, bound=bound, column=cursor, limit=limit)
        _require_ordered(fresh, cursor)
        if held and bound:
            seen = _latest(held, _key_columns(contract))
            fresh = _beyond(fresh, seen, cursor, bound, Path(scratch) / "news.parquet")
        if not _is_news(fresh, [] if bound else held[-1:], in_vain, has_more=bool(held)):
            return False
        if file_sha256(str(fresh)) in withdrawn:
            return False
        # counted over all queries of the source: what another one gave before came earlier
        number = _number([*folder.parent.glob("*/[0-9]*.parquet"), *lying]) + 1
        fresh.rename(folder / f"{number:06d}.parquet")
        _replaced(in_vain, [fresh.with_stem(f"{number:06d}")])
    return True


def _require_not_withdrawn(folder: Path) -> None:
    """Raise InputError for a query that gave what was withdrawn: no hash knows its rows again."""
    if (folder / _WITHDRAWN).exists():
        raise InputError(
            "Rows that this query returned were withdrawn, and it may return them again.",
            where="files.query",
            expected="a query that returns none of them; it starts from the first row again",
            remedy="exclude them in files.query; if the database no longer has them, or has them"
            " corrected, say so in a comment of the query, `-- withdrawn rows are out`",
        )


def _is_news(fresh: Path, last: Sequence[Path], in_vain: Sequence[Path], *, has_more: bool) -> bool:
    """Whether no extract says the same; refused ones go where the database says what landed."""
    if any(_is_same(fresh, file) for file in in_vain[-1:]):
        return False
    is_known = any(_is_same(fresh, file) for file in last)
    if is_known or (has_more and not pq.read_metadata(fresh).num_rows):
        for file in in_vain:
            file.unlink()
        return False
    return True


def _replaced(in_vain: Sequence[Path], held: Sequence[Path]) -> list[Path]:
    """Remove refused extracts that a later one replaced; those that none did."""
    last = _number(held)
    for file in in_vain:
        if int(file.stem) < last:
            file.unlink()
    return [file for file in in_vain if int(file.stem) > last]


@contextmanager
def apart(contract: SourceContract, *, is_empty: bool = False) -> Iterator[SourceContract]:
    """The contract with its extracts in a folder that is gone afterwards; one of files as it was.

    An empty one knows of no extract, so that its database would be asked for all rows.
    """
    if contract.files.query is None:
        yield contract
        return
    with tempfile.TemporaryDirectory() as root:
        other = with_extracts_below(contract, Path(root))
        folder = Path(other.files.path).parent
        folder.mkdir(parents=True)
        here = Path(contract.files.path).parent
        extracts = here.parent.glob("*/[0-9]*.parquet")  # of other queries too: they are counted
        held = [] if is_empty else [*extracts, *here.glob(_WITHDRAWN)]
        for file in held:
            link = folder.parent / file.parent.name / file.name
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(file)
        yield other


@contextmanager
def with_sampled_rows(contract: SourceContract, *, rows: int) -> Iterator[SourceContract]:
    """The contract with some rows of its database as its only extract; one of files as it was.

    Raises:
        StoreUnavailable, InputError, ContractViolated: as `databases.write_rows`.
    """
    with apart(contract, is_empty=True) as other:
        if other.files.query is not None:
            refresh(other, limit=rows)
        yield other


def erase(root: Path, source: str, sha256s: Collection[str] | None = None) -> None:
    """Remove the extracts of a source, or those of them with these hashes.

    A query of which some are removed is not asked again, before it is another one.
    """
    folder = root / source
    if sha256s is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for file in folder.glob("*/*.parquet"):
        if file_sha256(str(file)) in sha256s:
            file.with_name(_WITHDRAWN).touch()
            file.unlink()


def _number(held: Sequence[Path]) -> int:
    return max((int(file.stem) for file in held), default=0)


def _cursor_column(contract: SourceContract) -> str:
    """What the query calls the cursor; '' without one."""
    cursor = contract.files.cursor
    return "" if cursor is None else str(flat_name(cursor, contract.columns[cursor]))


def _key_columns(contract: SourceContract) -> list[str]:
    """What the query calls the columns that the key is made of."""
    name, rule = contract.key_column, contract.columns[contract.key_column]
    flat = flat_name(name, rule)
    if flat is not None:
        return [str(flat)]
    tops = (path[0] for path in column_paths(name, rule))
    return list(dict.fromkeys(step.name for step in tops if isinstance(step, Name)))


def _require_ordered(fresh: Path, cursor: str) -> None:
    """Raise InputError where the cursor's column is of a type in which later is not more."""
    schema = pq.read_schema(fresh)
    if not cursor or cursor not in schema.names:
        return  # judging the extract tells that the column is missing
    kind = schema.field(cursor).type
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_nested(kind):
        raise InputError(
            "The cursor's column comes as text, in which later is not always more.",
            where="files.cursor",
            expected="a column of numbers, days or moments",
            remedy="cast it in the query: CAST(changed_at AS TIMESTAMP) AS changed_at, or BIGINT",
        )


def _bound(held: Sequence[Path], cursor: str) -> str:
    """The highest cursor of the extracts as a literal of SQL; '' if there is none yet.

    Infinity is above every bound, and so asked for each time.
    """
    if not cursor or not held:
        return ""
    name = quote_identifier(cursor)
    with closing(_files_only()) as connection:
        try:
            value = connection.execute(
                f"SELECT max({name}) FILTER (isfinite({name})) FROM {_listed(held)}"
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
        moment = value if value.tzinfo is None else value.astimezone(UTC)
        return f"{kind} '{moment.isoformat(sep=' ', timespec='microseconds')}'"
    return f"DATE '{value.isoformat()}'" if isinstance(value, date) else str(value)


def _latest(held: Sequence[Path], keys: Sequence[str]) -> str:
    """SQL of what the extracts hold: of rows of one key those that the last extract gave."""
    by = ", ".join(map(quote_identifier, keys))
    return (
        f"SELECT * EXCLUDE ({_FILE}) FROM {_listed(held, f'filename = {_FILE}')}"
        f" QUALIFY {_FILE} = max({_FILE}) OVER (PARTITION BY {by})"
    )


def _beyond(fresh: Path, seen: str, cursor: str, bound: str, out: Path) -> Path:
    """The rows of a file that `seen` does not give, at the bound or without a cursor."""
    name = quote_identifier(cursor)
    known = f"SELECT * FROM ({seen}) WHERE {name} >= {bound} OR {name} IS NULL"
    with closing(_files_only()) as connection:
        try:
            connection.execute(
                f"COPY (SELECT * FROM (SELECT * FROM {_listed([fresh])} EXCEPT ALL {known})"
                f" ORDER BY ALL) TO {quote_text(str(out))} (FORMAT parquet)"
            )
        except duckdb.Error:  # other columns than before: every row is news
            return fresh
    return out


def _is_same(fresh: Path, held: Path) -> bool:
    """Whether two files hold the same rows, which are sorted in both, whatever wrote them."""
    if file_sha256(str(fresh)) == file_sha256(str(held)):
        return True
    new, other = pq.ParquetFile(fresh), pq.ParquetFile(held)
    if new.schema_arrow != other.schema_arrow or new.metadata.num_rows != other.metadata.num_rows:
        return False
    pairs = zip(new.iter_batches(), other.iter_batches(), strict=False)
    return all(left.equals(right) for left, right in pairs)


def _files_only() -> Any:
    connection = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET threads = 1")
    return connection


def _listed(held: Sequence[Path], more: str = "") -> str:
    names = quote_texts(held)
    return f"read_parquet([{names}], union_by_name = true{', ' * bool(more)}{more})"

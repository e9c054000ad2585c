"""LoRA-VecDB: representations in LanceDB, one table per encoder, searched exactly."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog.errors import RecordConflict, RecordNotFound, StoreError
from catalog.stores.locks import TIMEOUT_SECONDS, WriterLock
from catalog.stores.object_store import is_in_bucket
from catalog.stores.vectors.connection import connect, vector_errors, without_words
from catalog.stores.vectors.files import mark_cleaning
from catalog.stores.vectors.library import Allowed, Library, LibrarySnapshot
from catalog.stores.vectors.parts import remove_unnamed
from catalog.stores.vectors.rewrites import finish_rewrites, rewrite
from catalog.stores.vectors.rows import (
    PREFIX,
    FiledRow,
    as_representation,
    as_table,
    filed_columns,
    filed_rows,
    table_name,
    table_schema,
)
from catalog.stores.vectors.shelves import forget, open_shelf, table_token
from catalog.tables.quoting import quote_texts
from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.records import Representation

Vector = npt.NDArray[np.float64]

Filed = tuple[Representation, str | None]

_ASKED = 512  # keys looked up at once
_WRITTEN = 4096  # rows of one write: their memory is bounded
_READ = 4096  # rows that are hashed at once


class Vectors:
    """Where adapters are filed: (representation, adapter) -> z, per encoder.

    Vectors of different encoders lie in different tables, so none can ever be compared with a
    foreign one. z is kept in fp64 exactly as given. What a search may see is the caller's to say,
    by adapter ids that have a row in the lake.
    """

    def __init__(
        self, database: Any, *, uri: str, lock: WriterLock, parts: Path | None = None
    ) -> None:
        self._database, self._uri, self._lock = database, uri, lock
        self._shelves = parts or Path(uri) / "shelves"
        self._opened: dict[str, tuple[tuple[str, int], LibrarySnapshot]] = {}

    @property
    def uri(self) -> str:
        """Where the tables lie."""
        return self._uri

    @classmethod
    def open(
        cls,
        uri: str,
        *,
        lock_path: Path | str,
        lock_timeout_seconds: float = TIMEOUT_SECONDS,
        parts: Path | None = None,
        read_only: bool = False,
    ) -> Self:
        """Open the store at a folder, or at an object store; a folder is made if it is missing.

        With `read_only` it is not.

        `parts` is the folder of what is mapped into memory, on this machine in any case; by
        default within the store.

        Raises:
            RecordNotFound: read-only, and there is no such folder.
            StoreError: the folder cannot be made or read.
        """
        if read_only and not is_in_bucket(uri) and not Path(uri).is_dir():
            raise RecordNotFound(
                "There is no vector store here: it is gone, or was never made.",
                where=uri,
                remedy="`rpe repair` makes it again from the lake, `rpe init` in a new workspace",
            )
        database = connect(uri)
        lock = WriterLock(lock_path, timeout_seconds=lock_timeout_seconds)
        return cls(database, uri=uri, lock=lock, parts=parts)

    def put(self, representation: Representation, *, adapter_id: str | None = None) -> bool:
        """File a representation, by itself or under an adapter; returns whether it was new.

        The key is (representation, adapter): two recipes trained on one dataset version share a
        place and are two candidates.

        Raises:
            InputError: z or variance are empty, of different length or not finite.
            ShapeMismatch: the encoder's other vectors have another dimension.
            RecordConflict: the key is there with another vector.
        """
        return self.put_many([(representation, adapter_id)]) == 1

    def put_many(self, filed: Sequence[Filed]) -> int:
        """File many in one write per encoder; returns how many were new.

        Raises:
            InputError, ShapeMismatch, RecordConflict: as `put`, before anything is written.
        """
        for representation, _ in filed:
            _require_finite(representation)
        # the lock covers the look and the write: merge_insert duplicates keys under two writers
        with self._lock.hold(), vector_errors("write a vector", self._uri):
            finish_rewrites(self._uri)
            writes = []
            for encoder in sorted({r.encoder_id for r, _ in filed}):
                rows = [pair for pair in filed if pair[0].encoder_id == encoder]
                table = self._table(encoder, dimension=len(rows[0][0].z))
                for representation, _ in rows:
                    _require_dimension(table.schema, len(representation.z), encoder)
                writes.append((table, self._new(table, rows)))
            for table, new in writes:
                for first in range(0, len(new), _WRITTEN):
                    table.add(as_table(new[first : first + _WRITTEN], table.schema))
        return sum(len(new) for _, new in writes)

    def representation(self, representation_id: str) -> Representation:
        """The representation with this id, z and variance bit for bit as they were given.

        Raises:
            RecordNotFound: there is none.
        """
        return self.representations([representation_id])[representation_id]

    def representations(self, representation_ids: Collection[str]) -> dict[str, Representation]:
        """Representations by id, in one read per encoder.

        Raises:
            RecordNotFound: one of them is not there.
        """
        by_id: dict[str, Representation] = {}
        if not representation_ids:
            return by_id
        with without_words(), vector_errors("read the vectors", self._uri):
            for table in self._tables():
                rows = self._rows(
                    table, f"representation_id IN ({quote_texts(sorted(representation_ids))})"
                )
                by_id.update((row["representation_id"], as_representation(row)) for row in rows)
        for representation_id in representation_ids:
            if representation_id not in by_id:
                raise RecordNotFound(
                    "No vector is filed under this representation.",
                    where=representation_id,
                    remedy="`rpe repair` files again what is on record, `rpe embed` what is new",
                )
        return by_id

    def library(self, encoder_id: str, *, allow: Allowed) -> Library:
        """The allowed adapters of an encoder as they stand now, opened for many searches."""
        return Library(self._shelf(encoder_id), allow, renew=lambda: self._remade(encoder_id))

    def dimension(self, encoder_id: str) -> int | None:
        """Dimension of an encoder's vectors; None while it has none."""
        with without_words(), vector_errors("read the vectors", self._uri):
            table = self._find(encoder_id)
            return None if table is None else int(table.schema.field("z").type.list_size)

    def keys(self) -> set[str]:
        """Ids of all representations."""
        return self._ids("representation_id")

    def filed(self, encoder_id: str, *, is_hashed: bool) -> list[FiledRow]:
        """What is filed under an encoder; with `is_hashed` each vector is read, and hashed.

        Raises:
            StoreError: its table cannot be read.
        """
        with without_words(), vector_errors("read the vectors", self._uri):
            table = self._find(encoder_id)
            if table is None:
                return []
            batches = table.search().select(filed_columns(is_hashed=is_hashed)).to_batches(_READ)
            return [row for batch in batches for row in filed_rows(batch)]

    def adapter_ids(self) -> set[str]:
        """Ids of all adapters that are filed."""
        return self._ids("adapter_id")

    def delete(
        self, representation_ids: Collection[str], *, adapter_ids: Collection[str] = ()
    ) -> None:
        """Remove representations with all adapters filed under them, from the disk as well.

        Of `adapter_ids` their filing goes alone.
        """
        named = {"representation_id": representation_ids, "adapter_id": adapter_ids}
        conditions = [
            f"{column} IN ({quote_texts(sorted(ids))})" for column, ids in named.items() if ids
        ]
        if not conditions:
            return
        with self._lock.hold(), vector_errors("delete vectors", self._uri):
            finish_rewrites(self._uri)
            for table in self._tables():
                # first, so that a kill in between leaves a table whose parts are made again
                forget(self._shelves / table.name)
                table.delete(" OR ".join(conditions))
                # the newest version quotes the condition that made it: one more, so that it ages
                table.delete("false")
            self._opened.clear()
        self.optimize()

    def tokens(self) -> dict[str, str]:
        """Table -> what tells it from one made later under its name; without what cannot be opened.

        Raises:
            StoreError: the store cannot be reached.
        """
        with without_words(), vector_errors("look for the vectors", self._uri):
            names = list(self._names())
        tokens = {}
        for name in names:
            with suppress(StoreError), without_words(), vector_errors("read a table", self._uri):
                tokens[name] = table_token(self._database.open_table(name))
        return tokens

    def unreadable(self) -> list[str]:
        """Names of tables of which not every row can be read."""
        with without_words(), vector_errors("look for the vectors", self._uri):
            names = list(self._names())
        unreadable = []
        for name in names:
            try:
                with without_words(), vector_errors("read the vectors", self._uri):
                    table = self._database.open_table(name)
                    table.list_versions()  # reads what a compaction will read
                    n_read = sum(len(batch) for batch in table.search().to_batches(_WRITTEN))
                    is_whole = n_read == table.count_rows()
            except StoreError:
                is_whole = False
            if not is_whole:
                unreadable.append(name)
        return unreadable

    def give_up(self, name: str, *, aside: Callable[[Path, str], None]) -> None:
        """Take a table that cannot be read out of the store; its rows are filed again by others.

        A folder is handed to `aside`; what lies in a bucket is dropped.
        """
        with self._lock.hold(), vector_errors("give up a table of vectors", self._uri):
            self._put_aside(name, aside)

    def write_again(self, name: str, *, aside: Callable[[Path, str], None]) -> None:
        """Give a table new files with the rows that it has; the old ones go to `aside`."""
        with self._lock.hold(), vector_errors("write a table of vectors again", self._uri):
            give_up = partial(self._put_aside, name, aside)
            rewrite(self._database, self._uri, name, give_up=give_up)

    def optimize(self) -> None:
        """Compact every table and remove old versions, which Lance keeps until told otherwise."""
        with (
            self._lock.hold(),
            vector_errors("compact the vectors", self._uri),
            mark_cleaning(self._uri),
        ):
            finish_rewrites(self._uri)
            for table in self._tables():
                with warnings.catch_warnings():
                    # it warns of readers of an old version; ours open the newest for each call
                    warnings.simplefilter("ignore", UserWarning)
                    table.optimize(cleanup_older_than=timedelta(0))
                remove_unnamed(self._shelves / table.name)

    def _put_aside(self, name: str, aside: Callable[[Path, str], None]) -> None:
        forget(self._shelves / name)
        self._opened.clear()
        if is_in_bucket(self._uri):
            self._database.drop_table(name)
        else:
            aside(Path(self._uri) / f"{name}.lance", f"vectors/{name}.lance")

    def _shelf(self, encoder_id: str) -> LibrarySnapshot:
        """The adapters of an encoder, mapped; from memory where the table has not moved on."""
        try:
            return self._newest(encoder_id)
        except StoreError:
            # a version that was being read may have been cleaned away: once more, from the newest
            return self._newest(encoder_id)

    def _newest(self, encoder_id: str) -> LibrarySnapshot:
        with without_words(), vector_errors("search the vectors", self._uri):
            table = self._find(encoder_id)
            if table is None:
                return LibrarySnapshot(encoder_id, None, [])
            state = (table_token(table), table.version)
            known = self._opened.get(table.name)
            if known is None or known[0] != state:
                shelf = open_shelf(table, self._shelves / table.name, encoder_id=encoder_id)
                known = self._opened[table.name] = (state, shelf)
            return known[1]

    def _remade(self, encoder_id: str) -> LibrarySnapshot:
        name = table_name(encoder_id)
        forget(self._shelves / name)
        self._opened.pop(name, None)
        return self._shelf(encoder_id)

    def _new(self, table: Any, filed: Sequence[Filed]) -> list[Filed]:
        """Those whose key is not there; what is there under it must be equal."""
        known: dict[str, tuple[Representation, set[str | None]]] = {}
        ids = sorted({representation.representation_id for representation, _ in filed})
        for first in range(0, len(ids), _ASKED):
            condition = f"representation_id IN ({quote_texts(ids[first : first + _ASKED])})"
            for row in self._rows(table, condition):
                entry = known.setdefault(row["representation_id"], (as_representation(row), set()))
                entry[1].add(row["adapter_id"])
        new = []
        for representation, adapter_id in filed:
            key = representation.representation_id
            filed_as = replace(representation, n_groups=None, shares=())  # the lake holds these
            there, adapters = known.setdefault(key, (filed_as, set()))
            if there != filed_as:
                raise RecordConflict(
                    "A representation with this id is filed with another content.",
                    where=key,
                    remedy="what made it has changed, so its id must change as well",
                )
            if adapter_id not in adapters:
                adapters.add(adapter_id)
                new.append((representation, adapter_id))
        return new

    def _table(self, encoder_id: str, *, dimension: int) -> Any:
        table = self._find(encoder_id)
        if table is None:
            return self._database.create_table(
                table_name(encoder_id), schema=table_schema(dimension)
            )
        _require_dimension(table.schema, dimension, encoder_id)
        return table

    def _find(self, encoder_id: str) -> Any | None:
        name = table_name(encoder_id)
        return self._database.open_table(name) if name in set(self._names()) else None

    def _tables(self) -> Iterator[Any]:
        for name in self._names():
            yield self._database.open_table(name)

    def _names(self) -> Iterator[str]:
        token = None
        while True:
            page = self._database.list_tables(page_token=token)
            yield from (name for name in page.tables if name.startswith(PREFIX))
            token = page.page_token
            if not token:
                return

    def _ids(self, column: str) -> set[str]:
        with without_words(), vector_errors("read the vectors", self._uri):
            return {
                row[column]
                for table in self._tables()
                for row in self._rows(table, f"{column} IS NOT NULL", columns=[column])
            }

    def _rows(
        self, table: Any, condition: str | None, *, columns: list[str] | None = None
    ) -> list[dict[str, Any]]:
        query = table.search()
        if condition:
            query = query.where(condition)
        if columns:
            query = query.select(columns)
        rows: list[dict[str, Any]] = query.to_arrow().to_pylist()
        return rows


def _require_finite(representation: Representation) -> None:
    z, variance = np.asarray(representation.z), np.asarray(representation.variance)
    if not len(z) or z.shape != variance.shape or not np.isfinite([z, variance]).all():
        raise InputError(
            "A representation must be finite, with one variance per dimension.",
            where=representation.representation_id,
        )


def _require_dimension(schema: pa.Schema, dimension: int, encoder_id: str) -> None:
    expected = schema.field("z").type.list_size
    if dimension != expected:
        raise ShapeMismatch(
            f"The vector has {dimension} dimensions.",
            where=encoder_id,
            expected=f"{expected} dimensions",
        )

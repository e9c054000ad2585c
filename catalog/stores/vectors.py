"""LoRA-VecDB: representations in LanceDB, one table per encoder, searched exactly."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog.errors import RecordConflict, RecordNotFound, StoreError
from catalog.stores.disk import disk_errors
from catalog.stores.locks import TIMEOUT_SECONDS, WriterLock
from catalog.stores.vector_rows import (
    PREFIX,
    as_representation,
    as_table,
    ranked,
    table_name,
    table_schema,
    text,
    texts,
)
from rpe_core.errors import InputError, RpeError, ShapeMismatch
from rpe_core.records import Candidate, Representation

Vector = npt.NDArray[np.float64]

_PRESELECTED = 32  # rows taken beyond k before distances are computed again in fp64
_SINGLE = 2.0**-22  # relative error of Lance's distances, which it computes in single precision
_LARGEST = 1e18  # a coordinate whose square still is a single


class Vectors:
    """Where adapters are filed: (representation, adapter) -> z, per encoder.

    Vectors of different encoders lie in different tables, so none can ever be compared with a
    foreign one. z is kept in fp64 exactly as given. What a search may see is the caller's to say,
    by adapter ids that have a row in the lake.
    """

    def __init__(self, database: Any, *, uri: str, lock: WriterLock) -> None:
        self._database, self._uri, self._lock = database, uri, lock

    @classmethod
    def open(
        cls, uri: str, *, lock_path: Path, lock_timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Self:
        """Open the store at a folder, which is made if it is missing.

        Raises:
            StoreError: the folder cannot be made or read.
        """
        # imported here because it takes 1.4 s, which `rpe --help` must not pay
        import lancedb

        with _vector_errors("open the vectors", uri):
            database = lancedb.connect(uri)
        return cls(
            database, uri=uri, lock=WriterLock(lock_path, timeout_seconds=lock_timeout_seconds)
        )

    def put(self, representation: Representation, *, adapter_id: str | None = None) -> bool:
        """File a representation, by itself or under an adapter; returns whether it was new.

        The key is (representation, adapter): two recipes trained on one dataset version share a
        place and are two candidates.

        Raises:
            InputError: z or variance are empty, of different length or not finite.
            ShapeMismatch: the encoder's other vectors have another dimension.
            RecordConflict: the key is there with another vector.
        """
        _require_finite(representation)
        # the lock covers the look and the write: merge_insert duplicates keys under two writers
        with self._lock.hold(), _vector_errors("write a vector", self._uri):
            table = self._table(representation.encoder_id, dimension=len(representation.z))
            known = self._rows(
                table, f"representation_id = {text(representation.representation_id)}"
            )
            if any(as_representation(row) != representation for row in known):
                raise RecordConflict(
                    "A representation with this id is filed with another content.",
                    where=representation.representation_id,
                    remedy="what made it has changed, so its id must change as well",
                )
            if any(row["adapter_id"] == adapter_id for row in known):
                return False
            table.add(as_table(representation, adapter_id, table.schema))
        return True

    def representation(self, representation_id: str) -> Representation:
        """The representation with this id, z and variance bit for bit as they were given.

        Raises:
            RecordNotFound: there is none.
        """
        with _vector_errors("read a vector", self._uri):
            for table in self._tables():
                rows = self._rows(table, f"representation_id = {text(representation_id)}")
                if rows:
                    return as_representation(rows[0])
        raise RecordNotFound(
            "No representation has this id.", where=representation_id, remedy="run `rpe embed`"
        )

    def search(
        self,
        z: Sequence[float] | Vector,
        *,
        encoder_id: str,
        k: int,
        allow: Collection[str],
        exclude_sources: Collection[str] = (),
    ) -> list[Candidate]:
        """The k nearest of the allowed adapters, nearest first, equal distances by adapter id.

        Lance scans all rows in single precision for a preselection; distances are then computed in
        fp64, and the preselection grows until no row outside it can be among the k nearest.

        Raises:
            InputError: k < 1, or z is not finite (Lance would return nothing, silently).
            ShapeMismatch: z has another dimension than the encoder.
        """
        target = np.asarray(z, dtype=np.float64)
        if k < 1:
            raise InputError("k must be at least 1.", expected="k >= 1")
        if target.ndim != 1 or not np.isfinite(target).all():
            raise InputError("The vector to search for is not finite.", expected="finite (d,)")
        with _vector_errors("search the vectors", self._uri):
            table = self._find(encoder_id)
            if table is None or not allow:
                return []
            _require_dimension(table.schema, len(target), encoder_id)
            condition = f"adapter_id IN ({texts(allow)})"
            if exclude_sources:
                condition += f" AND source NOT IN ({texts(exclude_sources)})"
            return self._nearest(table, target, k, condition)

    def keys(self) -> set[str]:
        """Ids of all representations."""
        with _vector_errors("read the vectors", self._uri):
            return {
                row["representation_id"]
                for table in self._tables()
                for row in self._rows(table, None, columns=["representation_id"])
            }

    def delete(self, representation_ids: Collection[str]) -> None:
        """Remove representations with all adapters filed under them, from the disk as well."""
        if not representation_ids:
            return
        with self._lock.hold(), _vector_errors("delete vectors", self._uri):
            for table in self._tables():
                table.delete(f"representation_id IN ({texts(representation_ids)})")
                # the newest version quotes the condition that made it: one more, so that it ages
                table.delete("false")
        self.optimize()

    def optimize(self) -> None:
        """Compact every table and remove old versions, which Lance keeps until told otherwise."""
        with self._lock.hold(), _vector_errors("compact the vectors", self._uri):
            for table in self._tables():
                with warnings.catch_warnings():
                    # it warns of readers of an old version; ours open the newest for each call
                    warnings.simplefilter("ignore", UserWarning)
                    table.optimize(cleanup_older_than=timedelta(0))

    def _nearest(self, table: Any, target: Vector, k: int, condition: str) -> list[Candidate]:
        limit, n_rows = k + _PRESELECTED, table.count_rows()
        coarse = np.clip(target, -_LARGEST, _LARGEST).astype(np.float32)
        moved = float(np.linalg.norm(target - coarse))
        while True:
            found = (
                table.search(coarse, vector_column_name="z")
                .where(condition, prefilter=True)
                .limit(limit)
                .to_arrow()
            )
            candidates = ranked(target, found)
            if len(found) < limit or limit >= n_rows:
                return candidates[:k]
            # by the triangle inequality every row left out is at least this far from the target
            last = float(found["_distance"][-1].as_py()) ** 0.5
            horizon = last - moved - _SINGLE * (last + float(np.linalg.norm(target)))
            if np.isfinite(last) and candidates[k - 1].distance < horizon:
                return candidates[:k]
            limit *= 4

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


@contextmanager
def _vector_errors(doing: str, uri: str) -> Iterator[None]:
    """Turn what Lance and Arrow raise into a StoreError without its text."""
    try:
        with disk_errors("the vector store", uri):
            yield
    except RpeError:
        raise
    except (RuntimeError, ValueError, TypeError, pa.ArrowException):
        raise StoreError(
            f"Could not {doing}.",
            where=uri,
            remedy="check the folder and its free space; vectors can be made again by `rpe embed`",
        ) from None


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

"""A library: LoRA-VecDB of one encoder as it stood when it was opened, searched exactly."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog.stores.vectors.parts import LibraryPart, Matrix, PartDamaged
from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.records import Candidate
from rpe_core.retrieval.compact_rows import FirstPass, NearestBound

Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Allowed: TypeAlias = Collection[Any]  # adapter ids: strings, or an Arrow array of them
Answer = TypeVar("Answer")

_GATHERED = 1 << 12  # rows whose exact z is in memory at a time


class LibrarySnapshot:
    """All parts of one version of a table, with the first pass over each."""

    def __init__(
        self, encoder_id: str, dimension: int | None, parts: Sequence[LibraryPart]
    ) -> None:
        self.encoder_id, self.dimension, self.parts = encoder_id, dimension, list(parts)
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.n_rows = int(self.starts[-1])
        self.passes = [
            FirstPass(part.frame, part.rows, start=int(start))
            for part, start in zip(parts, self.starts, strict=False)
        ]
        whole = pa.concat_tables([part.keys for part in parts]).combine_chunks() if parts else None
        self.keys = _plain_columns(whole) if whole is not None else None

    def exact(self, rows: Rows) -> Matrix:
        """The z of rows in ascending order, shape (n, d)."""
        cuts = np.searchsorted(rows, self.starts)
        exact_parts = [
            part.exact(rows[first:last] - start)
            for part, start, first, last in zip(
                self.parts, self.starts, cuts, cuts[1:], strict=False
            )
            if last > first
        ]
        return np.concatenate(exact_parts) if exact_parts else np.empty((0, self.dimension or 0))

    def column(self, name: str, rows: Rows) -> list[Any]:
        """Values of a key column for these rows."""
        return self.keys[name].take(pa.array(rows)).to_pylist() if self.keys is not None else []


class Library:
    """The adapters that may be found, resolved once to a mask; it does not see later writes.

    Every answer is what sorting the visible adapters by exact distance, then by id, would give.
    """

    def __init__(
        self, shelf: LibrarySnapshot, allow: Allowed, *, renew: Callable[[], LibrarySnapshot]
    ) -> None:
        self._allow, self._renew = allow, renew
        self._places: dict[str, tuple[float, ...]] = {}  # z by adapter: many answers share one
        self._take(shelf)

    def __len__(self) -> int:
        return int(self._visible.sum())

    def search(
        self, z: Sequence[float] | Vector, *, k: int, exclude_sources: Collection[str] = ()
    ) -> list[Candidate]:
        """The k nearest adapters, nearest first, equal distances by adapter id.

        Raises:
            InputError: k < 1, or z is not finite.
            ShapeMismatch: z has another dimension than the encoder.
        """
        target = self._target(np.asarray(z, dtype=np.float64), k)
        return self._mended(lambda: self._search(target, k, frozenset(exclude_sources)))

    def count(self, source: str) -> int:
        """How many of the adapters belong to a source."""
        return len(self) - int(self._mask(frozenset([source])).sum())

    def spread(self, n: int) -> list[Candidate]:
        """Up to n adapters, evenly spaced by id, at distance 0: they are no answer to a target."""
        rows = np.flatnonzero(self._visible)
        names = pa.array(self._adapter_ids(rows), pa.string())
        order = pc.sort_indices(names).to_numpy()
        chosen = rows[order][:: max(1, -(-len(rows) // n))]
        return self._mended(lambda: self._candidates(chosen, np.zeros(len(chosen))))

    def _target(self, target: Vector, k: int) -> Vector:
        if k < 1:
            raise InputError("k must be at least 1.", expected="k >= 1")
        if target.ndim != 1 or not np.isfinite(target).all():
            raise InputError("The vector to search for is not finite.", expected="finite (d,)")
        if self._shelf.dimension not in (None, len(target)):
            raise ShapeMismatch(
                f"The vector has {len(target)} dimensions.",
                where=self._shelf.encoder_id,
                expected=f"{self._shelf.dimension} dimensions",
            )
        return target

    def _mask(self, excluded: frozenset[str]) -> Mask:
        if not excluded or self._shelf.keys is None:
            return self._visible
        named = pc.is_in(self._shelf.keys["source"], pa.array(sorted(excluded), pa.string()))
        others: Mask = ~np.asarray(named, dtype=bool)
        return self._visible & others

    def _take(self, shelf: LibrarySnapshot) -> None:
        self._shelf, self._visible = shelf, visible_rows(shelf, self._allow)
        self._hidden: dict[frozenset[str], list[list[Rows]]] = {}

    def _mended(self, answer: Callable[[], Answer]) -> Answer:
        """An answer; where a part on the disk proves damaged, from parts that are made again."""
        try:
            return answer()
        except PartDamaged:
            self._take(self._renew())
            return answer()

    def _search(self, target: Vector, k: int, excluded: frozenset[str]) -> list[Candidate]:
        horizon = NearestBound(k)
        for one_pass, hidden in zip(self._shelf.passes, self._hidden_rows(excluded), strict=True):
            one_pass.scan(target, horizon, hidden)
        rows, squares = self._closest(target, horizon.survivors(), k)
        return self._candidates(rows, np.sqrt(squares))

    def _hidden_rows(self, excluded: frozenset[str]) -> list[list[Rows]]:
        if excluded not in self._hidden:
            mask = self._mask(excluded)
            self._hidden[excluded] = [bound_pass.hidden(mask) for bound_pass in self._shelf.passes]
        return self._hidden[excluded]

    def _closest(self, target: Vector, rows: Rows, k: int) -> tuple[Rows, Vector]:
        """The k nearest of these rows by exact distances, equal ones by adapter id."""
        squares = np.empty(len(rows))
        for first in range(0, len(rows), _GATHERED):
            part = slice(first, first + _GATHERED)
            squares[part] = exact_squares(self._shelf.exact(rows[part]), target)
        if len(rows) > k:
            is_near = squares <= np.partition(squares, k - 1)[k - 1]
            rows, squares = rows[is_near], squares[is_near]
        order = np.argsort(squares)
        if (np.diff(squares[order]) == 0).any():
            order = np.lexsort((self._ranks(rows), squares))
        return rows[order[:k]], squares[order[:k]]

    def _adapter_ids(self, rows: Rows) -> list[Any]:
        return self._shelf.column("adapter_id", rows)

    def _ranks(self, rows: Rows) -> Rows:
        """The place of each row's adapter id in their order: what decides between equals."""
        names = np.array(self._adapter_ids(rows), dtype=object)
        return np.unique(names, return_inverse=True)[1].astype(np.int64)

    def _candidates(self, rows: Rows, distances: Vector) -> list[Candidate]:
        if not np.isfinite(distances).all():
            raise InputError(
                "A distance is too large for a 64-bit number.", expected="smaller features"
            )
        order = np.argsort(rows)
        places = np.empty((len(rows), self._shelf.dimension or 0))
        places[order] = self._shelf.exact(rows[order])
        columns = [
            self._shelf.column(name, rows)
            for name in ("adapter_id", "source", "dataset_version_id")
        ]
        return [
            Candidate(
                adapter_id,
                source,
                version,
                distance,
                self._places.setdefault(adapter_id, tuple(z)),
            )
            for adapter_id, source, version, distance, z in zip(
                *columns, distances.tolist(), places.tolist(), strict=True
            )
        ]


def _plain_columns(table: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
    """Columns by name; of one chunk as arrays, from which single rows are taken much faster."""
    return {
        name: column.chunk(0) if column.num_chunks == 1 else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def exact_squares(z: Matrix, targets: npt.NDArray[np.float64]) -> Vector:
    """Squared distances from the differences, bit for bit as `rpe_core.distance` computes them."""
    with np.errstate(over="ignore", invalid="ignore"):
        difference = z - targets
        return np.asarray(np.einsum("ij,ij->i", difference, difference))


def visible_rows(shelf: LibrarySnapshot, allow: Allowed) -> Mask:
    """Which rows belong to an allowed adapter."""
    if shelf.keys is None:
        return np.zeros(0, dtype=bool)
    is_arrow = isinstance(allow, pa.Array | pa.ChunkedArray)
    wanted = allow if is_arrow else pa.array(list(allow), pa.string())
    is_wanted = pc.is_in(shelf.keys["adapter_id"], value_set=wanted)
    return np.asarray(is_wanted, dtype=bool)

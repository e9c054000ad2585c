"""Rows of LoRA-VecDB: between records of the core and Lance's tables, no store is opened."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.lineage import source_of
from rpe_core.fingerprint import SHORT, fingerprint
from rpe_core.records import Representation

PREFIX = "representations_"
_FACTS = ("representation_id", "adapter_id", "dataset_version_id", "role", "n_items")


@dataclass(frozen=True)
class FiledRow:
    """A row of LoRA-VecDB without its vector; of what was not read there is no hash."""

    representation_id: str
    adapter_id: str | None
    dataset_version_id: str
    role: str
    n_items: int
    norm: float = 0.0
    vector_sha256: str = ""


def vector_sha256(z: Sequence[float] | np.ndarray, variance: Sequence[float] | np.ndarray) -> str:
    """sha256 over the fp64 bytes of z and of its variance, little-endian.

    >>> vector_sha256([1.0], [0.5])[:12] == vector_sha256([1.0], [0.25])[:12]
    False
    """
    digest = hashlib.sha256()
    for values in (z, variance):
        digest.update(np.asarray(values, dtype="<f8").tobytes())
    return digest.hexdigest()


def filed_columns(*, is_hashed: bool) -> list[str]:
    """Columns that `filed_rows` reads."""
    return [*_FACTS, *(("z", "variance") if is_hashed else ())]


def filed_rows(batch: pa.RecordBatch) -> Iterator[FiledRow]:
    """What a batch of those columns says, with the hash of each vector where they are read."""
    facts = [batch.column(name).to_pylist() for name in _FACTS]
    if "z" not in batch.schema.names:
        yield from (FiledRow(*row) for row in zip(*facts, strict=True))
        return
    z, variance = (_matrix(batch.column(name)) for name in ("z", "variance"))
    for row, own, its in zip(zip(*facts, strict=True), z, variance, strict=True):
        norm = float(np.linalg.norm(own))
        yield replace(FiledRow(*row), norm=norm, vector_sha256=vector_sha256(own, its))


def _matrix(column: pa.FixedSizeListArray) -> np.ndarray:
    return np.asarray(column.flatten()).reshape(len(column), -1)


def table_name(encoder_id: str) -> str:
    """A name that Lance accepts, readable and unique for the encoder."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", encoder_id)[:60].strip("_")
    return f"{PREFIX}{readable}_{fingerprint(encoder_id)[:SHORT]}"


def table_schema(dimension: int) -> pa.Schema:
    """Columns of a table; z and variance are fp64 of the encoder's dimension."""
    vector = pa.list_(pa.float64(), dimension)
    return pa.schema(
        [
            pa.field("representation_id", pa.string(), nullable=False),
            pa.field("adapter_id", pa.string()),
            pa.field("dataset_version_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("encoder_id", pa.string(), nullable=False),
            pa.field("role", pa.string(), nullable=False),
            pa.field("n_items", pa.int64(), nullable=False),
            pa.field("z", vector, nullable=False),
            pa.field("variance", vector, nullable=False),
        ],
        # no part of a record: it tells a table from one that is made later under its name
        metadata={"rpe.table": uuid.uuid4().hex},
    )


def as_table(filed: Sequence[tuple[Representation, str | None]], schema: pa.Schema) -> pa.Table:
    """One row for each representation, filed under an adapter or by itself."""
    representations = [representation for representation, _ in filed]
    columns = {
        "representation_id": [r.representation_id for r in representations],
        "adapter_id": [adapter_id for _, adapter_id in filed],
        "dataset_version_id": [r.dataset_version_id for r in representations],
        "source": [source_of(r.dataset_version_id) for r in representations],
        "encoder_id": [r.encoder_id for r in representations],
        "role": [r.role for r in representations],
        "n_items": [r.n_items for r in representations],
        "z": _vectors([r.z for r in representations], schema.field("z").type),
        "variance": _vectors([r.variance for r in representations], schema.field("z").type),
    }
    return pa.table(columns, schema=schema)


def _vectors(values: Sequence[tuple[float, ...]], kind: pa.DataType) -> pa.Array:
    flat = np.array(values, dtype=np.float64).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind)


def as_representation(row: dict[str, Any]) -> Representation:
    """The representation that a row holds."""
    return Representation(
        row["representation_id"],
        row["dataset_version_id"],
        row["encoder_id"],
        row["role"],
        row["n_items"],
        tuple(row["z"]),
        tuple(row["variance"]),
    )

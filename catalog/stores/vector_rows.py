"""Rows of LoRA-VecDB: between records of the core and Lance's tables, no store is opened."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.lineage import source_of
from rpe_core.fingerprint import SHORT, fingerprint
from rpe_core.records import Representation

PREFIX = "representations_"


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


def texts(values: Collection[str]) -> str:
    """Strings as literals of SQL, sorted, joined by commas."""
    return ", ".join(text(value) for value in sorted(values))


def text(value: str) -> str:
    """A string as a literal of SQL."""
    return "'" + value.replace("'", "''") + "'"

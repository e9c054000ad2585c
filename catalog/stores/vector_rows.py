"""Rows of LoRA-VecDB: between records of the core and Lance's tables, no store is opened."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rpe_core.fingerprint import SHORT, fingerprint
from rpe_core.records import Candidate, Representation

Vector = npt.NDArray[np.float64]
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
        ]
    )


def as_table(representation: Representation, adapter_id: str | None, schema: pa.Schema) -> pa.Table:
    """One row: the representation, filed under an adapter or by itself."""
    row = {
        "representation_id": representation.representation_id,
        "adapter_id": adapter_id,
        "dataset_version_id": representation.dataset_version_id,
        "source": source_of(representation.dataset_version_id),
        "encoder_id": representation.encoder_id,
        "role": representation.role,
        "n_items": representation.n_items,
        "z": list(representation.z),
        "variance": list(representation.variance),
    }
    return pa.Table.from_pylist([row], schema=schema)


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


def ranked(target: Vector, found: pa.Table) -> list[Candidate]:
    """All rows found, nearest first in fp64 Euclidean distance, equal ones by adapter id."""
    z = found["z"].combine_chunks().flatten().to_numpy().reshape(len(found), -1)
    distances = np.sqrt(np.square(z - target).sum(axis=1))
    rows = found.select(["adapter_id", "source", "dataset_version_id"]).to_pylist()
    candidates = [
        Candidate(**row, distance=float(distance), z=tuple(place.tolist()))
        for row, distance, place in zip(rows, distances, z, strict=True)
    ]
    return sorted(candidates, key=lambda candidate: (candidate.distance, candidate.adapter_id))


def source_of(dataset_version_id: str) -> str:
    """`dataset:<source>@sha12` -> source.

    >>> source_of("dataset:site_a@0123456789ab")
    'site_a'
    """
    return dataset_version_id.removeprefix("dataset:").rpartition("@")[0]


def texts(values: Collection[str]) -> str:
    """Strings as literals of SQL, sorted, joined by commas."""
    return ", ".join(text(value) for value in sorted(values))


def text(value: str) -> str:
    """A string as a literal of SQL."""
    return "'" + value.replace("'", "''") + "'"

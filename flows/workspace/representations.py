"""What is encoded: a dataset version in one role, its rows, and the id of its representation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from catalog.readers.items import item_source
from flows.workspace.workspace import Workspace
from rpe_core.fingerprint import fingerprint, make_id
from rpe_core.records import Role


@dataclass(frozen=True)
class EmbedUnit:
    """A dataset version to encode, in one role."""

    source: str
    base_name: str
    role: Role
    dataset_version_id: str
    representation_id: str

    def __str__(self) -> str:
        return f"{self.source} as {self.role}"


def embed_unit_of(
    workspace: Workspace, source: str, base_name: str, role: Role
) -> EmbedUnit | None:
    """What to encode for a source as it stands, or None while it has no data."""
    version = workspace.standing.versions.get(source)
    if version is None:
        return None
    encoder = workspace.encoder(base_name)
    made_of = fingerprint({"dataset": version["sha256"], "encoder": encoder, "role": role})
    representation_id = make_id("representation", source, made_of)
    return EmbedUnit(source, base_name, role, version["dataset_version_id"], representation_id)


def rows_of(workspace: Workspace, unit: EmbedUnit) -> pa.Table:
    """The rows that are encoded: the training rows of a reference, all rows of a target."""
    return workspace.rows(
        unit.dataset_version_id,
        columns=item_source(workspace.contracts[unit.source]).input_columns,
        split="train" if unit.role == "reference" else None,
    )


def inputs_of(workspace: Workspace, unit: EmbedUnit, rows: pa.Table | None = None) -> Sequence[Any]:
    """What is encoded of a unit, item by item; of its rows, where they are at hand."""
    rows = rows_of(workspace, unit) if rows is None else rows
    return item_source(workspace.contracts[unit.source]).inputs(rows)

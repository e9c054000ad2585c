"""Embed: the mean encoder feature z of each dataset version, under the frozen base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog import registration
from catalog.readers.items import item_source
from flows.workspace import Workspace
from rpe_core.distance import Matrix
from rpe_core.fingerprint import fingerprint, make_id
from rpe_core.records import Representation, Role
from rpe_core.representation import mean_feature


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


def unit_of(workspace: Workspace, source: str, base_name: str, role: Role) -> EmbedUnit | None:
    """What to encode for a source as it stands, or None while it has no data."""
    version = workspace.standing.versions.get(source)
    if version is None:
        return None
    encoder = workspace.encoder(base_name)
    made_of = fingerprint({"dataset": version["sha256"], "encoder": encoder, "role": role})
    representation_id = make_id("representation", source, made_of)
    return EmbedUnit(source, base_name, role, version["dataset_version_id"], representation_id)


def pending(workspace: Workspace) -> list[EmbedUnit]:
    """References and targets whose standing dataset version has no representation yet."""
    wanted: list[tuple[str, str, Role]] = [
        (source, reference.base, "reference")
        for reference in workspace.plan.references
        for source in reference.sources
    ]
    wanted += [(target.source, target.base, "target") for target in workspace.plan.targets]
    units = [unit_of(workspace, *entry) for entry in dict.fromkeys(wanted)]
    known = workspace.standing.representation_ids
    return [unit for unit in units if unit and unit.representation_id not in known]


def make(workspace: Workspace, unit: EmbedUnit) -> Representation:
    """The mean over the inputs: of a reference's training rows, of all rows of a target."""
    mean = mean_feature(workspace.features(unit.base_name, _inputs(workspace, unit)))
    return Representation(
        unit.representation_id,
        unit.dataset_version_id,
        workspace.encoder(unit.base_name),
        unit.role,
        mean.n,
        tuple(mean.mean.tolist()),
        tuple(mean.variance.tolist()),
    )


def features_of(workspace: Workspace, unit: EmbedUnit, *, limit: int) -> Matrix:
    """The features of the first rows of a unit, by item, shape (n, d): always the same rows."""
    inputs = _inputs(workspace, unit)[:limit]
    found = {
        int(index): feature
        for indices, features in workspace.features(unit.base_name, inputs)
        for index, feature in zip(indices, features, strict=True)
    }
    return np.array([found[i] for i in range(len(inputs))], dtype=np.float64)


def _inputs(workspace: Workspace, unit: EmbedUnit) -> Sequence[Any]:
    items = item_source(workspace.contracts[unit.source])
    rows = workspace.rows(
        unit.dataset_version_id,
        columns=items.input_columns,
        split="train" if unit.role == "reference" else None,
    )
    return items.inputs(rows)


def keep(workspace: Workspace, made: Sequence[Representation]) -> None:
    """File them in LoRA-VecDB and in the lake."""
    registration.keep_representations(workspace.stores, made, run=workspace.run)

"""Embed: the mean encoder feature z of each dataset version, under the frozen base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from catalog.lineage import source_of
from catalog.queries import current
from catalog.records import registration
from flows.library import input_statistics
from flows.workspace.representations import EmbedUnit, embed_unit_of, inputs_of, rows_of
from flows.workspace.workspace import Workspace
from rpe_core.distance import Matrix
from rpe_core.records import Representation, Role
from rpe_core.representation import drift_between, mean_feature
from rpe_core.spectrum import FeatureSample


def units_of(workspace: Workspace) -> list[EmbedUnit]:
    """The standing dataset version of every reference and target that has one."""
    wanted: list[tuple[str, str, Role]] = [
        (source, reference.base, "reference")
        for reference in workspace.plan.references
        for source in reference.sources
    ]
    wanted += [(target.source, target.base, "target") for target in workspace.plan.targets]
    units = [embed_unit_of(workspace, *entry) for entry in dict.fromkeys(wanted)]
    return [unit for unit in units if unit]


def pending(workspace: Workspace) -> list[EmbedUnit]:
    """References and targets whose standing dataset version has no representation yet."""
    known = workspace.standing.representation_ids
    return [unit for unit in units_of(workspace) if unit.representation_id not in known]


def make(workspace: Workspace, unit: EmbedUnit) -> Representation:
    """The mean over the inputs: of a reference's training rows, of all rows of a target.

    The same pass files what the plan's recipes and merges must know of a reference's inputs.
    """
    rows, wanted = rows_of(workspace, unit), {}
    n_groups = len(rows.column("_group_sha256").unique())
    if unit.role == "reference":
        wanted = input_statistics.missing_statistics(
            workspace, unit.source, unit.dataset_version_id, unit.base_name, n_groups=n_groups
        )
    inputs = inputs_of(workspace, unit, rows)
    features = input_statistics.features(workspace, unit.base_name, inputs, wanted)
    sample = FeatureSample()
    mean = mean_feature(sample.watch(features))
    return Representation(
        unit.representation_id,
        unit.dataset_version_id,
        workspace.encoder(unit.base_name),
        unit.role,
        mean.n,
        tuple(mean.mean.tolist()),
        tuple(mean.variance.tolist()),
        n_groups,
        sample.shares,
    )


def unpack(values: Mapping[str, Any]) -> Representation:
    """A representation from the values that `asdict` gave; fp64 as it was."""
    exact = {name: tuple(values[name]) for name in ("z", "variance", "shares")}
    return Representation(**{**values, **exact})


def features_of(workspace: Workspace, unit: EmbedUnit, *, limit: int) -> Matrix:
    """The features of the first rows of a unit, by item, shape (n, d): always the same rows."""
    inputs = inputs_of(workspace, unit)[:limit]
    by_item = {
        int(index): feature
        for indices, features in workspace.features(unit.base_name, inputs)
        for index, feature in zip(indices, features, strict=True)
    }
    return np.array([by_item[i] for i in range(len(inputs))], dtype=np.float64)


def keep(workspace: Workspace, made: Sequence[Representation]) -> None:
    """File them in LoRA-VecDB and in the lake, with how far each source has moved."""
    drifts = _drifts(workspace, made)
    registration.keep_representations(workspace.stores, made, drifts=drifts, run=workspace.run)


def _drifts(workspace: Workspace, made: Sequence[Representation]) -> list[dict[str, Any]]:
    """Rows of core.drifts of those that have one of an earlier version to be compared with."""
    stores = workspace.stores
    newest = current.newest_representations(stores.lake)
    places = [
        (
            source_of(representation.dataset_version_id),
            representation.encoder_id,
            representation.role,
        )
        for representation in made
    ]
    pairs = [
        (newest[p], representation)
        for p, representation in zip(places, made, strict=True)
        if p in newest
    ]
    known = stores.vectors.representations([former for former, _ in pairs]) if pairs else {}
    return [
        {
            "representation_id": representation.representation_id,
            "former_id": former,
            **asdict(drift_between(known[former], representation)),
        }
        for former, representation in pairs
        if former in known and former != representation.representation_id
    ]

"""Retrieval: a target as the night sees it, with what is near it in the library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalog.contracts.contract import SourceContract
from catalog.errors import RecordNotFound
from catalog.stores.vectors.library import Library as VisibleLibrary
from flows.library.calibration import CalibrationSet, distances_within, library_of
from flows.library.references import references_of, visible_library
from flows.workspace.plan import TargetSpec
from flows.workspace.representations import embed_unit_of
from flows.workspace.run_cache import CacheSection
from flows.workspace.task_rows import TaskRows, read_task_rows
from flows.workspace.workspace import Workspace
from rpe_core.records import BaseModel, Candidate, DatasetVersion, Representation, TaskSpec
from rpe_core.weighting.guards import DomainCheck, check_domain

REPRESENTATIONS = CacheSection[str, Representation]("representations of targets, by id")


@dataclass(frozen=True)
class TargetView:
    """A target as the night sees it: what it is, where it lies, and what is near it there."""

    spec: TargetSpec
    contract: SourceContract | None  # None where it has faults, which the night tells
    base: BaseModel
    version: DatasetVersion
    representation: Representation
    library: tuple[Candidate, ...]  # all that it may see, nearest first
    domain: DomainCheck
    whole: (
        CalibrationSet  # the references of all targets of this base, this one's own source included
    )

    @property
    def name(self) -> str:
        """The name that the plan gives it."""
        return self.spec.name

    @property
    def task(self) -> TaskSpec:
        """What is asked of a model of it.

        Raises:
            RecordNotFound: its contract has faults.
        """
        return self.require_contract().task_spec

    def require_contract(self) -> SourceContract:
        """The contract of its source.

        Raises:
            RecordNotFound: it has faults.
        """
        if self.contract is None:
            raise RecordNotFound(f"The workspace has no contract of {self.spec.source} to go by.")
        return self.contract

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The k nearest, which an ensemble is weighed from."""
        return self.library[: self.spec.k_most]

    @property
    def hidden(self) -> frozenset[str]:
        """Sources of the whole library that this target may not see: its own, or none."""
        return frozenset() if self.spec.include_own else frozenset({self.spec.source})

    @property
    def z(self) -> np.ndarray:
        """The target's representation, shape (d,)."""
        return np.asarray(self.representation.z)


def retrieve(workspace: Workspace, spec: TargetSpec) -> TargetView | None:
    """A target of the plan as it stands, or None while target or library have no data.

    A target's own source is never its reference unless the plan says `include_own`.
    """
    standing = workspace.standing
    unit = embed_unit_of(workspace, spec.source, spec.base, "target")
    if unit is None or unit.representation_id not in standing.representation_ids:
        return None
    representation = _representation(workspace, unit.representation_id)
    library = visible_library(workspace, spec, representation.encoder_id)
    version = DatasetVersion.from_row(standing.versions[spec.source])
    base = workspace.bases[spec.base]
    return retrieve_from(workspace, spec, library, base, version, representation)


def retrieve_from(
    workspace: Workspace,
    spec: TargetSpec,
    visible: VisibleLibrary,
    base: BaseModel,
    version: DatasetVersion,
    representation: Representation,
) -> TargetView | None:
    """A target as it lies in a library that is at hand."""
    nearest, everyone = references_of(workspace, spec, visible, representation)
    library = [c for c in nearest if spec.include_own or c.source != spec.source]
    if not library:
        return None
    whole = library_of(everyone)
    hidden = () if spec.include_own else (spec.source,)
    domain = check_domain(library[0].distance, distances_within(workspace, whole), without=hidden)
    return TargetView(
        spec,
        workspace.contracts.get(spec.source),
        base,
        version,
        representation,
        tuple(library),
        domain,
        whole,
    )


def _representation(workspace: Workspace, representation_id: str) -> Representation:
    """A target's representation; those of all targets are read when the first is asked for."""
    known = workspace.cache.known(REPRESENTATIONS)
    if representation_id not in known:
        targets = workspace.plan.targets
        units = [embed_unit_of(workspace, t.source, t.base, "target") for t in targets]
        wanted = {unit.representation_id for unit in units if unit}
        standing = wanted & workspace.standing.representation_ids
        read = workspace.stores.vectors.representations({representation_id} | standing - set(known))
        known.update(read)
    return known[representation_id]


def rows_of_target(workspace: Workspace, target: TargetView) -> TaskRows:
    """The rows of a target, as a model is scored on them.

    Raises:
        RecordNotFound: its contract has faults.
    """
    contract = target.require_contract()
    return read_task_rows(workspace, contract, target.version.dataset_version_id)

"""Retrieval: what a target retrieves, as the steps after it are handed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.stores.vectors.library import Library as VisibleLibrary
from flows.library.calibration import CalibrationSet, distances_within, library_of
from flows.library.references import references_of, visible_library
from flows.workspace.plan import TargetSpec
from flows.workspace.representations import embed_unit_of
from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
from rpe_core.records import Candidate, Representation
from rpe_core.weighting.guards import DomainCheck, check_domain

REPRESENTATIONS = CacheSection[str, Representation]("representations of targets, by id")


@dataclass(frozen=True)
class Retrieval:
    """What a target retrieved: its z, the visible library, the k nearest, and how far that is."""

    target: TargetSpec
    dataset_version_id: str
    dataset_sha256: str
    representation: Representation
    library: tuple[Candidate, ...]
    candidates: tuple[Candidate, ...]
    domain: DomainCheck
    whole: (
        CalibrationSet  # the references of all targets of this base, this one's own source included
    )

    @property
    def hidden(self) -> frozenset[str]:
        """Sources of the whole library that this target may not see: its own, or none."""
        return frozenset() if self.target.include_own else frozenset({self.target.source})

    @property
    def z(self) -> np.ndarray:
        """The target's representation, shape (d,)."""
        return np.asarray(self.representation.z)


def retrieve(workspace: Workspace, target: TargetSpec) -> Retrieval | None:
    """The library as this target sees it, or None while target or library have no data.

    A target's own source is never its reference unless the plan says `include_own`.
    """
    standing = workspace.standing
    asked = embed_unit_of(workspace, target.source, target.base, "target")
    if asked is None or asked.representation_id not in standing.representation_ids:
        return None
    representation = _representation(workspace, asked.representation_id)
    library = visible_library(workspace, target, representation.encoder_id)
    version = standing.versions[target.source]
    return retrieve_from(workspace, target, library, representation, version)


def retrieve_from(
    workspace: Workspace,
    target: TargetSpec,
    visible: VisibleLibrary,
    representation: Representation,
    version: Mapping[str, Any],
) -> Retrieval | None:
    """Retrieve from a library that is read already; `version` is the dataset version's row."""
    found, everyone = references_of(workspace, target, visible, representation)
    library = [c for c in found if target.include_own or c.source != target.source]
    if not library:
        return None
    whole = library_of(everyone)
    hidden = () if target.include_own else (target.source,)
    domain = check_domain(library[0].distance, distances_within(workspace, whole), without=hidden)
    return Retrieval(
        target,
        version["dataset_version_id"],
        version["sha256"],
        representation,
        tuple(library),
        tuple(library[: target.k_most]),
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

"""Retrieval: what a target retrieved, as the steps after it are handed it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.calibration import Library
from flows.plans import TargetSpec
from rpe_core.records import Candidate, Representation
from rpe_core.weighting.guards import DomainCheck


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
    whole: Library  # the references of all targets of this base, this one's own source included

    @property
    def hidden(self) -> frozenset[str]:
        """Sources of the whole library that this target may not see: its own, or none."""
        return frozenset() if self.target.include_own else frozenset({self.target.source})

    @property
    def z(self) -> np.ndarray:
        """The target's representation, shape (d,)."""
        return np.asarray(self.representation.z)

"""Calibration: what a library says about itself, measured once a run and shared by its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flows.workspace import Workspace
from rpe_core.distance import Matrix
from rpe_core.fingerprint import fingerprint
from rpe_core.records import Candidate, StrategySpec
from rpe_core.weighting.calibration import (
    MAX_REFERENCES,
    LibraryCalibration,
    WeightCalibration,
    calibrate_library,
    calibrate_weights,
)


@dataclass(frozen=True)
class Library:
    """All references that targets of one base may see, each target's own sources among them."""

    references: tuple[Candidate, ...]  # by adapter id

    @cached_property
    def sha256(self) -> str:
        """Hash over the adapters: equal libraries share what was measured."""
        return fingerprint([reference.adapter_id for reference in self.references])

    @cached_property
    def matrix(self) -> Matrix:
        """Representations of the references, (n, d)."""
        return np.array([reference.z for reference in self.references], dtype=np.float64)

    @property
    def sources(self) -> list[str]:
        """The source of each reference."""
        return [reference.source for reference in self.references]


def library_of(references: Sequence[Candidate]) -> Library:
    """The library of these references, in an order that does not depend on a target.

    Of more than 10,000 references evenly spaced ones stand for all.
    """
    ordered = sorted(references, key=lambda reference: reference.adapter_id)
    step = max(1, -(-len(ordered) // MAX_REFERENCES))
    return Library(tuple(ordered[::step]))


def distances_within(workspace: Workspace, library: Library) -> LibraryCalibration:
    """The leave-one-out distances of a library."""
    key = f"distances {library.sha256}"
    if key not in workspace.memo:
        workspace.memo[key] = calibrate_library(library.matrix, library.sources)
    found: LibraryCalibration = workspace.memo[key]
    return found


def weights_within(
    workspace: Workspace, library: Library, spec: StrategySpec, *, k: int
) -> WeightCalibration:
    """What a strategy's weights do with the references of a library, each served by the others."""
    key = "weights " + fingerprint([library.sha256, spec.kind, spec.parameters, k])
    if key not in workspace.memo:
        workspace.memo[key] = calibrate_weights(library.matrix, library.sources, spec, k=k)
    found: WeightCalibration = workspace.memo[key]
    return found

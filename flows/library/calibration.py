"""Calibration: what a library says about itself, measured once a run and shared by its targets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
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
from rpe_core.weighting.guards import WeightLimits, weight_limits

DISTANCES = CacheSection[str, LibraryCalibration]("distances within a library")
USUAL_WEIGHTS = CacheSection[str, WeightCalibration]("weights within a library, by strategy")
LIMITS = CacheSection[tuple[str, frozenset[str]], WeightLimits]("limits, and without which sources")


@dataclass(frozen=True)
class CalibrationSet:
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

    @cached_property
    def sources(self) -> list[str]:
        """The source of each reference."""
        return [reference.source for reference in self.references]

    @cached_property
    def names(self) -> frozenset[str]:
        """The sources, each once."""
        return frozenset(self.sources)


def library_of(references: Sequence[Candidate]) -> CalibrationSet:
    """The library of these references, in an order that does not depend on a target.

    Of more than 10,000 references evenly spaced ones stand for all.
    """
    ordered = sorted(references, key=lambda reference: reference.adapter_id)
    step = max(1, -(-len(ordered) // MAX_REFERENCES))
    return CalibrationSet(tuple(ordered[::step]))


def distances_within(workspace: Workspace, library: CalibrationSet) -> LibraryCalibration:
    """The leave-one-out distances of a library."""
    return workspace.cache.get(
        DISTANCES, library.sha256, lambda: calibrate_library(library.matrix, library.sources)
    )


def limits_within(
    workspace: Workspace,
    library: CalibrationSet,
    spec: StrategySpec,
    *,
    k: int,
    hidden: Collection[str],
) -> WeightLimits:
    """What is usual of a strategy's weights in a library, each reference served by the others.

    Targets whose hidden sources are none of the library's share one answer.
    """
    name = fingerprint([library.sha256, spec.kind, spec.parameters, k])
    absent = library.names.intersection(hidden)
    cache = workspace.cache

    def find() -> WeightLimits:
        measured = cache.get(
            USUAL_WEIGHTS,
            name,
            lambda: calibrate_weights(library.matrix, library.sources, spec, k=k),
        )
        return weight_limits(measured, without=sorted(absent))

    return cache.get(LIMITS, (name, absent), find)

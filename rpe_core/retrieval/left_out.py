"""Left out: what a reference of a library would retrieve if it were a target itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rpe_core.records import Candidate


def nearest_to_reference(
    reference: Candidate, library: Sequence[Candidate], *, k: int
) -> list[Candidate]:
    """The k nearest to a reference that are not of its source; nearest first, ties by adapter id.

    Their distances ||z_i - z|| are Euclidean, in fp64, and to the reference.

    >>> a, b, c = (Candidate(name, name, "", 0.0, (z,)) for name, z in zip("abc", (0.0, 3.0, 1.0)))
    >>> [(found.adapter_id, found.distance) for found in nearest_to_reference(a, [a, b, c], k=1)]
    [('c', 1.0)]
    """
    z = np.asarray(reference.z)
    others = [
        replace(other, distance=float(np.linalg.norm(np.asarray(other.z) - z)))
        for other in library
        if other.source != reference.source
    ]
    return sorted(others, key=lambda other: (other.distance, other.adapter_id))[:k]

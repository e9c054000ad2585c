"""Exact k nearest references by sorting all distances: what LoRA-VecDB must agree with."""

from __future__ import annotations

import numpy as np

from rpe_core.distance import IntVector, Matrix, Vector, squared_distances


def nearest_references(target: Vector, references: Matrix, *, k: int) -> tuple[IntVector, Vector]:
    """The min(k, n) nearest of n references: their indices and Euclidean distances, nearest first.

    Equal distances are ordered by index, so the answer is a function of its input.

    >>> nearest_references(np.zeros(1), np.array([[2.0], [-1.0], [1.0]]), k=2)
    (array([1, 2]), array([1., 1.]))
    """
    squares = squared_distances(target, references)
    order = np.argsort(squares, kind="stable")[:k].astype(np.int64)
    return order, np.sqrt(squares[order])

"""Dataset pairs: how far every dataset is from every other, and which other is nearest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rpe_core.distance import Matrix
from rpe_core.errors import ShapeMismatch


def distance_matrix(
    features: Sequence[Matrix], measure: Callable[[Matrix, Matrix], float]
) -> Matrix:
    """Distances of datasets as targets (rows) to them as references (columns), shape (n, n).

    A dataset is not measured against itself: the diagonal is 0. The measure need not be symmetric.

    >>> distance_matrix([np.zeros((1, 1)), np.ones((2, 1))], lambda a, b: len(b) - len(a))
    array([[ 0.,  1.],
           [-1.,  0.]])
    """
    distances = np.zeros((len(features), len(features)))
    for i, target in enumerate(features):
        for j, reference in enumerate(features):
            if i != j:
                distances[i, j] = measure(target, reference)
    return distances


def nearest_others(distances: Matrix) -> list[int]:
    """The column of the nearest other dataset for each row; the first of equals.

    >>> nearest_others(np.array([[0.0, 2.0, 1.0], [5.0, 0.0, 5.0], [9.0, 3.0, 0.0]]))
    [2, 0, 1]

    Raises:
        ShapeMismatch: the matrix is not square, or there is no other dataset.
    """
    n = len(distances)
    if n < 2 or np.shape(distances) != (n, n):
        raise ShapeMismatch("others need a square matrix.", expected="(n, n), n >= 2")
    without_itself = np.where(np.eye(n, dtype=bool), np.inf, distances)
    return [int(column) for column in np.argmin(without_itself, axis=1)]

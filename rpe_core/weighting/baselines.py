"""Weights that look at nothing, or at the nearest reference only."""

from __future__ import annotations

import numpy as np

from rpe_core.distance import Matrix, Vector, comparable, squared_distances


def average_weights(target: Vector, references: Matrix) -> Vector:
    """Every reference weighs the same: w_i = 1/k, shape (k,).

    >>> average_weights(np.zeros(1), np.array([[0.0], [3.0]]))
    array([0.5, 0.5])
    """
    _, matrix = comparable(target, references)
    return np.full(len(matrix), 1.0 / len(matrix))


def nearest_weights(target: Vector, references: Matrix) -> Vector:
    """The nearest reference weighs one, the others nothing; the first of equals wins.

    >>> nearest_weights(np.zeros(1), np.array([[5.0], [3.0]]))
    array([0., 1.])
    """
    squares = squared_distances(target, references)
    weights = np.zeros(len(squares))
    weights[int(np.argmin(squares))] = 1.0
    return weights

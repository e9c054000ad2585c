"""Softmax weights over squared distances, and the rule for their temperature."""

from __future__ import annotations

import numpy as np

from rpe_core.distance import Matrix, Vector, squared_distances
from rpe_core.errors import require_positive


def similarity_weights(target: Vector, references: Matrix, *, temperature: float) -> Vector:
    """Nearer references weigh more: w = softmax(-||z_trg - z_i||^2 / temperature), shape (k,).

    The paper's lambda1 is 1 / temperature; temperature has the unit of a squared distance.

    >>> similarity_weights(np.zeros(1), np.array([[0.0], [3.0]]), temperature=1.0).round(3)
    array([1., 0.])
    >>> similarity_weights(np.zeros(1), np.array([[1.0], [-1.0]]), temperature=1.0)
    array([0.5, 0.5])
    """
    require_positive("temperature", temperature)
    squares = squared_distances(target, references)
    # A tiny temperature sends the quotient to infinity and its weight to zero, as it should.
    with np.errstate(over="ignore", under="ignore"):
        scores = np.exp(-(squares - squares.min()) / temperature)
    return np.asarray(scores / scores.sum(), dtype=np.float64)


def median_temperature(target: Vector, references: Matrix) -> float:
    """The median d^2 of the references, so that weights do not depend on the scale of features.

    Where half of the references or more coincide with the target, the median of the positive
    distances is used; where all do, 1.0 (every temperature then gives equal weights).

    >>> median_temperature(np.zeros(1), np.array([[1.0], [2.0], [3.0]]))
    4.0
    >>> median_temperature(np.zeros(1), np.array([[0.0], [0.0]]))
    1.0
    """
    squares = squared_distances(target, references)
    median = float(np.median(squares))
    if median > 0:
        return median
    positive = squares[squares > 0]
    return float(np.median(positive)) if positive.size else 1.0

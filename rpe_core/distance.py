"""Distances between representations: fp64, exact differences, checked shapes, no NaN."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rpe_core.errors import InputError, ShapeMismatch

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
IntVector = npt.NDArray[np.int64]

_BLOCK = 1 << 22  # elements of the temporary difference: 32 MiB, whatever the size of the library


def comparable(target: npt.ArrayLike, references: npt.ArrayLike) -> tuple[Vector, Matrix]:
    """The target (d,) and the references (k, d) in fp64, if they can be compared at all.

    Raises:
        ShapeMismatch: the arrays are not (d,) and (k, d) with k >= 1 and d >= 1.
        InputError: a number is NaN or infinite.
    """
    vector = np.asarray(target, dtype=np.float64)
    matrix = np.asarray(references, dtype=np.float64)
    if (
        vector.ndim != 1
        or matrix.ndim != 2
        or matrix.shape[1] != vector.shape[0]
        or not matrix.size
    ):
        raise ShapeMismatch(
            "Target and references do not fit each other.",
            where=f"target {vector.shape}, references {matrix.shape}",
            expected="target (d,) and references (k, d) of one encoder, k >= 1",
        )
    for name, values in (("target", vector), ("references", matrix)):
        if not np.isfinite(values).all():
            raise InputError(f"The {name} holds NaN or infinity.", expected="finite numbers")
    return vector, matrix


def squared_distances(target: Vector, references: Matrix) -> Vector:
    """d_i^2 = ||z_i - z_trg||_2^2, shape (k,), from the differences themselves.

    The expansion |a|^2 - 2ab + |b|^2 would lose the digits of near neighbours, so it is not used.

    >>> squared_distances(np.zeros(2), np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([25.,  0.])
    """
    vector, matrix = comparable(target, references)
    rows = max(1, _BLOCK // matrix.shape[1])
    squares = np.empty(len(matrix))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(matrix), rows):
            difference = matrix[start : start + rows] - vector
            squares[start : start + rows] = np.einsum("ij,ij->i", difference, difference)
    if not np.isfinite(squares).all():
        raise InputError(
            "A distance is too large for a 64-bit number.", expected="smaller features"
        )
    return squares


def mean_distance(target: Matrix, reference: Matrix) -> float:
    """||mean(X) - mean(Y)||_2 of target features X (n, d) and reference features Y (m, d).

    What retrieval itself goes by: the distance of two representations z.

    >>> mean_distance(np.array([[0.0], [2.0]]), np.array([[4.0]]))
    3.0
    """
    x, y = comparable_sets(target, reference)
    return float(np.sqrt(squared_distances(x.mean(axis=0), y.mean(axis=0)[None])[0]))


def nearest_neighbour_distance(target: Matrix, reference: Matrix) -> float:
    """(1/n) sum_x min_y ||x - y||_2: how far a target item has to go to its like in the reference.

    It has a direction: every target item counts, reference items that are near none do not.

    >>> nearest_neighbour_distance(np.array([[0.0]]), np.array([[1.0], [100.0]]))
    1.0
    """
    x, y = comparable_sets(target, reference)
    return float(np.sqrt(_nearest_squares(x, y)).mean())


def chamfer_distance(target: Matrix, reference: Matrix) -> float:
    """(1/n) sum_x min_y ||x - y||_2^2 + (1/m) sum_y min_x ||x - y||_2^2, the same both ways.

    The form of Fan, Su and Guibas (2017), each sum taken as a mean so that sizes do not count.

    >>> chamfer_distance(np.array([[0.0]]), np.array([[1.0], [3.0]]))
    6.0
    """
    x, y = comparable_sets(target, reference)
    return float(_nearest_squares(x, y).mean() + _nearest_squares(y, x).mean())


# The three that the paper compared for retrieval (arXiv 2410.09908, which names them without
# formulas: those above are our reading)
DATASET_DISTANCES: dict[str, Callable[[Matrix, Matrix], float]] = {
    "mean": mean_distance,
    "nearest_neighbour": nearest_neighbour_distance,
    "chamfer": chamfer_distance,
}


def comparable_sets(target: npt.ArrayLike, reference: npt.ArrayLike) -> tuple[Matrix, Matrix]:
    """Two sets of features in fp64, if they can be compared at all.

    Raises:
        ShapeMismatch: the arrays are not (n, d) and (m, d) with n, m, d >= 1.
        InputError: a number is NaN or infinite.
    """
    sets = [np.asarray(features, dtype=np.float64) for features in (target, reference)]
    if any(x.ndim != 2 or not x.size or x.shape[1] != sets[0].shape[-1] for x in sets):
        raise ShapeMismatch(
            "The features of two datasets do not fit each other.",
            where=f"target {sets[0].shape}, reference {sets[1].shape}",
            expected="(n, d) and (m, d) of one encoder, n, m >= 1",
        )
    for name, values in zip(("target", "reference"), sets, strict=True):
        if not np.isfinite(values).all():
            raise InputError(f"The {name} holds NaN or infinity.", expected="finite numbers")
    return sets[0], sets[1]


def _nearest_squares(items: Matrix, others: Matrix) -> Vector:
    """min_y ||x - y||^2 for each x, shape (n,), from the differences themselves."""
    return np.array([squared_distances(item, others).min() for item in items])

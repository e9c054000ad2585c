"""Gram matrices of features: blocked products on one thread, normalised, with a ridge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpe_core.distance import Matrix, Vector, comparable
from rpe_core.errors import InputError
from rpe_core.one_thread import one_thread

RIDGE = 1e-6  # in units of tr(C)/k
_COLUMNS = 1024  # of a block: what is held beside the features is k of these, whatever d is


@dataclass(frozen=True, eq=False)
class Gram:
    """C = D D' with rows D_i = z_i - z_trg, so that w'Cw = ||z_trg - sum w_i z_i||^2.

    `matrix` (k, k) is C / (tr C / k) + ridge I and `mean_square` is tr C / k, in squared feature
    units; the latter is 0 where every reference equals the target, and `matrix` then the identity.
    """

    matrix: Matrix
    mean_square: float
    ridge: float


def gram(target: Vector, references: Matrix, *, ridge: float) -> Gram:
    """The normalised Gram matrix of the differences, with a ridge on its diagonal.

    The ridge makes duplicated references share their weight and keeps k > d solvable.

    Raises:
        InputError: a distance is too large for a 64-bit number.
    """
    vector, matrix = comparable(target, references)
    k = len(matrix)
    with np.errstate(over="ignore"):
        peak = max(float(np.abs(matrix[:, b] - vector[b]).max()) for b in _blocks(matrix))
    if not np.isfinite(peak):
        raise InputError(
            "A distance is too large for a 64-bit number.", expected="smaller features"
        )
    if peak == 0:
        return Gram(np.eye(k), 0.0, ridge)
    products = np.zeros((k, k))
    with one_thread():
        for block in _blocks(matrix):
            scaled = (matrix[:, block] - vector[block]) / peak
            products += scaled @ scaled.T
    mean = float(np.trace(products)) / k
    products /= mean
    products[np.diag_indices(k)] += ridge
    return Gram(products, mean * peak * peak, ridge)


def products_of(rows: Matrix) -> Matrix:
    """The products of all pairs of rows, shape (k, k), in blocks of a fixed order on one thread.

    >>> products_of(np.array([[1.0, 2.0], [0.0, 1.0]]))
    array([[5., 2.],
           [2., 1.]])
    """
    products = np.zeros((len(rows), len(rows)))
    with one_thread():
        for block in _blocks(rows):
            part = rows[:, block]
            products += part @ part.T
    return products


def _blocks(matrix: Matrix) -> list[slice]:
    return [slice(start, start + _COLUMNS) for start in range(0, matrix.shape[1], _COLUMNS)]

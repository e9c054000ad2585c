"""The swept matrix: a Gram matrix whose indices change sides one by one, updated in blocks.

Every exchange is a symmetric rank-one update (Beaton's sweep operator, 1964). They are gathered and
applied as one matrix product, so that the cost is that of BLAS 3 and not of k passes over memory.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rpe_core.distance import Matrix, Vector

BoolVector = npt.NDArray[np.bool_]

_PENDING = 128  # exchanges gathered before they are applied
_ROWS = 256  # of a block of the matrix, of which only the lower half is kept up to date


class SweptMatrix:
    """Solutions x of Q_AA x_A = r_A, x_Z = 0, and y = Q x, for two right-hand sides r at once.

    A is the active set, Z the rest. `values` (2, k) holds x on A and y on Z. The matrix kept is
    [[-Q_AA^-1, Q_AA^-1 Q_AZ], [Q_ZA Q_AA^-1, Q_ZZ - Q_ZA Q_AA^-1 Q_AZ]]: its column j tells how
    the values answer when j changes sides. After each block of exchanges the values are refined
    against Q itself.
    """

    def __init__(self, quadratic: Matrix) -> None:
        k = len(quadratic)
        self.quadratic = quadratic
        self.active: BoolVector = np.zeros(k, dtype=bool)
        self.right = np.zeros((2, k))
        self.values = np.zeros((2, k))
        self._matrix = quadratic.copy()
        self._diagonal = np.diagonal(quadratic).copy()
        self._columns = np.zeros((_PENDING, k))
        self._scales = np.zeros(_PENDING)
        self._n = 0

    def enter(self, j: int, first: float, second: float) -> None:
        """Make j active with these right-hand sides."""
        column, pivot = self._column(j), self._diagonal[j]
        step = (np.array([first, second]) - self.values[:, j]) / pivot
        self.values += step[:, None] * np.where(self.active, -column, column)
        self.values[:, j] = step
        self.right[:, j] = first, second
        self._exchange(j, column, pivot, column / pivot)

    def leave(self, j: int) -> None:
        """Set j to zero."""
        column, pivot = self._column(j), self._diagonal[j]
        step = self.values[:, j] / pivot
        self.values += step[:, None] * np.where(self.active, -column, column)
        self.values[:, j] = self.right[:, j] + step
        self.right[:, j] = 0.0
        self._exchange(j, column, pivot, -column / pivot)

    def refine(self) -> None:
        """One step of iterative refinement: the residual of the active rows, measured with Q."""
        x = np.where(self.active, self.values, 0.0)
        y = x @ self.quadratic
        answer = self._times(np.where(self.active, self.right - y, 0.0))
        self.values = np.where(self.active, x - answer, y + answer)

    def _column(self, j: int) -> Vector:
        """Column j of the matrix, the pending updates included."""
        stop = min(j - j % _ROWS + _ROWS, len(self.active))
        column = np.empty(len(self.active))
        column[:stop] = self._matrix[j, :stop]
        column[stop:] = self._matrix[stop:, j]
        if self._n:
            column -= (self._scales[: self._n] * self._columns[: self._n, j]) @ self._columns[
                : self._n
            ]
        return column

    def _exchange(self, j: int, column: Vector, pivot: float, replaced: Vector) -> None:
        """Note the update of everything but row and column j, which are replaced at once."""
        start = j - j % _ROWS
        self.active[j] = not self.active[j]
        self._diagonal -= column * column / pivot
        self._diagonal[j] = replaced[j] = -1.0 / pivot
        self._matrix[j, : start + _ROWS] = replaced[: start + _ROWS]
        self._matrix[start:, j] = replaced[start:]
        column[j] = 0.0
        self._columns[: self._n, j] = 0.0
        self._columns[self._n], self._scales[self._n] = column, 1.0 / pivot
        self._n += 1
        if self._n == _PENDING:
            self._apply()
            self.refine()

    def _apply(self) -> None:
        columns = self._columns[: self._n]
        scaled = columns * self._scales[: self._n, None]
        for start in range(0, len(self.active), _ROWS):
            stop = start + _ROWS
            self._matrix[start:stop, :stop] -= scaled[:, start:stop].T @ columns[:, :stop]
        self._n = 0

    def _times(self, rows: Matrix) -> Matrix:
        """A product of rows (2, k) and the matrix, from its lower half."""
        if self._n:
            self._apply()
        product = np.zeros_like(rows)
        for start in range(0, rows.shape[1], _ROWS):
            stop = start + _ROWS
            product[:, start:stop] += rows[:, :stop] @ self._matrix[start:stop, :stop].T
            product[:, :start] += rows[:, start:stop] @ self._matrix[start:stop, :start]
        return product

"""What a module is fed, as a Gram matrix: sums of x x^T that can be added and subtracted exactly.

The sums are integers, multiples of 2^-20, so that neither the order of the rows nor the number of
threads changes a bit, and what was added can be taken away. Narrow inputs keep the whole matrix.
Wide ones keep it times a fixed matrix of signs, from which the Nystroem method has the principal
directions (Tropp et al., arXiv 1706.05736), beside the exact diagonal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rpe_core.errors import InputError, ShapeMismatch

DENSE_WIDTH = 2048  # of inputs that keep the whole matrix: 32 MiB of sums
N_SKETCHED = 32  # columns of the sketch of wider ones
_SCALE = float(1 << 20)
_LARGEST = float(1 << 62)


@dataclass(frozen=True, eq=False)
class InputGram:
    """Sums over the n_rows inputs x (d,) of a module, int64 in multiples of 2^-20.

    `products` is the sum of x x^T, (d, d); of wide inputs the sum of x (x^T S), (d, c), where S are
    the signs of `signs(d, c)`. `squares` is the sum of x * x, (d,).
    """

    n_rows: int
    products: Tensor
    squares: Tensor

    @classmethod
    def empty(cls, width: int) -> InputGram:
        """Of no row."""
        columns = width if width <= DENSE_WIDTH else N_SKETCHED
        return cls(
            0,
            torch.zeros(width, columns, dtype=torch.int64),
            torch.zeros(width, dtype=torch.int64),
        )

    @classmethod
    def of_rows(cls, rows: Tensor) -> InputGram:
        """Of rows (n, d) in fp32.

        Raises:
            InputError: a number is not finite, or too large to be added up.

        >>> gram = InputGram.of_rows(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
        >>> gram.dense() * 2
        tensor([[10.,  2.],
                [ 2.,  4.]], dtype=torch.float64)
        """
        width = rows.shape[1]
        factor = rows if width <= DENSE_WIDTH else rows @ signs(width).float()
        products, squares = rows.T @ factor, (rows * rows).sum(dim=0)
        return cls(len(rows), _as_integers(products), _as_integers(squares))

    @property
    def width(self) -> int:
        """The number of inputs d."""
        return len(self.squares)

    @property
    def is_dense(self) -> bool:
        """Whether the whole matrix is kept."""
        return self.products.shape == (self.width, self.width)

    def __add__(self, other: InputGram) -> InputGram:
        """The sums over both sets of rows."""
        self._require_shape(other)
        return InputGram(
            self.n_rows + other.n_rows,
            self.products + other.products,
            self.squares + other.squares,
        )

    def __sub__(self, other: InputGram) -> InputGram:
        """The sums without rows that were added: what they would be had those never come."""
        self._require_shape(other)
        return InputGram(
            self.n_rows - other.n_rows,
            self.products - other.products,
            self.squares - other.squares,
        )

    def diagonal(self) -> Tensor:
        """E[x * x], (d,), fp64."""
        return self.squares.double() / (_SCALE * self.n_rows)

    def dense(self) -> Tensor:
        """E[x x^T], (d, d), fp64; of a narrow input only."""
        return self.products.double() / (_SCALE * self.n_rows)

    def directions(self) -> Tensor:
        """U (d, k), fp64, with E[x x^T] = U U^T in the directions that were sketched.

        U U^T is at most E[x x^T] but for rounding; what it leaves out of the diagonal is positive.
        """
        sketch = self.products.double() / (_SCALE * self.n_rows)
        test = signs(self.width, sketch.shape[1]).double()
        shift = 1e-7 * float(self.diagonal().sum()) + torch.finfo(torch.float64).tiny
        sketch = sketch + shift * test
        core = test.T @ sketch
        values, vectors = torch.linalg.eigh((core + core.T) / 2)
        kept = values > 1e-12 * values.max()
        directions: Tensor = sketch @ (vectors[:, kept] / values[kept].sqrt())
        return directions

    def _require_shape(self, other: InputGram) -> None:
        if self.products.shape != other.products.shape:
            raise ShapeMismatch(
                "Gram matrices of different inputs cannot be added.",
                where=f"widths {self.width} and {other.width}",
                expected="inputs of one module",
            )


@lru_cache(maxsize=8)
def signs(width: int, columns: int = N_SKETCHED) -> Tensor:
    """The fixed signs S of a width, (d, c), int8: the same on every machine and of every version.

    >>> signs(2, 4).shape, int(signs(4096).float().mean(dim=0).abs().max() < 0.1)
    (torch.Size([2, 4]), 1)
    """
    count = width * columns
    drawn = hashlib.shake_256(f"input gram {width} {columns}".encode()).digest(-(-count // 8))
    bits = np.unpackbits(np.frombuffer(drawn, dtype=np.uint8), count=count)
    return torch.from_numpy(bits.astype(np.int8) * 2 - 1).view(width, columns)


def _as_integers(sums: Tensor) -> Tensor:
    scaled = sums.double() * _SCALE
    if not torch.isfinite(scaled).all():
        raise InputError("A module has inputs that are no numbers.")
    if scaled.abs().max() >= _LARGEST:
        raise InputError("A module has inputs that are too large to be added up.")
    return scaled.round().to(torch.int64).cpu()

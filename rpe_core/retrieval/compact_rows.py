"""Compact rows: z as int8 codes with a proven error, and which rows can be among the k nearest."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rpe_core.distance import IntVector, Matrix, Vector

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]
Product = Callable[[Floats], Floats]

BLOCK = 1 << 16  # rows scored at a time: their scores stay in the processor's cache
_STEPS = 127  # codes run from -127 to 127
_DIGITS = 63  # digits of a target run from -63 to 63: no sum of two products leaves 16 bits
_LARGEST = 1e15  # of a scaled coordinate; beyond, a square would leave single precision
_SINGLE = 2.0**-19  # 32 roundings of single precision, of what enters a squared distance
_FLOOR = 1e-36  # what underflow may take from a squared distance in single precision
_DOUBLE = 2.0**-50  # a few roundings of double precision
_SLACK = 1.0 + 1e-9  # more than d roundings of the exact distances that come after
_SAMPLE = 1 << 12  # rows that give the first frame, and the first limit of a scan
_UNBOUNDED = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Frame:
    """Where codes are measured from and in which unit: y = (z - center) / unit.

    Any center and any power of two give right answers; good ones give small errors.
    """

    center: Vector
    unit: float


@dataclass(frozen=True)
class CompactRows:
    """Rows q_i = scale_i * code_i of y_i, with ||q_i||^2 and a bound on ||y_i - q_i||.

    The bound is infinite where a row cannot be coded; such a row is never left out.
    """

    codes: Codes
    scales: Floats
    norms: Floats
    errors: Floats

    def __len__(self) -> int:
        return len(self.scales)

    def __getitem__(self, rows: slice) -> CompactRows:
        return CompactRows(self.codes[rows], self.scales[rows], self.norms[rows], self.errors[rows])


@dataclass(frozen=True)
class Query:
    """A target as two digits per coordinate: h = coarse * digits[0] + fine * digits[1]."""

    digits: Floats
    coarse: float
    fine: float
    square: float
    error: float


def frame_of(z: Matrix) -> Frame:
    """A frame for rows like these (n, d): the medians of 4,096 of them, which no outlier moves."""
    sample = np.asarray(z[:: max(1, len(z) // _SAMPLE)], dtype=np.float64)
    center = np.median(sample / 2, axis=0) * 2  # halved: the sum of two middle rows may overflow
    with np.errstate(over="ignore"):
        spread = float(np.median(np.abs(sample - center).max(axis=1)))
    if not 0 < spread < np.inf:
        return Frame(center, 1.0)
    return Frame(center, float(2.0 ** np.clip(np.ceil(np.log2(spread)), -1000, 1000)))


def encode(z: Matrix, frame: Frame) -> CompactRows:
    """Rows (n, d) as codes; each row has its own scale, so a large one costs no other its digits.

    >>> rows = encode(np.array([[0.5, -1.0], [0.0, 0.0]]), Frame(np.zeros(2), 1.0))
    >>> rows.codes.tolist(), bool(rows.errors.max() < 0.005)
    ([[64, -127], [0, 0]], True)
    """
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        y = (np.asarray(z, dtype=np.float64) - frame.center) / frame.unit
        peaks = np.abs(y).max(axis=1)
        is_coded = peaks < _LARGEST
        y[~is_coded] = 0.0
        scales = (np.where(is_coded, peaks, 0.0) / _STEPS).astype(np.float32)
        steps = np.where(scales > 0, scales, 1).astype(np.float64)[:, None]
        codes = np.clip(np.rint(y / steps), -_STEPS, _STEPS).astype(np.int8)
        kept = codes * scales.astype(np.float64)[:, None]
        errors = np.linalg.norm(y - kept, axis=1) + _DOUBLE * np.linalg.norm(y, axis=1)
        upward = np.nextafter((errors * _SLACK).astype(np.float32), np.float32(np.inf))
        errors = np.where(is_coded, upward, np.float32(np.inf)).astype(np.float32)
        norms = np.einsum("ij,ij->i", kept, kept).astype(np.float32)
    return CompactRows(codes, scales, norms, errors)


def as_query(target: Vector, frame: Frame) -> Query | None:
    """The target (d,) in digits of the frame, or None where it is too far away to be coded."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        y = (target - frame.center) / frame.unit
        peak = float(np.abs(y).max())
        if not peak < _LARGEST:
            return None
        coarse = max(peak / _DIGITS, _SMALLEST)
        fine = coarse / (2 * _DIGITS)
        first = np.rint(y / coarse)
        second = np.clip(np.rint((y - coarse * first) / fine), -_DIGITS, _DIGITS)
        h = coarse * first + fine * second
        error = np.linalg.norm(y - h) + _DOUBLE * np.linalg.norm(y)
    digits = np.stack([first, second]).astype(np.float32)
    return Query(digits, coarse, fine, float(h @ h), float(error) * _SLACK)


def plain_product(codes: Codes) -> Product:
    """From digits (2, d) to digits @ codes.T (2, n) in single precision, on any machine."""
    wide = codes.T.astype(np.float32)
    return lambda digits: digits @ wide


def packed_product(codes: Codes) -> Product:
    """`plain_product` by the integer kernel of torch, which reads a quarter of the bytes.

    Integers below 2^24 come out exactly; the zero point 64 keeps digits within seven bits, so that
    no intermediate sum saturates on machines without a 32-bit multiply-add of bytes.
    """
    import torch  # takes seconds; a library that is held in memory alone does without it

    with warnings.catch_warnings():
        # it announces that quantised tensors will leave torch, which is pinned
        warnings.simplefilter("ignore", UserWarning)
        weights = torch._make_per_tensor_quantized_tensor(torch.from_numpy(codes), 1.0, 0)
        packed = torch.ops.quantized.linear_prepack(weights, None)
    multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    return lambda digits: multiply(torch.from_numpy(digits), 1.0, 64, packed).numpy()


def product_of(codes: Codes) -> Product:
    """The packed product where this machine computes it exactly, else the plain one."""
    probe = np.ascontiguousarray(codes[:64])
    digits = np.resize(np.array([_DIGITS, -_DIGITS, 1, 0], np.float32), (2, codes.shape[1]))
    try:
        fast_product = packed_product(probe)(digits)
        is_exact = np.allclose(fast_product, plain_product(probe)(digits), rtol=1e-6, atol=0.5)
    except (RuntimeError, AttributeError, NotImplementedError):
        is_exact = False
    return packed_product(codes) if is_exact else plain_product(codes)


class Block:
    """Up to 65,536 compact rows, laid out for scoring when the first target comes."""

    def __init__(self, start: int, rows: CompactRows) -> None:
        self.start, self.rows = start, rows
        self.error = float(rows.errors.max())
        self.norm = float(rows.norms.max())

    @cached_property
    def _product(self) -> Product:
        return product_of(np.ascontiguousarray(self.rows.codes))

    def squares(self, query: Query) -> Floats:
        """||q_i - h||^2 for every row, within `_SINGLE` of ||q_i||^2 + ||h||^2."""
        products = self._product(query.digits)
        distances: Floats = products[0] * np.float32(-2 * query.coarse)
        distances += products[1] * np.float32(-2 * query.fine)
        distances *= self.rows.scales
        distances += self.rows.norms
        distances += np.float32(query.square)
        return distances


class FirstPass:
    """All compact rows of a library in one frame, scanned in blocks."""

    def __init__(self, frame: Frame, rows: CompactRows, *, start: int = 0) -> None:
        self.frame, self.start, self.n_rows = frame, start, len(rows)
        self._blocks = [
            Block(start + first, rows[first : first + BLOCK])
            for first in range(0, len(rows), BLOCK)
        ]

    def scan(self, target: Vector, horizon: NearestBound, hidden: Sequence[IntVector]) -> None:
        """Show every block to the horizon; `hidden` lists the rows of each that do not count."""
        query = as_query(target, self.frame)
        for block, unseen in zip(self._blocks, hidden, strict=True):
            if query is None:
                rows = np.setdiff1d(np.arange(len(block.rows)), unseen)
                horizon.keep_all(block.start + rows)
                continue
            squares = block.squares(query)
            squares[unseen] = np.inf
            horizon.see(block, query, squares, self.frame.unit)

    def hidden(self, visible: Mask) -> list[IntVector]:
        """Rows of each block that a mask over the whole library leaves out."""
        return [
            np.flatnonzero(~visible[b.start : b.start + len(b.rows)]).astype(np.int64)
            for b in self._blocks
        ]


class NearestBound:
    """The rows that may be among the k nearest, and how far the k-th nearest can be at most.

    From |‖z_i - t‖ - unit ‖q_i - h‖| <= unit (error_i + error): a row whose smallest possible
    distance exceeds the k-th smallest of the largest possible ones cannot be among the k nearest.
    """

    def __init__(self, k: int) -> None:
        self._k, self.limit = k, np.inf
        self._highs = np.empty(0)
        self._rows: list[IntVector] = []
        self._lows: list[Vector] = []

    def see(self, block: Block, query: Query, squares: Floats, unit: float) -> None:
        """Take from a block what may be near; distances are compared in the unit of z."""
        rough = _SINGLE * (block.norm + query.square) + _FLOOR
        if not np.isfinite(self.limit) and len(squares) > self._k:
            kth = float(np.partition(squares[: max(_SAMPLE, self._k)], self._k - 1)[self._k - 1])
            self.limit = _SLACK * unit * ((kth + rough) ** 0.5 + block.error + query.error)
        reach = self.limit / unit + block.error + query.error
        near = np.flatnonzero(squares <= np.float32(min(reach * reach + rough, _UNBOUNDED)))
        if not len(near):
            return
        norms = block.rows.norms[near].astype(np.float64)
        rounding = _SINGLE * (norms + query.square) + _FLOOR
        slack = block.rows.errors[near].astype(np.float64) + query.error
        scores = squares[near].astype(np.float64)
        with np.errstate(over="ignore"):
            lows = unit * (np.sqrt(np.maximum(scores - rounding, 0.0)) - slack)
            highs = unit * (np.sqrt(np.maximum(scores + rounding, 0.0)) + slack)
        self._narrow(highs)
        is_kept = lows <= self.limit
        self._rows.append(block.start + near[is_kept])
        self._lows.append(lows[is_kept])

    def keep_all(self, rows: IntVector) -> None:
        """Keep rows about which nothing is known."""
        self._rows.append(rows)
        self._lows.append(np.full(len(rows), -np.inf))

    def survivors(self) -> IntVector:
        """Rows that no bound excludes, ascending: they hold the k nearest and all equal ones."""
        if not self._rows:
            return np.empty(0, dtype=np.int64)
        rows = np.concatenate(self._rows)
        return np.sort(rows[np.concatenate(self._lows) <= self.limit])

    def _narrow(self, highs: Vector) -> None:
        highs = np.concatenate([self._highs, highs])
        if len(highs) > self._k:
            highs = np.partition(highs, self._k - 1)[: self._k]
        self._highs = highs
        if len(highs) == self._k:
            self.limit = min(self.limit, _SLACK * float(highs.max()))

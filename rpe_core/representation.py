"""The representation z: the mean encoder feature of a dataset version, summed without rounding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.fingerprint import fingerprint, make_id
from rpe_core.records import BaseModel, Representation

Vector = npt.NDArray[np.float64]

_LIMB_BITS = 30  # a value is cut into three integers: units of 2^-10, 2^-40 and 2^-70
_UNIT_BITS = 70
_LARGEST = 2.0**20  # of a feature, so that its square still has an exact integer part
_ROWS = 4096  # summed at a time in int64 before Python's unbounded integers take over


@dataclass(frozen=True)
class MeanFeature:
    """n items; their mean and population variance per dimension, each of shape (d,), in fp64."""

    n: int
    mean: Vector
    variance: Vector


def mean_feature(
    features: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]],
) -> MeanFeature:
    """The mean z = (1/n) sum_j E(x_j) over batches of (indices (b,), features (b, d)).

    Sums are exact integers in units of 2^-70, so no order and no cut into batches changes a bit.

    >>> whole = mean_feature([(np.arange(3), np.array([[1e6], [0.1], [-1e6]]))])
    >>> rows = [np.array([[x]]) for x in (0.1, -1e6, 1e6)]
    >>> parts = mean_feature((np.array([i]), row) for i, row in enumerate(rows))
    >>> float(whole.mean[0]), bool(parts.variance == whole.variance)
    (0.03333333333333333, True)

    Raises:
        InputError: if there is no item, or a feature is NaN, infinite or beyond 2^20; the message
            names the item's index only.
        ShapeMismatch: if batches differ in dimension.
    """
    n, first, second = 0, _zeros(0), _zeros(0)
    for indices, batch in features:
        rows = np.asarray(batch, dtype=np.float64)
        if n == 0:
            first, second = _zeros(rows.shape[1]), _zeros(rows.shape[1])
        _require_usable(indices, rows, dimension=len(first))
        n += len(rows)
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            first, second = first + _exact_sum(part), second + _exact_sum(part * part)
    if n == 0:
        raise InputError("a representation needs at least one item.", expected="n >= 1")
    unit = 1 << _UNIT_BITS
    mean = first / (n * unit)  # of integers: rounded once
    variance = np.maximum(n * unit * second - first * first, 0) / (n * unit) ** 2
    return MeanFeature(n, mean.astype(np.float64), variance.astype(np.float64))


@dataclass(frozen=True)
class Drift:
    """How far z has moved: ||z - z'||, its standard error, and what chance alone would move it.

    With s_j^2 = v_j / n + v'_j / n' the variance of both means in dimension j and u the direction
    of the move, the error is sqrt(sum u_j^2 s_j^2) (delta method) and `noise`, the root mean square
    distance of two samples of one population, sqrt(sum s_j^2). Rows count as independent: where a
    patient has many rows both are too small; where versions share rows they are too large.
    """

    distance: float
    standard_error: float
    noise: float


def drift_between(former: Representation, newer: Representation) -> Drift:
    """The move from one representation of a source to the next, under one encoder.

    Raises:
        ShapeMismatch: the two are not of one encoder and size.
    """
    if former.encoder_id != newer.encoder_id or len(former.z) != len(newer.z):
        raise ShapeMismatch(
            "Representations of two encoders are not compared.", expected=former.encoder_id
        )
    move = np.subtract(newer.z, former.z)
    variance = sum(
        np.array(representation.variance) / representation.n_items
        for representation in (former, newer)
    )
    distance, noise = float(np.linalg.norm(move)), float(np.sqrt(np.sum(variance)))
    if distance == 0.0:
        return Drift(0.0, noise, noise)
    error = float(np.sqrt(np.sum(np.square(move / distance) * variance)))
    return Drift(distance, error, noise)


def encoder_id(base: BaseModel, pooling: str) -> str:
    """`encoder:<base>@sha12` over all that shapes a feature: only equal ids may be compared."""
    made_of = {
        "base": base.sha256,
        "family": base.family,
        "dtype": base.dtype,
        "max_tokens": base.max_tokens,
        "pooling": pooling,
    }
    return make_id("encoder", base.name, fingerprint(made_of))


def _zeros(dimension: int) -> npt.NDArray[np.object_]:
    return np.array([0] * dimension, dtype=object)


def _exact_sum(values: Vector) -> npt.NDArray[np.object_]:
    """The column sums of values (b, d) in units of 2^-70, as unbounded integers."""
    total, rest, bits = _zeros(values.shape[1]), values, _UNIT_BITS - 2 * _LIMB_BITS
    for _ in range(3):
        limb = np.rint(np.ldexp(rest, bits))
        rest = rest - np.ldexp(limb, -bits)
        total = (total << _LIMB_BITS) + limb.astype(np.int64).sum(axis=0).astype(object)
        bits += _LIMB_BITS
    return total


def _require_usable(indices: npt.NDArray[np.int64], rows: Vector, *, dimension: int) -> None:
    if rows.ndim != 2 or rows.shape[1] != dimension or len(indices) != len(rows):
        raise ShapeMismatch(
            "batches of features do not fit each other.", expected=f"(b, {dimension}), b indices"
        )
    usable = (np.abs(rows) <= _LARGEST).all(axis=1)
    if not usable.all():
        item = int(np.asarray(indices)[~usable].min())
        raise InputError(
            "a feature is NaN, infinite or out of range.",
            where=f"item {item}",
            expected=f"finite features of at most {_LARGEST:.0f} in size",
        )

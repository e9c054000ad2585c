"""The first passes: what they leave out is proved to be out, whatever the numbers are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpe_core.retrieval.compact_rows import (
    FirstPass,
    Frame,
    NearestBound,
    as_query,
    encode,
    frame_of,
    packed_product,
    plain_product,
    product_of,
)
from tests.oracles.nearest import nearest_references

SCALES = st.sampled_from([1e-120, 1e-20, 1e-6, 1.0, 1e6, 1e20, 1e120])


@st.composite
def libraries(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """References with duplicates, outliers and an offset; a target; what may be seen."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, d = draw(st.integers(1, 60)), draw(st.integers(1, 24))
    scale = draw(SCALES)
    z = scale * rng.normal(size=(n, d)) + draw(st.sampled_from([0.0, 1.0, 1e6])) * scale
    if draw(st.booleans()):
        z = z[rng.integers(0, max(1, n // 4), n)]
    if draw(st.booleans()):
        z[rng.integers(n)] *= draw(st.sampled_from([0.0, 1e-12, 1e5, 1e9]))
    target = z[rng.integers(n)] + draw(st.sampled_from([0.0, 1e-9, 1.0, 1e4])) * scale * rng.normal(
        size=d
    )
    visible = rng.random(n) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    return z, target, visible


def scanned(z: np.ndarray, target: np.ndarray, visible: np.ndarray, k: int) -> np.ndarray:
    """Rows that the first pass keeps, from two parts with frames of their own."""
    cut = len(z) // 2
    horizon = NearestBound(k)
    for start, part in ((0, z[:cut]), (cut, z[cut:])):
        if len(part):
            frame = frame_of(part)
            one = FirstPass(frame, encode(part, frame), start=start)
            one.scan(target, horizon, one.hidden(visible))
    return horizon.survivors()


@settings(max_examples=300, deadline=None)
@given(libraries(), st.integers(1, 8))
def test_the_nearest_survive_the_first_pass(
    made: tuple[np.ndarray, np.ndarray, np.ndarray], k: int
) -> None:
    z, target, visible = made
    kept = scanned(z, target, visible, k)
    assert np.array_equal(kept, np.unique(kept))
    assert visible[kept].all()
    if visible.any():
        rows = np.flatnonzero(visible)
        nearest, distances = nearest_references(target, z[rows], k=k)
        ties = np.linalg.norm(z[rows] - target, axis=1) <= distances[-1]
        assert set(rows[nearest]) <= set(kept)
        assert set(rows[ties]) <= set(kept)


@settings(max_examples=200, deadline=None)
@given(libraries())
def test_every_row_lies_within_its_bound(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    z, target, _ = made
    frame = frame_of(z)
    rows = encode(z, frame)
    q = rows.codes * rows.scales.astype(np.float64)[:, None]
    y = (z - frame.center) / frame.unit
    assert (np.linalg.norm(y - q, axis=1) <= rows.errors).all()
    query = as_query(target, frame)
    if query is not None:
        h = query.digits.astype(np.float64).T @ [query.coarse, query.fine]
        assert np.linalg.norm((target - frame.center) / frame.unit - h) <= query.error


def test_a_first_pass_keeps_few_rows() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20_000, 64))
    kept = scanned(z, rng.normal(size=64), np.ones(len(z), dtype=bool), 16)
    assert 16 <= len(kept) < 200


@pytest.mark.parametrize("d", [1, 3, 31, 384, 2048])
def test_the_packed_product_is_exact(d: int) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(-127, 128, (77, d), dtype=np.int8)
    codes[0] = 127  # the largest sums that can be
    digits = rng.integers(-63, 64, (2, d)).astype(np.float32)
    digits[0] = 63
    whole = digits.astype(np.int64) @ codes.T.astype(np.int64)
    for product in (packed_product(codes), plain_product(codes), product_of(codes)):
        np.testing.assert_allclose(product(digits), whole, rtol=2.0**-20)


def test_what_cannot_be_coded_is_never_left_out() -> None:
    z = np.array([[0.0, 1.0], [1e300, -1e300], [2.0, 2.0]])
    frame = Frame(np.zeros(2), 1.0)
    rows = encode(z, frame)
    assert np.isinf(rows.errors[1])
    one, hidden = FirstPass(frame, rows), [np.empty(0, dtype=np.int64)]
    near, far = NearestBound(1), NearestBound(1)
    one.scan(np.zeros(2), near, hidden)
    assert near.survivors().tolist() == [0, 1]
    assert as_query(np.array([1e300, 0.0]), frame) is None
    one.scan(np.array([1e300, 0.0]), far, hidden)
    assert far.survivors().tolist() == [0, 1, 2]

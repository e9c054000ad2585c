import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rpe_core.representation import mean_feature

ROWS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(1, 3)),
    elements=st.floats(-1e6, 1e6, width=32),
)


def in_batches(rows, order, cuts):
    for part in np.split(order, sorted(cuts)):
        if len(part):
            yield part, rows[part]


@given(rows=ROWS, data=st.data())
def test_no_order_and_no_cut_into_batches_changes_a_bit(rows, data):
    n = len(rows)
    order = np.array(data.draw(st.permutations(range(n))))
    cuts = data.draw(st.lists(st.integers(0, n), max_size=4))
    whole = mean_feature([(np.arange(n), rows)])
    parts = mean_feature(in_batches(rows, order, cuts))
    assert whole.n == parts.n == n
    assert whole.mean.tobytes() == parts.mean.tobytes()
    assert whole.variance.tobytes() == parts.variance.tobytes()


@given(rows=ROWS)
def test_the_mean_lies_within_the_rows_and_the_variance_is_right(rows):
    found = mean_feature([(np.arange(len(rows)), rows)])
    exact = rows.astype(float)
    assert (found.mean >= exact.min(axis=0) - 1e-9).all()
    assert (found.mean <= exact.max(axis=0) + 1e-9).all()
    assert (found.variance >= 0).all()
    np.testing.assert_allclose(found.variance, exact.var(axis=0), rtol=1e-9, atol=1e-9)


@given(row=hnp.arrays(np.float32, 3, elements=st.floats(-100, 100, width=32)), n=st.integers(1, 9))
def test_equal_rows_have_themselves_as_mean(row, n):
    found = mean_feature([(np.arange(n), np.tile(row, (n, 1)))])
    np.testing.assert_allclose(found.mean, row.astype(float), rtol=0, atol=2.0**-70)
    np.testing.assert_allclose(found.variance, 0.0, atol=1e-17)

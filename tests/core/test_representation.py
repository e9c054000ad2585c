import math

import numpy as np
import pytest

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.families import text_encoder
from rpe_core.records import BaseModel
from rpe_core.representation import encoder_id, mean_feature
from tests.pico import pico_encoder, pico_texts

BASE = BaseModel("mini", "text-encoder", "builtin:x", "", "float32", 128, "ab" * 32)


def batches(rows, size):
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield np.arange(start, start + len(part)), part


def test_mean_and_variance_agree_with_exact_sums():
    rows = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)
    found = mean_feature(batches(rows, 32))
    exact = [math.fsum(column) / 500 for column in rows.T.astype(float)]
    assert found.n == 500
    np.testing.assert_array_max_ulp(found.mean, np.array(exact), maxulp=1)
    np.testing.assert_allclose(found.variance, rows.astype(float).var(axis=0), rtol=1e-12)
    assert found.mean.dtype == found.variance.dtype == np.float64


def test_a_batch_of_many_rows():
    rows = np.full((10_001, 1), 2.0**20)
    found = mean_feature([(np.arange(10_001), rows)])
    assert found.mean.tolist() == [2.0**20]
    assert found.variance.tolist() == [0.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_what_is_not_finite_is_named_by_index_only(bad):
    rows = np.ones((10, 3))
    rows[6, 1] = bad
    with pytest.raises(InputError) as caught:
        mean_feature(batches(rows, 4))
    assert caught.value.where == "item 6"


def test_no_item_has_no_mean():
    with pytest.raises(InputError, match="at least one"):
        mean_feature([])


def test_batches_of_other_dimension_are_refused():
    with pytest.raises(ShapeMismatch):
        mean_feature([(np.arange(2), np.ones((2, 3))), (np.arange(2), np.ones((2, 4)))])
    with pytest.raises(ShapeMismatch):
        mean_feature([(np.arange(3), np.ones((2, 3)))])


def test_the_encoders_mean_does_not_depend_on_order_or_batch_size(tmp_path):
    base = text_encoder.load(str(pico_encoder(tmp_path)), max_tokens=32)
    items, _ = pico_texts(np.random.default_rng(0), 100)
    one = mean_feature(text_encoder.encode(base, items))
    again = mean_feature(text_encoder.encode(base, items))
    assert one.mean.tobytes() == again.mean.tobytes()
    for other in (
        mean_feature(text_encoder.encode(base, items[::-1])),
        mean_feature(text_encoder.encode(base, items, batch_size=7)),
    ):
        np.testing.assert_allclose(other.mean, one.mean, atol=1e-7)
        np.testing.assert_allclose(other.variance, one.variance, atol=1e-6)


def test_an_encoder_is_known_by_all_that_shapes_a_feature():
    from dataclasses import replace

    ids = {
        encoder_id(BASE, "mean"),
        encoder_id(BASE, "first"),
        encoder_id(replace(BASE, max_tokens=64), "mean"),
        encoder_id(replace(BASE, dtype="bfloat16"), "mean"),
        encoder_id(replace(BASE, sha256="cd" * 32), "mean"),
    }
    assert len(ids) == 5
    assert all(name.startswith("encoder:mini@") for name in ids)
    assert encoder_id(replace(BASE, model="/elsewhere", revision="x"), "mean") in ids

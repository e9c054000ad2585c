import math
from dataclasses import replace

import numpy as np
import pytest

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.families import text_encoder
from rpe_core.records import BaseModel, Representation
from rpe_core.representation import drift_between, encoder_id, mean_feature
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


def test_drift_tells_a_move_from_chance_and_how_sure_its_length_is():
    rng, spread, shift = np.random.default_rng(0), np.array([1.0, 2.0, 0.5]), 0.6

    def place(n, moved):
        mean = mean_feature(batches(rng.normal(size=(n, 3)) * spread + [moved, 0.0, 0.0], n))
        z, variance = (tuple(part.tolist()) for part in (mean.mean, mean.variance))
        return Representation("r", "d", "e", "target", n, z, variance)

    still = [drift_between(place(200, 0.0), place(300, 0.0)) for _ in range(300)]
    lengths = np.array([found.distance for found in still])
    noise = np.sqrt((spread**2).sum() * (1 / 200 + 1 / 300))
    assert np.sqrt(np.mean(lengths**2)) == pytest.approx(noise, rel=0.1)
    assert np.mean([found.noise for found in still]) == pytest.approx(noise, rel=0.02)
    moved = [drift_between(place(200, 0.0), place(300, shift)) for _ in range(300)]
    error = np.std([found.distance for found in moved])
    assert np.mean([found.standard_error for found in moved]) == pytest.approx(error, rel=0.15)
    assert drift_between(place(200, 0.0), place(300, shift)).distance == pytest.approx(0.6, abs=0.4)


def test_drift_is_of_one_encoder_only_and_nothing_moves_from_itself():
    here = Representation("r", "d", "e", "target", 4, (1.0, 2.0), (4.0, 4.0))
    still = drift_between(here, here)
    assert (still.distance, still.standard_error, still.noise) == (0.0, 2.0, 2.0)
    with pytest.raises(ShapeMismatch):
        drift_between(here, replace(here, encoder_id="other"))

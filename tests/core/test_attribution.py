import numpy as np
import pytest
import torch

from rpe_core.attribution import attribute
from rpe_core.delta import LowRankDelta
from rpe_core.delta_gram import delta_gram, whole_gram
from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.records import StrategySpec
from rpe_core.weighting.strategies import weigh


def _adapters(seed, n=4):
    rng = torch.Generator().manual_seed(seed)

    def delta(rank, d_out, d_in):
        a, b = torch.randn(rank, d_in, generator=rng), torch.randn(d_out, rank, generator=rng)
        return LowRankDelta(a, b, 0.5 * rank)

    return [{"x": delta(1 + i, 5, 7)} | ({"y": delta(2, 3, 4)} if i else {}) for i in range(n)]


def _dense(adapters, weights):
    shapes = {"x": (5, 7), "y": (3, 4)}
    return [
        sum(
            (
                w * one[module].dense(dtype=torch.float64)
                for one, w in zip(adapters, weights, strict=True)
                if module in one
            ),
            torch.zeros(shape, dtype=torch.float64),
        )
        for module, shape in shapes.items()
    ]


def test_the_gram_of_factors_is_that_of_dense_deltas_of_mixed_ranks_and_modules():
    adapters = _adapters(0)
    flat = [torch.cat([m.flatten() for m in _dense(adapters, row)]) for row in np.eye(4)]
    expected = torch.stack(flat) @ torch.stack(flat).T
    np.testing.assert_allclose(delta_gram(adapters), expected.numpy(), rtol=1e-12)


def test_the_gram_of_whole_tensors_counts_from_the_base():
    rng = torch.Generator().manual_seed(3)
    base = {name: torch.randn(4, 3, generator=rng) for name in "xy"}
    first = [{"x": torch.randn(4, 3, generator=rng)} for _ in range(3)]
    adapters = [*first, {name: torch.randn(4, 3, generator=rng) for name in "xy"}]
    flat = [
        torch.cat([(one.get(name, base[name]).double() - base[name]).flatten() for name in "xy"])
        for one in adapters
    ]
    expected = torch.stack(flat) @ torch.stack(flat).T
    np.testing.assert_allclose(whole_gram(adapters, base), expected.numpy(), rtol=1e-12)


def test_the_change_of_the_merged_delta_is_that_of_the_dense_sums():
    adapters, ids = _adapters(1), ["a", "b", "c", "d"]
    w, v = np.array([0.7, -0.2, 0.5, 0.0]), np.array([0.0, 0.4, 0.3, 0.3])
    found = attribute(
        dict(zip(ids[:3], w[:3], strict=True)),
        {"s1": dict(zip(ids, v, strict=True))},
        sources={"a": "s1", "b": "s2", "c": "s3"},
        adapter_ids=ids,
        gram=delta_gram(adapters),
    )[0]
    whole, without = _dense(adapters, w), _dense(adapters, v)
    norm = sum(float((m**2).sum()) for m in whole) ** 0.5
    change = sum(float(((m - n) ** 2).sum()) for m, n in zip(whole, without, strict=True)) ** 0.5
    assert found.delta_change_ratio == pytest.approx(change / norm, rel=1e-10)
    assert found.weight_change == pytest.approx(np.abs(w - v).sum())
    assert (found.source, found.weight) == ("s1", 0.7)


def test_a_source_without_weight_contributed_nothing():
    rng = np.random.default_rng(0)
    target, references = rng.normal(size=8) * 2, rng.normal(size=(6, 8))
    raw = StrategySpec("r", "linear_l1", {"lambda2": 1e6, "scale": "raw", "ridge": 1e-9})
    ids = [f"a{i}" for i in range(6)]

    def weights(kept):
        solved = weigh(raw, target, references[kept]).weights
        return {ids[i]: float(w) for i, w in zip(kept, solved, strict=True)}

    whole = weights(range(6))
    idle = [i for i in range(6) if whole[ids[i]] == 0]
    assert idle
    found = attribute(
        whole,
        {ids[i]: weights([j for j in range(6) if j != i]) for i in range(6)},
        sources={i: i for i in ids},
        adapter_ids=ids,
        gram=np.eye(6),
    )
    by_source = {one.source: one for one in found}
    for i in range(6):
        if i in idle:
            assert by_source[ids[i]].weight_change == pytest.approx(0, abs=1e-6)
            assert by_source[ids[i]].delta_change_ratio == pytest.approx(0, abs=1e-6)
        else:
            assert by_source[ids[i]].weight_change > 1e-3


def test_without_its_only_source_the_ensemble_is_the_base():
    found = attribute(
        {"x": 0.4, "y": 0.6},
        {"s": {}},
        sources={"x": "s", "y": "s"},
        adapter_ids=["x", "y"],
        gram=np.array([[2.0, 1.0], [1.0, 2.0]]),
    )[0]
    assert (found.weight, found.weight_change, found.delta_change_ratio) == (1.0, 1.0, 1.0)


def test_a_zero_delta_gives_no_ratio():
    options = {"sources": {"x": "s"}, "adapter_ids": ["x", "y"], "gram": np.diag([0.0, 1.0])}
    assert attribute({"x": 1.0}, {"s": {}}, **options)[0].delta_change_ratio == 0
    assert attribute({"x": 1.0}, {"s": {"y": 1.0}}, **options)[0].delta_change_ratio == -1


def test_wrong_input_is_refused():
    with pytest.raises(ShapeMismatch):
        attribute({}, {}, sources={}, adapter_ids=["x"], gram=np.eye(2))
    with pytest.raises(InputError):
        attribute({"z": 1.0}, {}, sources={"z": "s"}, adapter_ids=["x"], gram=np.eye(1))
    one, other = _adapters(0, n=1)[0], {"x": LowRankDelta(torch.ones(1, 7), torch.ones(4, 1))}
    with pytest.raises(ShapeMismatch, match="shape"):
        delta_gram([one, other])

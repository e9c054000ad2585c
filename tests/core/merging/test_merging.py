import pytest
import torch

from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError, ShapeMismatch, UnknownName
from rpe_core.merging.dense import sum_products
from rpe_core.merging.table import MERGE_METHODS, merge_deltas


def _delta(seed, rank=2, d_in=6, d_out=5, scaling=1.0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, d_in, generator=rng).to(dtype)
    return LowRankDelta(a, torch.randn(d_out, rank, generator=rng).to(dtype), scaling)


def _relative(ours, exact):
    return float((ours.double() - exact).norm() / exact.norm())


def _members():
    """Mixed ranks and scalings, a module that a member lacks, a negative weight."""
    return [
        ({"q": _delta(0, rank=2, scaling=4.0), "v": _delta(1, rank=3)}, 0.7),
        ({"q": _delta(2, rank=3, scaling=0.5)}, -0.4),
        ({"q": _delta(3, rank=1, dtype=torch.bfloat16), "v": _delta(4, d_in=6)}, 0.7),
    ]


@pytest.mark.parametrize("method", sorted(MERGE_METHODS))
@pytest.mark.parametrize("shape", [(9, 30), (30, 9), (8, 8)])
def test_every_method_is_the_dense_sum_when_its_rank_allows(method, shape):
    d_out, d_in = shape
    terms = [
        (_delta(i, rank=i + 1, d_in=d_in, d_out=d_out, scaling=i - 1.5), w)
        for i, w in enumerate((0.9, -0.6, 0.7))
    ]
    exact = sum_products(terms)
    rank = 6 if method == "svd" else None
    merged = merge_deltas(method, [({"m": delta}, weight) for delta, weight in terms], rank=rank)
    assert merged.deltas["m"].a.dtype == merged.deltas["m"].b.dtype == torch.float32
    assert _relative(merged.deltas["m"].dense(dtype=torch.float64), exact) <= 1e-6
    assert merged.relative_error <= (1e-6 if method == "svd" else 0.0)
    assert merged.error_bound <= 1e-12


def test_concat_adds_ranks_and_treats_a_missing_module_as_zero():
    members = _members()
    merged = merge_deltas("concat", members)
    assert list(merged.deltas) == ["q", "v"]
    assert [delta.rank for delta in merged.deltas.values()] == [6, 5]
    assert merged.rank == 6
    for module, delta in merged.deltas.items():
        exact = sum_products([(d[module], w) for d, w in members if module in d])
        assert delta.scaling == 1.0
        assert _relative(delta.dense(dtype=torch.float64), exact) <= 1e-6


def test_members_of_weight_zero_add_no_rank():
    merged = merge_deltas(
        "concat", [({"q": _delta(0)}, 1.0), ({"q": _delta(1), "z": _delta(2)}, 0.0)]
    )
    assert {module: delta.rank for module, delta in merged.deltas.items()} == {"q": 2}


def test_dense_takes_the_smaller_side_as_rank():
    wide = merge_deltas("dense", [({"m": _delta(0, d_in=9, d_out=4)}, 1.0)]).deltas["m"]
    tall = merge_deltas("dense", [({"m": _delta(0, d_in=4, d_out=9)}, 1.0)]).deltas["m"]
    assert (wide.rank, tall.rank) == (4, 4)
    assert torch.equal(wide.b, torch.eye(4))
    assert torch.equal(tall.a, torch.eye(4))


def test_svd_is_the_best_of_its_rank_and_its_error_is_true():
    terms = [(_delta(i, rank=4, d_in=30, d_out=20), w) for i, w in enumerate((0.8, 0.5, -0.3))]
    exact = sum_products(terms)
    singular = torch.linalg.svdvals(exact)
    for rank in (1, 3, 8):
        merged = merge_deltas("svd", [({"m": d}, w) for d, w in terms], rank=rank)
        bound = float(singular[rank:].norm() / singular.norm())
        assert merged.deltas["m"].rank == rank
        assert merged.error_bound == pytest.approx(bound, rel=1e-9)
        assert merged.relative_error == pytest.approx(bound, rel=1e-6)
        found = _relative(merged.deltas["m"].dense(dtype=torch.float64), exact)
        assert found == pytest.approx(bound, rel=1e-6)


def test_svd_error_is_over_all_modules():
    members = [({"m": _delta(0), "n": _delta(1, scaling=10.0)}, 1.0)]
    merged = merge_deltas("svd", members, rank=1)
    lost = total = 0.0
    for module, delta in members[0][0].items():
        exact = delta.dense(dtype=torch.float64)
        lost += float((merged.deltas[module].dense(dtype=torch.float64) - exact).square().sum())
        total += float(exact.square().sum())
    assert merged.relative_error == pytest.approx((lost / total) ** 0.5, rel=1e-6)


def test_svd_takes_the_largest_rank_of_a_member_by_default():
    members = [({"m": _delta(0, rank=2)}, 0.5), ({"m": _delta(1, rank=3)}, 0.5)]
    assert merge_deltas("svd", members).deltas["m"].rank == 3


def test_a_sum_that_cancels_has_no_error():
    members = [({"m": _delta(0)}, 1.0), ({"m": _delta(0)}, -1.0)]
    for method in MERGE_METHODS:
        merged = merge_deltas(method, members)
        assert merged.relative_error <= 1e-6
        assert float(merged.deltas["m"].dense().abs().max()) <= 1e-5


@pytest.mark.parametrize("method", sorted(MERGE_METHODS))
def test_the_number_of_threads_changes_no_bit_and_is_given_back(method):
    big = [({"m": _delta(i, rank=40, d_in=600, d_out=500)}, w) for i, w in enumerate((0.6, 0.4))]
    before = torch.get_num_threads()
    merged = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            merged.append(merge_deltas(method, big).deltas["m"])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(merged[0].a, merged[1].a)
    assert torch.equal(merged[0].b, merged[1].b)


def test_wrong_input_is_refused():
    one = {"m": _delta(0)}
    with pytest.raises(UnknownName, match="did you mean 'concat'"):
        merge_deltas("concatt", [(one, 1.0)])
    with pytest.raises(InputError, match="nothing to merge"):
        merge_deltas("concat", [])
    with pytest.raises(InputError, match="nothing to merge"):
        merge_deltas("concat", [(one, 0.0)])
    with pytest.raises(InputError, match="not finite"):
        merge_deltas("concat", [(one, float("nan"))])
    with pytest.raises(InputError, match="rank"):
        merge_deltas("concat", [(one, 1.0)], rank=2)
    with pytest.raises(InputError, match="rank"):
        merge_deltas("svd", [(one, 1.0)], rank=0)
    with pytest.raises(ShapeMismatch, match="different bases"):
        merge_deltas("concat", [(one, 0.5), ({"m": _delta(0, d_in=7)}, 0.5)])
    with pytest.raises(InputError, match="exceed the dtype"):
        merge_deltas("concat", [({"m": _delta(0, scaling=1e300)}, 1.0)])

"""Merging in memory against an independent dense sum in fp64, whatever ranks, scalings, weights."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rpe_core.delta import LowRankDelta
from rpe_core.merging.dense import sum_products
from rpe_core.merging.table import merge_deltas

busy = settings(deadline=None)  # the machine may have other work


@st.composite
def members(draw):
    """Adapters over up to two modules with any ranks, scalings and weights."""
    shapes = {name: (draw(st.integers(1, 7)), draw(st.integers(1, 7))) for name in ("m", "n")}
    made = []
    for _ in range(draw(st.integers(1, 4))):
        rng = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
        deltas = {}
        for name in draw(st.sampled_from([("m",), ("n",), ("m", "n")])):
            d_out, d_in = shapes[name]
            rank, scaling = draw(st.integers(1, 4)), draw(st.sampled_from([0.25, 1.0, 2.0, 8.0]))
            a = torch.randn(rank, d_in, generator=rng)
            deltas[name] = LowRankDelta(a, torch.randn(d_out, rank, generator=rng), scaling)
        made.append((deltas, draw(st.floats(-2, 2).filter(lambda w: abs(w) > 1e-3))))
    return made


def _terms(made, module):
    return [(deltas[module], weight) for deltas, weight in made if module in deltas]


def _size(terms):
    """The scale of rounding: what the terms amount to before they cancel."""
    return sum(abs(w) * float(d.dense(dtype=torch.float64).norm()) for d, w in terms)


@busy
@given(members())
def test_concat_and_dense_equal_the_dense_sum(made):
    for method in ("concat", "dense"):
        for module, delta in merge_deltas(method, made).deltas.items():
            terms = _terms(made, module)
            difference = delta.dense(dtype=torch.float64) - sum_products(terms)
            assert float(difference.norm()) <= 1e-6 * _size(terms)


@busy
@given(members(), st.integers(1, 8))
def test_svd_error_equals_the_discarded_singular_energy(made, rank):
    merged = merge_deltas("svd", made, rank=rank)
    discarded = total = size = 0.0
    for module, delta in merged.deltas.items():
        terms = _terms(made, module)
        exact = sum_products(terms)
        energy = torch.linalg.svdvals(exact).square()
        discarded, total = discarded + float(energy[rank:].sum()), total + float(energy.sum())
        size += _size(terms)
        assert delta.rank <= rank
        lost = float((delta.dense(dtype=torch.float64) - exact).norm())
        assert abs(lost - float(energy[rank:].sum()) ** 0.5) <= 2e-6 * _size(terms)
    assert abs(merged.error_bound * total**0.5 - discarded**0.5) <= 1e-7 * size
    assert abs(merged.relative_error * total**0.5 - discarded**0.5) <= 2e-6 * size


@busy
@given(members(), st.floats(0.05, 1.0))
def test_svd_by_energy_keeps_the_share_and_no_rank_more(made, energy):
    merged = merge_deltas("svd", made, energy=energy)
    for module, delta in merged.deltas.items():
        squares = torch.linalg.svdvals(sum_products(_terms(made, module))).square()
        noise = 1e-10 * _size(_terms(made, module)) ** 2
        assert float(squares[: delta.rank].sum()) >= energy * float(squares.sum()) - noise
        fewer = float(squares[: delta.rank - 1].sum())
        assert delta.rank == 1 or fewer <= energy * float(squares.sum()) + noise


@busy
@given(members())
def test_a_merge_of_one_member_with_weight_one_is_that_member(made):
    deltas = made[0][0]
    for module, delta in merge_deltas("concat", [(deltas, 1.0)]).deltas.items():
        exact = deltas[module].dense(dtype=torch.float64)
        assert float((delta.dense(dtype=torch.float64) - exact).norm()) <= 1e-6 * exact.norm()


@busy
@given(members())
def test_the_same_members_give_the_same_bits(made):
    for method in ("concat", "svd", "dense"):
        first, second = merge_deltas(method, made), merge_deltas(method, made)
        for module, delta in first.deltas.items():
            assert torch.equal(delta.a, second.deltas[module].a)
            assert torch.equal(delta.b, second.deltas[module].b)

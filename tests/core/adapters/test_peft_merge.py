import math

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from rpe_core.adapters.peft_merge import PEFT_MERGES, merge_deltas_with_peft, merge_with_peft
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError, ShapeMismatch, UnknownName
from rpe_core.merging.peft_folders import read_adapter, write_adapter

D_IN, D_OUT = 10, 8


def deltas(seed, rank=3, scaling=0.5):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: LowRankDelta(
            torch.randn(rank, D_IN, generator=generator),
            torch.randn(D_OUT, rank, generator=generator),
            scaling,
        )
        for name in ("first", "second")
    }


def by_peft(members, combination, weights, **more):
    """What PEFT's own add_weighted_adapter makes of the same adapters."""
    model = nn.ModuleDict({name: nn.Linear(D_IN, D_OUT) for name in ("first", "second")})
    for index, member in enumerate(members):
        rank = member["first"].rank
        config = LoraConfig(
            r=rank, lora_alpha=rank * member["first"].scaling, target_modules=["first", "second"]
        )
        if index == 0:
            model = get_peft_model(model, config, adapter_name="0")
        else:
            model.add_adapter(str(index), config)
        for name, delta in member.items():
            module = model.base_model.model[name]
            module.lora_A[str(index)].weight.data = delta.a.clone()
            module.lora_B[str(index)].weight.data = delta.b.clone()
    names = [str(index) for index in range(len(members))]
    model.add_weighted_adapter(names, weights, "merged", combination_type=combination, **more)
    return {name: model.base_model.model[name].get_delta_weight("merged") for name in members[0]}


def assert_same(found, expected):
    for name, delta in found.deltas.items():
        torch.testing.assert_close(delta.dense(), expected[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("weights", [[0.7, 0.3], [1.4, -0.4]])
def test_linear_is_pefts_linear_and_not_the_sum(weights):
    members = [deltas(0), deltas(1, scaling=2.0)]
    found = merge_deltas_with_peft("linear", list(zip(members, weights, strict=True)))
    assert_same(found, by_peft(members, "linear", weights))
    exact = sum(
        weight * member["first"].dense() for member, weight in zip(members, weights, strict=True)
    )
    error = (found.deltas["first"].dense() - exact).norm() / exact.norm()
    assert error > 0.3


def test_ties_is_pefts_ties_svd_with_weights_of_mean_one():
    members, weights = [deltas(0), deltas(1, scaling=2.0), deltas(2)], [0.5, 0.3, 0.2]
    found = merge_deltas_with_peft(
        "ties", list(zip(members, weights, strict=True)), density=0.4, rank=D_OUT
    )
    expected = by_peft(
        members, "ties_svd", [3 * weight for weight in weights], density=0.4, svd_rank=D_OUT
    )
    assert_same(found, expected)
    assert found.relative_error < 1e-6


def test_ties_of_equal_members_trims_and_nothing_else():
    member = deltas(0)
    found = merge_deltas_with_peft("ties", [(member, 0.5), (member, 0.5)], density=0.5, rank=D_OUT)
    dense = member["first"].dense()
    kept = found.deltas["first"].dense()
    strongest = dense.abs() >= dense.abs().flatten().topk(D_IN * D_OUT // 2).values[-1]
    torch.testing.assert_close(kept, dense * strongest, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_is_a_function_of_its_seed_and_leaves_the_global_generator_alone(method):
    members = [(deltas(0), 0.6), (deltas(1), 0.4)]
    state = torch.get_rng_state()
    one, again, other = (
        merge_deltas_with_peft(method, members, seed=seed).deltas["first"].dense()
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_dare_linear_is_the_exact_sum_on_average():
    members = [(deltas(0), 1.4), (deltas(1), -0.4)]
    exact = 1.4 * members[0][0]["first"].dense() - 0.4 * members[1][0]["first"].dense()
    drawn = [
        merge_deltas_with_peft("dare_linear", members, seed=seed, rank=D_OUT) for seed in range(400)
    ]
    mean = torch.stack([one.deltas["first"].dense() for one in drawn]).mean(dim=0)
    assert (mean - exact).norm() / exact.norm() < 4 / math.sqrt(400)


@pytest.mark.parametrize("method", PEFT_MERGES)
def test_folders_in_plain_peft_folder_out(tmp_path, method):
    members = []
    for seed, weight in ((0, 0.7), (1, 0.3)):
        write_adapter(tmp_path / f"{seed}", deltas(seed), base_name="mini", task_type=None)
        members.append((tmp_path / f"{seed}", weight))
    report = merge_with_peft(members, tmp_path / "out", method=method)
    again = merge_with_peft(members, tmp_path / "again", method=method)
    assert report == again
    assert report.method == method
    assert report.rank <= 6
    assert 0 <= report.relative_error < 1
    found = read_adapter(tmp_path / "out")
    assert found.config["base_model_name_or_path"] == "mini"
    model = nn.ModuleDict({name: nn.Linear(D_IN, D_OUT) for name in ("first", "second")})
    loaded = PeftModel.from_pretrained(model, tmp_path / "out")
    torch.testing.assert_close(
        loaded.base_model.model["first"].get_delta_weight("default"),
        found.deltas["first"].dense(),
    )


def test_bad_requests():
    member = (deltas(0), 1.0)
    with pytest.raises(UnknownName, match="dare_linear"):
        merge_deltas_with_peft("dare", [member])
    with pytest.raises(InputError):
        merge_deltas_with_peft("ties", [])
    with pytest.raises(InputError):
        merge_deltas_with_peft("ties", [member], density=1.0)
    with pytest.raises(ShapeMismatch, match="equal ranks"):
        merge_deltas_with_peft("linear", [member, (deltas(1, rank=2), 1.0)])

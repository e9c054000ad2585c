"""A delta is held against the weight that it is added to: in import, training, merge and fold."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError
from rpe_core.merging.files.checkpoint import Checkpoint
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.merging.prompts import write_prompts
from rpe_core.merging.strength import (
    LARGEST_RATIO,
    delta_norm,
    require_bounded,
    require_bounded_deltas,
)

MODULE, OTHER = "layer.0.query", "layer.0.zero"
D, R = 24, 4


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def base(tmp_path: Path, rng: torch.Generator) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    weights = {
        f"{MODULE}.weight": torch.randn(D, D, generator=rng) * 0.05,
        f"{OTHER}.weight": torch.zeros(D, D),
        "head.bias": torch.zeros(D),
    }
    save_file(weights, folder / "model.safetensors")
    return folder


def adapter(
    folder: Path, rng: torch.Generator, *, times: float, base: Path, module: str = MODULE
) -> Path:
    """An adapter whose delta has so many times the norm of the usual weight."""
    delta = LowRankDelta(torch.randn(R, D, generator=rng), torch.randn(D, R, generator=rng))
    norm = Checkpoint(base).norm(f"{MODULE}.weight")
    scale = times * norm / float(torch.linalg.matrix_norm(delta.dense(dtype=torch.float64)))
    found = LowRankDelta(delta.a, delta.b * scale)
    write_adapter(folder, {module: found}, base_name="base", task_type=None)
    return folder


def edit(folder: Path, name: str, change: float) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    [key] = [key for key in tensors if name in key]
    tensors[key] = torch.full_like(tensors[key], change)
    save_file(tensors, folder / "adapter_model.safetensors")


def test_the_norm_is_that_of_the_product(rng: torch.Generator) -> None:
    for rank, scale in ((1, 1.0), (R, 1e-30), (D, 1e15)):
        a, b = torch.randn(rank, D, generator=rng), torch.randn(7, rank, generator=rng) * scale
        delta = LowRankDelta(a, b, -2.0)
        exact = torch.linalg.matrix_norm(delta.dense(dtype=torch.float64))
        assert delta_norm(delta) == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("times", [1e-30, 0.1, 1.0, 20.0, LARGEST_RATIO * 0.99])
@pytest.mark.parametrize("module", [MODULE, OTHER])
def test_strong_and_weak_adapters_are_sound(
    tmp_path: Path, rng: torch.Generator, base: Path, times: float, module: str
) -> None:
    folder = adapter(tmp_path / "a", rng, times=times, base=base, module=module)
    usual = times if module == MODULE else times * 0.7  # half of the base's numbers are zero
    if usual < LARGEST_RATIO:
        require_bounded(
            adapter(tmp_path / "b", rng, times=usual, base=base, module=module), Checkpoint(base)
        )
    merge([(folder, 1e-3)], tmp_path / "out")


@pytest.mark.parametrize("times", [LARGEST_RATIO * 1.01, 1e6, 1e15])
@pytest.mark.parametrize("module", [MODULE, OTHER])
def test_what_drowns_the_base_is_refused_at_every_door(
    tmp_path: Path, rng: torch.Generator, base: Path, times: float, module: str
) -> None:
    folder = adapter(tmp_path / "a", rng, times=times, base=base, module=module)
    with pytest.raises(InputError, match=r"times the norm of the weight") as caught:
        require_bounded(folder, Checkpoint(base))
    assert module in str(caught.value)
    assert "256" in str(caught.value)
    for how in ({"method": "fold"}, {"method": "concat"}, {"method": "svd"}, {"method": "dense"}):
        with pytest.raises(InputError, match="times the norm") as caught:
            merge([(folder, 0.5)], tmp_path / "out", base=base, **how)
        assert str(folder) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_sum_is_held_to_it_as_well(tmp_path: Path, rng: torch.Generator, base: Path) -> None:
    one = adapter(tmp_path / "a", rng, times=200.0, base=base)
    two = adapter(tmp_path / "b", rng, times=200.0, base=base)
    merge([(one, 2.0), (one, -1.5)], tmp_path / "near", base=base)
    for method in ("fold", "concat"):
        with pytest.raises(InputError, match="sum of the deltas"):
            merge([(one, 2.0), (two, -1.5)], tmp_path / "out", base=base, method=method)


@pytest.mark.parametrize("factor", ["lora_A", "lora_B"])
@pytest.mark.parametrize("value", [3e38, 1e20, math.inf, math.nan])
def test_numbers_that_cannot_be_multiplied_are_refused_without_a_base(
    tmp_path: Path, rng: torch.Generator, base: Path, factor: str, value: float
) -> None:
    folder = adapter(tmp_path / "a", rng, times=1.0, base=base)
    edit(folder, factor, value)
    other = "lora_B" if factor == "lora_A" else "lora_A"
    edit(folder, other, 1e-30)  # the product is small
    with pytest.raises(InputError, match=r"too large to multiply|NaN or infinity") as caught:
        merge([(folder, 1.0)], tmp_path / "out")
    assert factor in str(caught.value)
    with pytest.raises(InputError, match=factor):
        require_bounded(folder, Checkpoint(base))


@pytest.mark.parametrize(
    ("alpha", "a", "b", "is_sound"),
    [
        (1e60, 1e-32, 1e-32, False),
        (1e308, 1.0, 0.0, False),
        (1e38, 1e-36, 0.02, False),
        (1e20, 1e-12, 1e-12, True),
        (0.0, 1.0, 1.0, True),
        (-8.0, 0.1, 0.1, True),
    ],
)
def test_a_scaling_that_tiny_factors_make_up_for_is_refused_where_it_is_infinite_in_between(
    tmp_path: Path, rng: torch.Generator, base: Path, alpha: float, a: float, b: float,
    is_sound: bool,
) -> None:  # fmt: skip
    folder = adapter(tmp_path / "a", rng, times=1.0, base=base)
    edit(folder, "lora_A", a)
    edit(folder, "lora_B", b)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": alpha}))
    if is_sound:
        require_bounded(folder, Checkpoint(base))
        merge([(folder, 1.0)], tmp_path / "out", base=base)
        require_bounded(tmp_path / "out", Checkpoint(base))
        return
    for refused in (
        lambda: require_bounded(folder, Checkpoint(base)),
        lambda: merge([(folder, 1.0)], tmp_path / "out"),
        lambda: merge([(folder, 1.0)], tmp_path / "out", base=base, method="svd"),
    ):
        with pytest.raises(InputError, match=r"scaling of 'layer\.0\.query' is too large"):
            refused()


def test_a_product_beyond_fp32_is_refused_though_each_factor_is_finite(
    tmp_path: Path, rng: torch.Generator, base: Path
) -> None:
    folder = adapter(tmp_path / "a", rng, times=1.0, base=base)
    edit(folder, "lora_A", 1e18)
    edit(folder, "lora_B", 1e18)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["lora_alpha"] = 1e6
    (folder / "adapter_config.json").write_text(json.dumps(config))
    for method in ("concat", "dense", "svd"):
        with pytest.raises(InputError, match="more than fp32 can hold"):
            merge([(folder, 1.0)], tmp_path / "out", method=method)


def test_subnormal_factors_are_sound(tmp_path: Path, rng: torch.Generator, base: Path) -> None:
    folder = adapter(tmp_path / "a", rng, times=1.0, base=base)
    edit(folder, "lora_A", 1e-41)
    require_bounded(folder, Checkpoint(base))
    merge([(folder, 1.0)], tmp_path / "out", base=base)


def test_a_fold_beyond_fp16_says_how_much_it_holds(tmp_path: Path, rng: torch.Generator) -> None:
    base = tmp_path / "half"
    base.mkdir()
    save_file({f"{MODULE}.weight": torch.full((D, D), 3e4).half()}, base / "model.safetensors")
    folder = adapter(tmp_path / "a", rng, times=40.0, base=base)
    with pytest.raises(InputError, match=r"exceed the dtype(?s:.*)float16 up to 6.55e\+04"):
        merge([(folder, 1.0)], tmp_path / "out", base=base, method="fold")
    assert not (tmp_path / "out").exists()


def test_whole_tensors_are_held_against_the_bases_own(tmp_path: Path, base: Path) -> None:
    delta = {MODULE: LowRankDelta(torch.ones(1, D), torch.ones(D, 1) * 1e-3)}
    for number, (value, is_sound) in enumerate([(0.05, True), (1.0, True), (1e4, False)]):
        folder = tmp_path / str(number)
        whole = {"head.bias": torch.full((D,), value)}
        how = {"base_name": "base", "task_type": None, "modules_to_save": ["head"]}
        write_adapter(folder, delta, whole=whole, **how)
        if is_sound:
            require_bounded(folder, Checkpoint(base))
        else:
            with pytest.raises(InputError, match=r"head\.bias"):
                require_bounded(folder, Checkpoint(base))


def test_what_a_training_leaves_is_held_to_it(base: Path, rng: torch.Generator) -> None:
    a, b = torch.randn(R, D, generator=rng), torch.randn(D, R, generator=rng)
    checkpoint = Checkpoint(base)
    require_bounded_deltas({MODULE: LowRankDelta(a, b)}, checkpoint)  # some 20 times the weight
    with pytest.raises(InputError, match="times the norm"):
        require_bounded_deltas({MODULE: LowRankDelta(a, b, 1e3)}, checkpoint)
    with pytest.raises(InputError, match="NaN or infinity"):
        require_bounded_deltas({MODULE: LowRankDelta(a, b * math.inf)}, checkpoint)


def test_prompts_are_held_to_what_can_be_multiplied(tmp_path: Path, base: Path) -> None:
    for number, (value, is_sound) in enumerate([(30.0, True), (3e38, False)]):
        folder = tmp_path / str(number)
        write_prompts(folder, {"text.0": torch.full((2, D), value)}, base_name="base")
        if is_sound:
            require_bounded(folder, Checkpoint(base))
        else:
            with pytest.raises(InputError, match="too large to multiply"):
                require_bounded(folder, Checkpoint(base))

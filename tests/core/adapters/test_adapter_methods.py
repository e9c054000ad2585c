"""Every adapter method on every family: what is filed, in plain PEFT, is what was trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rpe_core.adapters import injection
from rpe_core.adapters.methods import miss, sora
from rpe_core.adapters.recipe import check_recipe
from rpe_core.adapters.table import ADAPTER_METHODS, LEARNED_PROMPTS, UNMERGEABLE
from rpe_core.errors import InputError
from rpe_core.families import attachment, clip
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import read_adapter, write_adapter
from rpe_core.merging.prompts import write_prompts
from rpe_core.training.seeding import own_random_state
from tests.method_places import (
    DTYPES,
    PLACES,
    Place,
    encoder_place,
    frozen,
    gathered,
    recipe_of,
    trained_on,
)

BAT = {"options": {"variant": "bat"}}
KINDS = [(method, r, {}) for method in ADAPTER_METHODS for r in (2, 5)] + [("miss", 4, BAT)]
MERGED = [method for method in ADAPTER_METHODS if method not in (*UNMERGEABLE, *LEARNED_PROMPTS)]
LORAS = [method for method in ADAPTER_METHODS if method not in LEARNED_PROMPTS]


@pytest.fixture(scope="module", params=[(f, d) for f in PLACES for d in DTYPES], ids="-".join)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    family, dtype = request.param
    return PLACES[family](tmp_path_factory.mktemp("pico") / family, dtype)


@pytest.mark.parametrize(("method", "r", "changes"), KINDS)
def test_what_is_filed_is_what_was_trained(
    place: Place, method: str, r: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    recipe, before = recipe_of(method, r, place.targets, **changes), frozen(place)
    if method in LEARNED_PROMPTS and place.family is not clip:
        with pytest.raises(InputError, match="no place for learned prompts") as refused:
            injection.attach(place.base.model, recipe)
        assert (refused.value.where, "clip" in refused.value.expected) == ("method", True)
        assert torch.equal(frozen(place), before)
        return
    with own_random_state(0, threads=1):
        injected = injection.attach(place.base.model, recipe, gathered(place, recipe))
        with torch.no_grad():
            for name, parameter in injected.parameters.items():
                size = 1.0 if name.endswith(".gate") else 0.2
                parameter.copy_(size * torch.randn_like(parameter))
    injected.after_step(0)
    injected.set_mode(is_training=False)
    live, deltas, magnitudes = frozen(place), injected.export(), injected.magnitudes()
    prompts = injected.prompts()
    injection.detach(injected)
    assert torch.equal(frozen(place), before)

    if prompts:
        write_prompts(tmp_path / "a", prompts, base_name="pico")
    else:
        write_adapter(
            tmp_path / "a",
            deltas,
            base_name="pico",
            task_type=None,
            magnitudes=magnitudes,
            fan_in_fan_out=injected.fan_in_fan_out(deltas),
        )
    attachment.attach(place.base, str(tmp_path / "a"))
    filed = frozen(place)
    attachment.detach(place.base)
    change = float((live - before).abs().max())
    assert change > 0.02, "the adapter does something"
    # what bf16 rounds away between the layers is not the method's; it is less than what is added
    limit = 1e-5 if place.is_exact else 0.3 * change
    assert float((filed - live).abs().max()) <= limit
    if magnitudes:
        with pytest.raises(InputError, match="magnitude"):
            read_adapter(tmp_path / "a")
        return
    read = read_adapter(tmp_path / "a")
    assert {name: delta.rank for name, delta in read.deltas.items()} == {
        name: delta.rank for name, delta in deltas.items()
    }
    assert {name: len(prompt) for name, prompt in read.prompts.items()} == dict.fromkeys(prompts, r)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return encoder_place(tmp_path_factory.mktemp("pico") / "encoder", "float32")


@pytest.mark.parametrize("method", LORAS)
def test_a_resumed_training_ends_bit_for_bit_like_an_undisturbed_one(
    encoder: Place, method: str
) -> None:
    recipe = recipe_of(method, 2, encoder.targets, epochs=3, dropout=0.1)
    states: list[Any] = []
    whole = trained_on(encoder, recipe, on_checkpoint=states.append)
    resumed = trained_on(encoder, recipe, resume=states[0])
    assert resumed.history == whole.history
    assert len(whole.history) == 3
    assert {"loss", "validation loss", "validation score"} <= set(whole.history[0])
    for name, delta in whole.deltas.items():
        assert torch.equal(delta.a, resumed.deltas[name].a)
        assert torch.equal(delta.b, resumed.deltas[name].b)


@pytest.mark.parametrize("method", ["pissa", "olora", "corda"])
def test_an_initialised_lora_begins_at_the_base_and_leaves_it(encoder: Place, method: str) -> None:
    before = frozen(encoder)
    recipe = recipe_of(method, 4, encoder.targets)
    injected = injection.attach(encoder.base.model, recipe, gathered(encoder, recipe))
    began, first = frozen(encoder), injected.export()
    injection.detach(injected)
    torch.testing.assert_close(began, before, atol=1e-5, rtol=0)
    assert all(delta.dense().abs().max() < 1e-6 for delta in first.values())
    assert all(delta.a[:4].norm() > 0.1 for delta in first.values()), "it is no plain LoRA"
    assert torch.equal(frozen(encoder), before)


def test_gates_close_for_good_and_what_they_lead_to_is_cut_away(encoder: Place) -> None:
    stages = {"threshold": 1e-3, "last_threshold": 0.2, "n_stages": 4, "stage_epochs": 2}
    recipe = recipe_of("sora", 4, encoder.targets, epochs=8, options=stages)
    found = trained_on(encoder, recipe)
    assert ["training score" in row for row in found.history] == [False, True] * 4
    ranks = [row["rank"] for row in found.history]
    assert [row["stage"] for row in found.history] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert ranks == sorted(ranks, reverse=True)
    assert 0 < ranks[-1] < ranks[0] <= found.history[0]["rank_at_most"] == 16
    assert sum(delta.rank for delta in found.deltas.values()) == ranks[-1]


def test_where_every_gate_is_closed_nothing_is_filed(encoder: Place) -> None:
    recipe = recipe_of("sora", 2, encoder.targets, epochs=2, options={"threshold": 2.0})
    with pytest.raises(InputError, match="nothing to file"):
        trained_on(encoder, recipe)


def test_spacings_of_the_thresholds() -> None:
    stages = {"threshold": 1e-4, "last_threshold": 1e-2, "n_stages": 3}
    found = {
        spacing: [
            sora.threshold_at(epoch, recipe_of("sora", 2, (), epochs=3, target_modules=["query"],
                                               options={**stages, "spacing": spacing}))
            for epoch in range(3)
        ]
        for spacing in ("linear", "log_linear", "exp_linear")
    }  # fmt: skip
    assert found["linear"] == pytest.approx([1e-4, 5.05e-3, 1e-2])
    assert found["exp_linear"] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert found["log_linear"] == pytest.approx([1e-4, 5.0622e-3, 1e-2], rel=1e-4)


def test_lora_plus_moves_b_faster(encoder: Place) -> None:
    """Adam's first step is as long as its rate."""
    recipe = recipe_of("lora_plus", 2, ("query",), warmup_ratio=0.0, batch_size=8,
                       options={"b_rate_factor": 4.0})  # fmt: skip
    moved = {
        name: delta.b.abs().max() for name, delta in trained_on(encoder, recipe).deltas.items()
    }
    assert all(0.003 < step <= 0.0041 for step in moved.values())


def test_misss_of_one_rank_share_their_a(encoder: Place) -> None:
    recipe = recipe_of("miss", 4, ("query",), options={"variant": "mini", "mini_r": 8})
    found = trained_on(encoder, recipe)
    for delta in found.deltas.values():
        assert torch.equal(delta.a, miss.block_sums(4, 32))
        assert torch.equal(delta.b[:8], delta.b[8:16])
    assert found.n_parameters == 2 * 4 * 8


@pytest.mark.parametrize(
    ("method", "changes", "where"),
    [
        ("lora", {"r": 33}, "r"),
        ("sora", {"options": {"n_stages": 3, "stage_epochs": 2}}, "options"),
        ("sora", {"options": {"last_threshold": 0.1}}, "options"),
        ("miss", {"r": 33}, "target_modules"),
        ("miss", {"options": {"variant": "mini", "mini_r": 7}}, "target_modules"),
        ("miss", {"options": {"mini_r": 4}}, "recipe"),
        ("miss", {"r": 5, **BAT}, "target_modules"),
        ("miss", {"dropout": 0.1, **BAT}, "recipe"),
        ("hydra", {"target_modules": ["word_embeddings"]}, "target_modules"),
        ("pissa", {"target_modules": ["LayerNorm"]}, "target_modules"),
        ("dora", {"r": 33}, "r"),
        ("eva", {"target_modules": ["word_embeddings"]}, "target_modules"),
        ("eva", {"r": 33}, "r"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_step(
    encoder: Place, method: str, changes: dict[str, Any], where: str
) -> None:
    before = frozen(encoder)
    recipe = recipe_of(method, changes.pop("r", 2), ("query",), **changes)
    with pytest.raises(InputError) as refused:
        trained_on(encoder, recipe)
    assert refused.value.where == where
    assert refused.value.expected
    assert torch.equal(frozen(encoder), before)


@pytest.mark.parametrize(
    ("method", "options", "path"),
    [
        ("lora", {"threshold": 0.1}, "options.threshold"),
        ("sora", {"treshold": 0.1}, "options.treshold"),
        ("sora", {"gate_dtype": "bfloat16"}, "options.gate_dtype"),
        ("sora", {"n_stages": 0}, "options.n_stages"),
        ("miss", {"variant": "bone"}, "options.variant"),
        ("hydra", {"sequential_r": 0}, "options.sequential_r"),
        ("eva", {"rho": 0.5}, "options.rho"),
        ("eva", {"tau": 0}, "options.tau"),
        ("corda", {"mode": "spm"}, "options.mode"),
        ("hydra", [1], "options"),
    ],
)
def test_options_are_those_of_the_method(method: str, options: Any, path: str) -> None:
    declared = {"method": method, "r": 2, "alpha": 2, "epochs": 1, "learning_rate": 1e-3,
                "batch_size": 4, "seed": 0, "options": options}  # fmt: skip
    recipe, (fault,) = check_recipe(declared)
    assert recipe is None
    assert fault.path == path
    assert fault.expected


def test_defaults_of_options_are_part_of_the_recipe() -> None:
    plain = recipe_of("sora", 2, ("query",), options={})
    assert plain.options["threshold"] == 3e-4
    assert recipe_of("sora", 2, ("query",), options={"threshold": 3e-4}) == plain
    assert recipe_of("lora", 2, ("query",)).options == {}


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("miss", {"alpha": 4}),
        ("miss", {"use_rslora": True}),
        ("promptsrc", {"patience": 2}),
        ("prompts", {"alpha": 4.0}),
        ("prompts", {"dropout": 0.1}),
        ("prompts", {"patience": 1}),
        ("prompts", {"target_modules": ["q_proj"]}),
        ("prompts", {"modules_to_save": ["visual_projection"]}),
    ],
)
def test_what_means_nothing_to_a_method_is_refused_where_it_is_declared(
    method: str, changes: dict[str, Any]
) -> None:
    alpha = 2 if method != "promptsrc" else 4
    declared = {"method": method, "r": 2, "alpha": alpha, "epochs": 1, "learning_rate": 1e-3,
                "batch_size": 4, "seed": 0}  # fmt: skip
    assert check_recipe(declared)[1] == []
    recipe, (fault,) = check_recipe({**declared, **changes})
    assert recipe is None
    assert [fault.path] == list(changes)
    assert method in fault.what
    assert fault.expected


def test_mixed_methods_merge_to_the_sum_of_their_deltas(encoder: Place, tmp_path: Path) -> None:
    members = []
    for i, (method, r, changes) in enumerate(k for k in KINDS if k[0] in MERGED):
        recipe = recipe_of(method, r, encoder.targets, epochs=2, learning_rate=1e-2, **changes)
        trained = trained_on(encoder, recipe)
        write_adapter(tmp_path / f"{i}", trained.deltas, base_name="pico", task_type=None)
        members.append((tmp_path / f"{i}", (-1) ** i / (i + 1)))
    merge(members, tmp_path / "merged")
    exact: dict[str, Tensor] = {}
    for folder, weight in members:
        for name, delta in read_adapter(folder).deltas.items():
            exact[name] = exact.get(name, 0) + weight * delta.dense(dtype=torch.float64)
    merged = read_adapter(tmp_path / "merged").deltas
    assert merged.keys() == exact.keys()
    for name, delta in merged.items():
        error = (delta.dense(dtype=torch.float64) - exact[name]).norm() / exact[name].norm()
        assert error <= 1e-6

"""The rank of a method under a budget: the nearest there is, on the modules of the base itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rpe_core.adapters.budget import fit_rank
from rpe_core.adapters.injection import count_parameters
from rpe_core.adapters.recipe import Recipe, check_recipe
from rpe_core.adapters.table import ADAPTER_METHODS, LEARNED_PROMPTS
from rpe_core.families import text_encoder
from tests.pico import pico_encoder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    folder: Path = tmp_path_factory.mktemp("pico")
    found: nn.Module = text_encoder.load(str(pico_encoder(folder)), max_tokens=32).model
    return found


def recipe_of(method: str, r: int, **more: Any) -> Recipe:
    scaled = ADAPTER_METHODS[method].has_scale
    declared = {"method": method, "r": r, "alpha": 2 * r if scaled else r, "epochs": 1,
                "learning_rate": 1e-3, "batch_size": 4, "seed": 0,
                "target_modules": ["query", "intermediate.dense"], **more}  # fmt: skip
    recipe, faults = check_recipe(declared)
    assert recipe is not None, faults
    return recipe


@pytest.mark.parametrize("method", [m for m in ADAPTER_METHODS if m not in LEARNED_PROMPTS])
def test_no_other_rank_is_nearer_to_the_budget(model: nn.Module, method: str) -> None:
    budget = count_parameters(model, recipe_of("lora", 6))
    r = fit_rank(model, lambda r: recipe_of(method, r), budget)
    off = {
        n: abs(count_parameters(model, recipe_of(method, n)) - budget)
        for n in (max(1, r - 1), r, r + 1)
    }
    assert off[r] == min(off.values())
    assert off[r] <= 0.1 * budget


def test_the_model_is_what_it_was(model: nn.Module) -> None:
    before = dict(model.named_modules())
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    count_parameters(model, recipe_of("pissa", 4))
    assert dict(model.named_modules()) == before
    assert not any(p.requires_grad for p in model.parameters())
    assert all(torch.equal(weights[name], weight) for name, weight in model.state_dict().items())


def test_a_method_that_does_not_grow_keeps_rank_one(model: nn.Module) -> None:
    mini = {"options": {"variant": "mini", "mini_r": 4}}
    assert fit_rank(model, lambda r: recipe_of("miss", r, **mini), 10_000) >= 1
    budget = count_parameters(model, recipe_of("lora", 1)) // 10
    assert fit_rank(model, lambda r: recipe_of("lora", r), budget) == 1

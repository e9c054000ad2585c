"""Kinds of layers: a transposed weight is adapted as any other, what is not linear is refused."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from rpe_core.adapters import injection
from rpe_core.adapters.table import ADAPTER_METHODS, LEARNED_PROMPTS
from rpe_core.errors import InputError
from rpe_core.families import attachment, causal_lm
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import write_adapter
from tests.method_places import (
    Place,
    clip_place,
    encoder_place,
    frozen,
    gathered,
    gpt2_place,
    logits_of,
    recipe_of,
    trained_on,
)
from tests.pico import pico_gpt2

LORAS = [method for method in ADAPTER_METHODS if method not in LEARNED_PROMPTS]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return encoder_place(tmp_path_factory.mktemp("pico") / "encoder", "float32")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return clip_place(tmp_path_factory.mktemp("pico") / "clip", "float32")


@pytest.mark.parametrize("target", ["word_embeddings", "LayerNorm"])
@pytest.mark.parametrize("method", LORAS)
def test_another_layer_than_a_linear_one_is_refused_by_every_method(
    encoder: Place, method: str, target: str
) -> None:
    before = frozen(encoder)
    with pytest.raises(InputError, match="does not fit the base model") as refused:
        trained_on(encoder, recipe_of(method, 2, (target,)))
    assert refused.value.where == "target_modules"
    assert torch.equal(frozen(encoder), before)


@pytest.mark.parametrize("method", LORAS)
def test_a_convolution_is_refused_by_every_method(pictures: Place, method: str) -> None:
    with pytest.raises(InputError, match="does not fit the base model"):
        trained_on(pictures, recipe_of(method, 2, ("patch_embedding",)))


@pytest.fixture(scope="module")
def transposed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return gpt2_place(tmp_path_factory.mktemp("pico") / "gpt2", "float32")


def first_part(method: str, weight: Tensor, moment: Tensor, r: int) -> Tensor:
    """The part of W (d_out, d_in) at which a method begins, by the formula of its paper.

    OLoRA's is scaled by alpha / r, which is 2 here, in PEFT; of the others the factors are.
    """
    if method == "olora":
        q, upper = torch.linalg.qr(weight)
        return 2.0 * q[:, :r] @ upper[:r]
    c = moment / moment.diagonal().mean() if method == "corda" else torch.eye(weight.shape[1])
    c = c.double() + (0.01 if method == "corda" else 0.0) * torch.eye(len(c))
    u, s, vh = torch.linalg.svd(weight @ c, full_matrices=False)
    return u[:, :r] * s[:r] @ vh[:r] @ torch.linalg.inv(c)


@pytest.mark.parametrize("module", ["attn.c_proj", "c_attn", "c_fc"])
@pytest.mark.parametrize("method", ["pissa", "olora", "corda"])
def test_a_transposed_weight_is_factored_the_right_way_round(
    transposed: Place, method: str, module: str
) -> None:
    recipe = recipe_of(method, 4, (module,))
    gathering = gathered(transposed, recipe)
    injected = injection.attach(transposed.base.model, recipe, gathering)
    began = injected.export()
    injection.detach(injected)
    for name, delta in began.items():
        weight = transposed.base.model.get_submodule(name).weight.T.double()
        moment = gathering.moments[name] if gathering else torch.eye(weight.shape[1])
        exact = first_part(method, weight, moment, 4)
        start = delta.scaling * delta.b[:, :4].double() @ delta.a[:4].double()
        torch.testing.assert_close(start, exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", LORAS)
def test_layers_that_nothing_adapted_and_those_saved_whole_keep_their_kind(
    transposed: Place, method: str
) -> None:
    recipe = recipe_of(method, 2, ("c_attn",), modules_to_save=["mlp.c_proj"])
    model = transposed.base.model
    kinds = {name: type(module) for name, module in model.named_modules()}
    injected = injection.attach(model, recipe, gathered(transposed, recipe))
    assert type(model.transformer.h[0].mlp.c_fc) is Conv1D
    shapes = {name: tuple(tensor.shape) for name, tensor in injected.export_whole().items()}
    assert shapes["transformer.h.0.mlp.c_proj.weight"] == (128, 32)
    assert injected.fan_in_fan_out(["transformer.h.0.attn.c_attn"])
    assert not injected.fan_in_fan_out(["lm_head"])
    injection.detach(injected)
    assert {name: type(module) for name, module in model.named_modules()} == kinds


@pytest.mark.parametrize("is_told", [True, False])
def test_our_own_lora_on_such_a_base_folds_as_it_was_trained(
    transposed: Place, tmp_path: Path, is_told: bool
) -> None:
    """Adapters of before told nothing of the layers' kind."""
    targets = ("c_attn", "attn.c_proj", "c_fc", "mlp.c_proj")
    trained = trained_on(transposed, recipe_of("lora", 2, targets, learning_rate=0.1))
    assert trained.fan_in_fan_out
    flag = trained.fan_in_fan_out and is_told
    write_adapter(
        tmp_path / "a", trained.deltas, base_name="pico", task_type=None, fan_in_fan_out=flag
    )
    base = pico_gpt2(tmp_path / "gpt2")  # equal seeds, equal bytes
    merge([(tmp_path / "a", 1.0)], tmp_path / "out", method="fold", base=base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PEFT sets the flag right, and says so
        attachment.attach(transposed.base, str(tmp_path / "a"))
    live = frozen(transposed)
    attachment.detach(transposed.base)
    folded = causal_lm.load(str(tmp_path / "out"), max_tokens=64)
    place = replace(transposed, base=folded, logits=logits_of(folded, transposed.rows[0]))
    assert float((live - frozen(transposed)).abs().max()) > 0.1
    torch.testing.assert_close(frozen(place), live, rtol=1e-4, atol=1e-4)

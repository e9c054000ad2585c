"""CorDA's part of a weight against PEFT's own, from one batch of inputs."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda
from torch import nn

from rpe_core.adapters.methods.corda import factors


@pytest.mark.parametrize("mode", ["ipm", "kpm"])
def test_the_part_is_pefts(mode: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 9))
    inputs = torch.randn(200, 12) @ torch.randn(12, 12)
    weight = model[0].weight.detach().clone()
    config = LoraConfig(
        r=3, lora_alpha=3, target_modules=["0"], init_lora_weights="corda",
        corda_config=CordaConfig(corda_method=mode),
    )  # fmt: skip
    preprocess_corda(model, config, run_model=lambda: model(inputs))
    layer = get_peft_model(model, config).base_model.model[0]
    theirs = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    a, b = factors(weight, inputs.T @ inputs / len(inputs), 3, mode)
    torch.testing.assert_close((b @ a).float(), theirs.detach(), atol=1e-4, rtol=1e-3)


def test_the_first_part_leaves_the_least_of_what_the_inputs_see() -> None:
    """Of all products of rank r it is nearest to W0 under C; PiSSA's is nearest under I."""
    torch.manual_seed(1)
    weight, inputs = torch.randn(9, 12), torch.randn(200, 12) * torch.logspace(-2, 1, 12)
    moment = inputs.T @ inputs / len(inputs)
    a, b = factors(weight, moment, 3, "ipm")
    plain_a, plain_b = factors(weight, torch.eye(12), 3, "ipm")

    def left(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(((weight - b @ a) @ moment.double()).norm())

    assert left(a, b) < 0.8 * left(plain_a, plain_b)
    whole_a, whole_b = factors(weight, moment, 9, "ipm")
    torch.testing.assert_close(whole_b @ whole_a, weight.double())

"""PromptSRC: LoRA held near the base, and the average of its trajectory (arXiv 2307.06948).

To the loss are added text_weight mean|t - T0|, feature_weight mean|f - f0| and logit_weight
KL(p0 || p) / numel: t, f unit features of label prompts and items, p = softmax(logits), subscript 0
the same with the adapter switched off, T0 a mean over templates. In the end
dW = sum_e w_e s B_e A_e, w_e a Gaussian of the epoch e = 1 .. E, as its best LoRA of rank r.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from rpe_core.adapters.method import ModelOutput
from rpe_core.adapters.methods.lora import Lora
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.merging.svd import merge_svd

_LEAST = 1e-6  # of the largest weight: an epoch that weighs less is not kept
_A, _B = ".lora_A.", ".lora_B."


class PromptSrc(Lora):
    """Plain LoRA in form; how it is trained differs, and what of the training is filed.

    The weights of the terms are the paper's, for unit features of 512 numbers. The divergence is a
    mean over all logits, so that over a vocabulary of 32 000 it is far smaller than over 100 names.
    Where a task has no label prompts, text_weight has no effect. The loss that is told of an epoch
    holds these terms.
    """

    compares = True

    def comparison(self, adapted: ModelOutput, frozen: ModelOutput, recipe: Recipe) -> Tensor:
        """How far features, logits and label prompts have moved, weighed and added."""
        weights = recipe.options
        f, f0 = (functional.normalize(output.features, dim=-1) for output in (adapted, frozen))
        p, p0 = (functional.log_softmax(output.logits, dim=-1) for output in (adapted, frozen))
        divergence = functional.kl_div(p, p0, reduction="none", log_target=True).mean()
        total: Tensor = weights["feature_weight"] * functional.l1_loss(f, f0)
        total = total + weights["logit_weight"] * divergence
        if adapted.labels is not None and frozen.labels is not None:
            moved = functional.l1_loss(adapted.labels, frozen.labels)
            total = total + weights["text_weight"] * moved
        return total

    def after_epoch(
        self,
        parameters: Mapping[str, nn.Parameter],
        kept: Mapping[str, Tensor],
        recipe: Recipe,
        *,
        epoch: int,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Keep what weighs; after the last epoch the parameters become the average."""
        weight = epoch_weights(recipe)[epoch]
        grown = dict(kept)
        if weight:
            grown = {
                name: _added(grown.get(name), name, p, weight) for name, p in parameters.items()
            }
        if epoch + 1 < recipe.epochs:
            return grown, {"weight": weight}
        return {}, {"weight": weight, "left_out_ratio": _set_average(parameters, grown, recipe.r)}


def epoch_weights(recipe: Recipe) -> list[float]:
    """w_e = exp(-(e - mean_epoch)^2 / (2 epoch_deviation^2)) for e = 1 .. E, made to sum to 1.

    Without a mean_epoch it is 0.75 E, the paper's 15 of 20. Below 1e-6 of the largest it is 0.

    >>> from types import SimpleNamespace as Like
    >>> recipe = Like(epochs=4, options={"mean_epoch": None, "epoch_deviation": 1.0})
    >>> [round(weight, 3) for weight in epoch_weights(recipe)]
    [0.058, 0.258, 0.426, 0.258]
    """
    mean, deviation = recipe.options["mean_epoch"], recipe.options["epoch_deviation"]
    mean = 0.75 * recipe.epochs if mean is None else mean
    away = [abs(epoch - mean) for epoch in range(1, recipe.epochs + 1)]
    nearest = min(away)  # has the size 1, or all of them could be 0
    farther = [(steps - nearest) * (steps + nearest) for steps in away]
    sizes = [math.exp(-steps / deviation / deviation / 2) for steps in farther]
    total = sum(size for size in sizes if size > _LEAST)
    return [size / total if size > _LEAST else 0.0 for size in sizes]


def _added(before: Tensor | None, name: str, parameter: Tensor, weight: float) -> Tensor:
    """The A_e one below the other, the w_e B_e side by side; what is no factor is summed."""
    now = parameter.detach().cpu()
    if _A not in name:
        now = weight * now
    if before is None:
        return now.clone()
    if _A in name or _B in name:
        return torch.cat([before, now], dim=0 if _A in name else 1)
    return before + now


def _set_average(
    parameters: Mapping[str, nn.Parameter], kept: Mapping[str, Tensor], rank: int
) -> float:
    """Give parameters the averages; the share of ||dW||_F that the rank leaves out, over all."""
    squared_norm = squared_error = 0.0
    for name, parameter in parameters.items():
        if _A in name:
            twin = name.replace(_A, _B)
            merged = merge_svd([(LowRankDelta(kept[name], kept[twin]), 1.0)], rank=rank)
            parameter.copy_(merged.delta.a)
            parameters[twin].copy_(merged.delta.b)
            squared_norm += merged.squared_norm
            squared_error += merged.squared_bound
        elif _B not in name:
            parameter.copy_(kept[name])
    return math.sqrt(squared_error / squared_norm) if squared_norm else 0.0


METHOD = PromptSrc()

"""Learned prompts: r tokens in each of `depth` layers of both of CLIP's encoders (PromptSRC).

Text (arXiv 2307.06948): the words before a label prompt begin as "a photo of a"; image: tokens
behind the patches. Deeper layers get fresh ones in their places, as in the paper drawn from
N(0, 0.02^2). Loss and average over epochs are those of promptsrc.py; here the average is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import torch
from torch import Tensor, nn

from rpe_core.adapters.method import layers_of
from rpe_core.adapters.methods.promptsrc import PromptSrc
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError
from rpe_core.families.attachment import LAYER, PATCHES, WORDS, Prompted, put_prompts

_DEVIATION = 0.02
_KINDS = ("text", "vision")


class PromptsMethod(PromptSrc):
    """Prompts in the place of factors; `r` is how many tokens a layer gets in each encoder."""

    def attach(self, model: nn.Module, recipe: Recipe) -> None:
        """Put prompts into both encoders.

        Raises:
            InputError: the base has no such encoders, fewer layers than `depth`, or no room for r
                words.
        """
        depth = recipe.options["depth"]
        names = [WORDS, PATCHES]
        names += [LAYER.format(kind, i) for kind in _KINDS for i in range(1, depth)]
        modules = dict(model.named_modules())
        if not {WORDS, PATCHES} <= set(modules):
            raise InputError(
                "This base has no place for learned prompts.",
                where="method",
                expected="a base of the clip family",
            )
        if not set(names) <= set(modules):
            raise InputError(
                "The base has fewer layers than are to be prompted.",
                where="options.depth",
                expected=f"at most the {_n_layers(modules)} layers of both encoders",
            )
        room = modules[WORDS.replace("token", "position")].weight.shape[0] - 3
        if recipe.r > room:
            raise InputError(
                "The text encoder has no room for so many words.",
                where="r",
                expected=f"at most {room}, with a word of the label and both ends",
            )
        put_prompts(model, {name: _start(name, modules[name], recipe.r) for name in names})

    def export(self, model: nn.Module) -> dict[str, LowRankDelta]:
        """No module of the base has a delta."""
        return {}

    def prompts(self, model: nn.Module) -> dict[str, Tensor]:
        """The prompts, (r, width), on the CPU, detached from the model."""
        return {
            name: layer.prompt.detach().cpu().clone()
            for name, layer in layers_of(model, Prompted).items()
        }


def _n_layers(modules: Mapping[str, nn.Module]) -> int:
    """How many layers both encoders have."""
    return next(
        i for i in count() if not {LAYER.format(kind, i) for kind in _KINDS} <= set(modules)
    )


def _start(name: str, module: nn.Module, n: int) -> Tensor:
    """What a module's prompt begins at; that of the words is what they move by."""
    weight = next(module.parameters())
    start = torch.zeros(n, weight.shape[-1], device=weight.device)
    return start if name == WORDS else nn.init.normal_(start, std=_DEVIATION)


METHOD = PromptsMethod()

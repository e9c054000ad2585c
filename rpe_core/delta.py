"""What an adapter adds to each module of the base, and how PEFT names and scales it."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from rpe_core.errors import InputError, ShapeMismatch, shown_name

PREFIX = "base_model.model."
_FACTOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")

# What a weighted sum of B A cannot express: the key of adapter_config.json and the reason.
_REFUSED = {
    "use_dora": "DoRA rescales the base weight by a magnitude",
    "lora_bias": "a LoRA bias is no part of B A",
    "modules_to_save": "whole trained modules are no part of B A",
    "trainable_token_indices": "trained tokens are no part of B A",
    "target_parameters": "adapted parameters have other factors than modules",
    "layer_replication": "replicated layers change the base",
    "alora_invocation_tokens": "an activated LoRA acts on some tokens only",
    "use_qalora": "QA-LoRA pools its input",
    "use_bdlora": "block-diagonal LoRA has other factors",
    "arrow_config": "Arrow routes by token",
    "kasa_config": "KaSA changes the base and has a diagonal of its own",
    "monteclora_config": "MonteCLoRA samples its weights",
}
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_MAX_PATTERN = 200  # characters
_MAX_REPEATS = 2
_MAX_NAME = 256  # characters of a module name


@dataclass(frozen=True, eq=False)
class LowRankDelta:
    """dW = scaling * B A of one linear module.

    a: A, (r, d_in); b: B, (d_out, r); scaling: alpha / r, or alpha / sqrt(r) with rsLoRA.

    >>> LowRankDelta(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]), 2.0).dense()
    tensor([[ 6., 12.]])
    """

    a: torch.Tensor
    b: torch.Tensor
    scaling: float = 1.0

    def __post_init__(self) -> None:
        """Refuse factors that cannot be multiplied."""
        shapes = f"A {tuple(self.a.shape)}, B {tuple(self.b.shape)}"
        fits = self.a.ndim == self.b.ndim == 2 and self.a.shape[0] == self.b.shape[1]
        if not fits or 0 in (*self.a.shape, *self.b.shape):
            raise ShapeMismatch(
                "LoRA factors do not fit.", where=shapes, expected="A (r, d_in), B (d_out, r)"
            )
        if not math.isfinite(self.scaling):
            raise InputError("The scaling of a delta must be finite.")

    @property
    def rank(self) -> int:
        """The rank r."""
        return int(self.a.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in) of the module."""
        return int(self.b.shape[0]), int(self.a.shape[1])

    def dense(self, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """The full dW, (d_out, d_in), multiplied in `dtype`."""
        return self.scaling * (self.b.to(dtype) @ self.a.to(dtype))


def module_deltas(
    state: Mapping[str, torch.Tensor], config: Mapping[str, Any], *, where: str = ""
) -> dict[str, LowRankDelta]:
    """The deltas of a plain PEFT LoRA by module name, in sorted order.

    Args:
        state: tensors by PEFT name, `base_model.model.<module>.lora_A.weight` and `lora_B`.
        config: adapter_config.json; rank_pattern, alpha_pattern and use_rslora count.
        where: what to name in a message, a folder for instance.

    Raises:
        InputError: the adapter is none that B A describes exactly, or a number is not finite.
        ShapeMismatch: a factor is missing, or its rank is not the one of the configuration.
    """
    check_config(config, where=where)
    factors: dict[str, dict[str, torch.Tensor]] = {}
    for name in sorted(state):
        match = _FACTOR.fullmatch(name)
        if match is None or len(match["module"]) > _MAX_NAME:
            raise InputError(
                f"The adapter holds a tensor that is no LoRA factor: {shown_name(name)}.",
                where=where,
                expected=f"{PREFIX}<module>.lora_A.weight and .lora_B.weight only",
            )
        _check_numbers(name, state[name], where=where)
        factors.setdefault(match["module"], {})[match["factor"]] = state[name]
    if not factors:
        raise InputError("The adapter holds no LoRA factor.", where=where)
    return {
        module: _module_delta(module, factors[module], config, where=where)
        for module in sorted(factors)
    }


def check_config(config: Mapping[str, Any], *, where: str = "") -> None:
    """Raise InputError unless the configuration is a LoRA that a weighted sum of B A describes."""

    def refuse(reason: str) -> InputError:
        return InputError(
            f"The adapter cannot be merged exactly: {reason}.",
            where=where,
            expected="a plain LoRA: peft_type LORA, bias none, base weights unchanged",
        )

    if config.get("peft_type") != "LORA":
        raise refuse("it is no LoRA")
    if config.get("bias", "none") != "none":
        raise refuse("trained biases are no part of B A")
    for key, reason in _REFUSED.items():
        if config.get(key):
            raise refuse(reason)
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith(_CHANGED_BASE):
        raise refuse("its initialisation changed the base weights")
    _check_hyperparameters(config, where=where)


def peft_names(module: str) -> tuple[str, str]:
    """The names of A and B of a module in adapter_model.safetensors.

    >>> peft_names("encoder.query")[0]
    'base_model.model.encoder.query.lora_A.weight'
    """
    return f"{PREFIX}{module}.lora_A.weight", f"{PREFIX}{module}.lora_B.weight"


def _module_delta(
    module: str, factors: Mapping[str, torch.Tensor], config: Mapping[str, Any], *, where: str
) -> LowRankDelta:
    shown = f"module {shown_name(module)}" + (f" of {where}" if where else "")
    if len(factors) != 2:
        raise ShapeMismatch("A LoRA module has only one of its two factors.", where=shown)
    rank = int(_by_pattern(config.get("rank_pattern") or {}, module, config["r"]))
    alpha = float(_by_pattern(config.get("alpha_pattern") or {}, module, config["lora_alpha"]))
    a, b = factors["A"], factors["B"]
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != rank or b.shape[1] != rank:
        raise ShapeMismatch(
            "A LoRA module has not the rank of its configuration.",
            where=shown,
            expected=f"A ({rank}, d_in) and B (d_out, {rank}), linear modules only",
        )
    return LowRankDelta(a, b, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that matches the module name or a tail of it."""
    for pattern, value in patterns.items():
        if re.match(_tail(pattern), module):
            return value
    return default


def _check_numbers(name: str, tensor: torch.Tensor, *, where: str) -> None:
    if not tensor.is_floating_point() or not bool(torch.isfinite(tensor.float()).all()):
        raise InputError(
            f"The tensor {shown_name(name)} holds NaN, infinity or no floating-point numbers.",
            where=where,
            expected="finite floating-point numbers",
        )


def _check_hyperparameters(config: Mapping[str, Any], *, where: str) -> None:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    ranks = config.get("rank_pattern") or {}
    alphas = config.get("alpha_pattern") or {}
    if not isinstance(ranks, Mapping) or not isinstance(alphas, Mapping):
        raise InputError("rank_pattern and alpha_pattern must be mappings.", where=where)
    if not all(type(r) is int and r >= 1 for r in (rank, *ranks.values())):
        raise InputError("A LoRA rank must be a positive whole number.", where=where)
    if not all(_is_finite_number(value) for value in (alpha, *alphas.values())):
        raise InputError("lora_alpha must be a finite number.", where=where)
    for pattern in (*ranks, *alphas):
        if not _is_harmless(pattern):
            raise InputError(
                "A key of rank_pattern or alpha_pattern is no usable expression.",
                where=where,
                expected=f"at most {_MAX_PATTERN} characters, {_MAX_REPEATS} repeats, of no group",
            )


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max


def _is_harmless(pattern: str) -> bool:
    """Whether matching ends soon: the file may come from anywhere, and a search can be endless."""
    plain = re.sub(r"\\.", "", pattern)
    if len(pattern) > _MAX_PATTERN or len(re.findall(r"[*+?{]", plain)) > _MAX_REPEATS:
        return False
    if re.search(r"\)[*+?{]", plain):
        return False
    try:
        re.compile(_tail(pattern))
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _tail(pattern: str) -> str:
    return rf"(.*\.)?({pattern})$"

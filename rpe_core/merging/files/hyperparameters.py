"""adapter_config.json judged: what no weighted sum expresses; each module's rank and scaling."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from rpe_core.declared_values import is_readable, number, whole
from rpe_core.errors import InputError
from rpe_core.merging.patterns import PatternError, Patterns

# What a weighted sum of deltas cannot express: the key of adapter_config.json and the reason.
_REFUSED = {
    "use_dora": "DoRA rescales the base weight by a magnitude",
    "lora_bias": "a LoRA bias is no part of B A",
    "trainable_token_indices": "trained tokens are no part of B A",
    "target_parameters": "adapted parameters have other factors than modules",
    "layer_replication": "replicated layers change the base",
    "alora_invocation_tokens": "an activated LoRA acts on some tokens only",
    "use_qalora": "QA-LoRA pools its input",
    "use_bdlora": "block-diagonal LoRA has other factors",
    "arrow_config": "Arrow routes by token",
    "kasa_config": "KaSA changes the base and has a diagonal of its own",
    "monteclora_config": "MonteCLoRA samples its weights",
    "ensure_weight_tying": "tied layers share one delta",
}
DEEP_PROMPTS = "DEEP_PROMPTS"  # the peft_type of learned prompts, as in families/attachment.py
NARROWING = ("layers_to_transform", "layers_pattern", "exclude_modules")  # what targets mean
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_DEFAULT = 8  # PEFT's own r and lora_alpha, where a configuration says neither


def check_config(config: Mapping[str, Any], *, where: str = "") -> None:
    """Raise InputError unless the configuration is a LoRA that a weighted sum of B A describes."""

    def refuse(reason: str) -> InputError:
        return InputError(
            f"The adapter cannot be merged exactly: {reason}.",
            where=where,
            expected="a plain LoRA: peft_type LORA, bias none, base weights unchanged",
        )

    if config.get("peft_type") == DEEP_PROMPTS:
        raise refuse("learned prompts are never mixed with LoRA")
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
    _check_numbers(config, where=where)
    _check_saved(config, where=where)


class Hyperparameters:
    """What a configuration says of each module: its rank, and the scaling of B A.

    A module may be spelled in two ways, with what wrapped the model at its training and without.

    Raises:
        InputError: a key of rank_pattern or alpha_pattern cannot be used.
    """

    def __init__(self, config: Mapping[str, Any], *, where: str = "") -> None:
        self._config, self._where = config, where
        try:
            self._ranks = Patterns(config.get("rank_pattern") or {})
            self._alphas = Patterns(config.get("alpha_pattern") or {})
        except PatternError:
            raise self._unusable() from None

    @property
    def default_rank(self) -> int:
        """The rank of a module that no expression names."""
        return int(self._config.get("r", _DEFAULT))

    @property
    def default_alpha(self) -> float:
        """The lora_alpha of a module that no expression names."""
        return float(self._config.get("lora_alpha", _DEFAULT))

    def rank(self, *names: str) -> int:
        """The rank r of a module."""
        return int(self._find(self._ranks, names, self.default_rank))

    def alpha(self, *names: str) -> float:
        """The lora_alpha of a module."""
        return float(self._find(self._alphas, names, self.default_alpha))

    def scaling(self, *names: str) -> float:
        """The scaling of a module: alpha / r, or alpha / sqrt(r) with rsLoRA.

        >>> Hyperparameters({"r": 4, "lora_alpha": 8, "use_rslora": True}).scaling("query")
        4.0
        """
        rank = self.rank(*names)
        return self.alpha(*names) / (math.sqrt(rank) if self._config.get("use_rslora") else rank)

    def _find(self, patterns: Patterns, names: tuple[str, ...], default: Any) -> Any:
        try:
            return patterns.find(names, default)
        except PatternError:
            raise self._unusable() from None

    def _unusable(self) -> InputError:
        return InputError(
            "A key of rank_pattern or alpha_pattern is no usable expression.",
            where=self._where,
            expected="a regular expression whose search ends within seconds",
        )


def is_saved_whole(config: Mapping[str, Any], tensor: str) -> bool:
    """Whether a tensor of the base belongs to one of modules_to_save, by PEFT's rule.

    >>> is_saved_whole({"modules_to_save": ["classifier"]}, "bert.classifier.out.weight")
    True
    """
    saved = config.get("modules_to_save") or ()
    return any(re.search(rf"{re.escape(name)}\.", tensor) for name in saved)


def _check_numbers(config: Mapping[str, Any], *, where: str) -> None:
    rank, alpha = config.get("r", _DEFAULT), config.get("lora_alpha", _DEFAULT)
    ranks = config.get("rank_pattern") or {}
    alphas = config.get("alpha_pattern") or {}
    if not isinstance(ranks, Mapping) or not isinstance(alphas, Mapping):
        raise InputError("rank_pattern and alpha_pattern must be mappings.", where=where)
    if not all(is_readable(r, whole(1)) for r in (rank, *ranks.values())):
        raise InputError("A LoRA rank must be a positive whole number.", where=where)
    if not all(is_readable(value, number()) for value in (alpha, *alphas.values())):
        raise InputError("lora_alpha must be a finite number.", where=where)
    Hyperparameters(config, where=where)


def _check_saved(config: Mapping[str, Any], *, where: str) -> None:
    saved = config.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(name, str) and name for name in saved):
        raise InputError("modules_to_save must be a list of names.", where=where)

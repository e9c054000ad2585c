"""The table of adapter methods: name -> module and own options. No method's code belongs here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from rpe_core import declared_values as rules
from rpe_core.declared_values import Option, ValueRule
from rpe_core.errors import UnknownName

COMPONENTS, MOMENTS = "components", "moments"  # what a method may ask of its modules' inputs
GRAMS = "grams"  # what a merge may ask of them
LORA, PROMPTS = "lora", "prompts"  # forms of what is filed; a library holds one of them


@dataclass(frozen=True)
class MethodEntry:
    """A method's module, what it is, and its options: known without torch.

    One without a scale has `alpha` equal to `r`; one that is not mergeable serves by itself alone;
    one that asks for inputs begins at statistics of what its modules are fed by the training rows.
    `without` are fields of a recipe that mean nothing to it, and why.
    """

    module: str
    doc: str
    options: Mapping[str, Option] = field(default_factory=dict)
    has_scale: bool = True
    is_mergeable: bool = True
    asks_inputs: str = ""  # COMPONENTS or MOMENTS
    form: str = LORA
    without: Mapping[str, str] = field(default_factory=dict)


_RANK = ValueRule(rules.optional(rules.whole(1, 4096)), "a whole number from 1 to 4096, or null")
_POSITIVE = rules.number(lambda x: 0 < x < math.inf)
_NOT_NEGATIVE = rules.number(lambda x: 0 <= x < math.inf)
_AT_LEAST_0 = ValueRule(_NOT_NEGATIVE, "a number of at least 0")
_RHO = ValueRule(rules.number(lambda x: 1 <= x <= 16), "a number from 1 to 16")
_UNIT = rules.number(lambda x: 0 < x <= 1)
_RATE = ValueRule(rules.optional(_UNIT), "a number above 0 and up to 1")
_EPOCH = rules.number(lambda x: 0 < x <= 1_000_000)
_MODES = ("ipm", "kpm")
_VARIANTS = ("full", "mini", "bat")
_SPACINGS = ("linear", "log_linear", "exp_linear")
_NO_SCALE = {"use_rslora": "it has no scale"}
_AVERAGES = {"patience": "it averages its epochs, patience would choose one of them"}
_NO_MODULES = "prompts are put into both encoders, into no module of them"
_SOURCE_OPTIONS = {
    "text_weight": Option(_AT_LEAST_0, 25.0),
    "feature_weight": Option(_AT_LEAST_0, 10.0),
    "logit_weight": Option(_AT_LEAST_0, 1.0),
    "mean_epoch": Option(
        ValueRule(rules.optional(_EPOCH), "a number above 0 and up to 1000000, or null"), None
    ),
    "epoch_deviation": Option(ValueRule(_POSITIVE, "a number above 0"), 1.0),
}

ADAPTER_METHODS = {
    "lora": MethodEntry("rpe_core.adapters.methods.lora", "LoRA through PEFT, rsLoRA included"),
    "lora_plus": MethodEntry(
        "rpe_core.adapters.methods.lora_plus",
        "LoRA whose B learns faster than A, by `b_rate_factor`",
        {"b_rate_factor": Option(ValueRule(_POSITIVE, "a number above 0"), 16.0)},
    ),
    "pissa": MethodEntry(
        "rpe_core.adapters.methods.pissa",
        "LoRA that begins at W0's first singular triplets; filed on the unmodified base, rank 2r",
    ),
    "olora": MethodEntry(
        "rpe_core.adapters.methods.olora",
        "LoRA that begins at W0's first columns of Q R; filed as `pissa` is",
    ),
    "dora": MethodEntry(
        "rpe_core.adapters.methods.dora",
        "LoRA with a trained length for each row of the weight; filed as PEFT's DoRA, serves by"
        " itself, and no ensemble takes it in",
        is_mergeable=False,
    ),
    "eva": MethodEntry(
        "rpe_core.adapters.methods.eva",
        "LoRA that begins along the principal components of each module's inputs, which the pass"
        " for the representation gathers; of rank 0 to `rho` r where they explain most",
        {
            "rho": Option(_RHO, 2.0),
            "tau": Option(ValueRule(_UNIT, "a number above 0 and up to 1"), 0.99),
        },
        asks_inputs=COMPONENTS,
    ),
    "corda": MethodEntry(
        "rpe_core.adapters.methods.corda",
        "LoRA that begins at the part of W0 that each module's inputs use most (`mode: ipm`) or"
        " least (`kpm`); gathered as for `eva`, filed as `pissa` is",
        {"mode": Option(ValueRule(rules.one_of(_MODES), f"one of {', '.join(_MODES)}"), "ipm")},
        asks_inputs=MOMENTS,
    ),
    "sora": MethodEntry(
        "rpe_core.adapters.methods.sora",
        "LoRA with a gate for each rank, which a proximal step closes: `threshold`, in stages up to"
        " `last_threshold`; filed at the ranks that are left",
        {
            "threshold": Option(_AT_LEAST_0, 3e-4),
            "last_threshold": Option(
                ValueRule(rules.optional(_POSITIVE), "a number above 0, or null"), None
            ),
            "n_stages": Option(ValueRule(rules.whole(1), "a whole number of at least 1"), 1),
            "stage_epochs": Option(ValueRule(rules.whole(1), "a whole number of at least 1"), 1),
            "spacing": Option(
                ValueRule(rules.one_of(_SPACINGS), f"one of {', '.join(_SPACINGS)}"), "linear"
            ),
            "gate_learning_rate": Option(_RATE, None),
            "penalty": Option(_AT_LEAST_0, 0.0),
            "legacy": Option(ValueRule(rules.flag, "true or false"), False),
            "gate_dtype": Option(
                ValueRule(
                    rules.one_of(("float32",)),
                    "float32: next to a gate of 1, bfloat16 has no number nearer than .0078",
                ),
                "float32",
            ),
        },
    ),
    "hydra": MethodEntry(
        "rpe_core.adapters.methods.hydra",
        "a branch beside the layer and one behind it, of rank `sequential_r`; filed as one LoRA",
        {"sequential_r": Option(_RANK, None)},
    ),
    "miss": MethodEntry(
        "rpe_core.adapters.methods.miss",
        "MiSS (once Bone) through PEFT: B alone is trained, A sums the input by blocks;"
        " `variant: mini` has fewer parameters, `bat` is filed at full rank",
        {
            "variant": Option(
                ValueRule(rules.one_of(_VARIANTS), f"one of {', '.join(_VARIANTS)}"), "full"
            ),
            "mini_r": Option(_RANK, None),
        },
        has_scale=False,
        without=_NO_SCALE,
    ),
    "promptsrc": MethodEntry(
        "rpe_core.adapters.methods.promptsrc",
        "LoRA held near the base's features and logits (and label prompts, where a task has them):"
        " `feature_weight`, `logit_weight`, `text_weight`; the Gaussian average of its epochs' dW"
        " is filed, at rank r: `mean_epoch`, `epoch_deviation`",
        _SOURCE_OPTIONS,
        without=_AVERAGES,
    ),
    "prompts": MethodEntry(
        "rpe_core.adapters.methods.prompts",
        "learned tokens in `depth` layers of both of CLIP's encoders, `r` in each, trained as"
        " `promptsrc` is; filed as they are, in a library of their own, and averaged",
        {"depth": Option(ValueRule(rules.whole(1), "a whole number of at least 1"), 9)}
        | _SOURCE_OPTIONS,
        has_scale=False,
        form=PROMPTS,
        without=_NO_SCALE
        | _AVERAGES
        | {"target_modules": _NO_MODULES, "modules_to_save": _NO_MODULES, "dropout": _NO_MODULES},
    ),
}


UNMERGEABLE = tuple(name for name, entry in ADAPTER_METHODS.items() if not entry.is_mergeable)
LEARNED_PROMPTS = tuple(name for name, entry in ADAPTER_METHODS.items() if entry.form == PROMPTS)


def load_method(name: str) -> Any:
    """The method.AdapterMethod of this name, its module imported when it is first asked for.

    Raises:
        UnknownName: if no method has this name.
    """
    if name not in ADAPTER_METHODS:
        raise UnknownName("adapter method", name, ADAPTER_METHODS)
    return import_module(ADAPTER_METHODS[name].module).METHOD

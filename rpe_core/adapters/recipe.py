"""The recipe: an adapter method and its hyper-parameters, checked whole. No file is read here."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rpe_core import declared_values as rules
from rpe_core.adapters.table import ADAPTER_METHODS
from rpe_core.declared_values import ValueRule, read_values
from rpe_core.errors import Fault, known_names, shown_name
from rpe_core.fingerprint import SHORT, fingerprint

SCHEDULES = ("constant", "cosine", "linear")
_LATER = ("modules_to_save", "options")  # of the id only where there are any: older ids stand


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained; equal recipes, rows and base give equal bytes.

    `alpha` is PEFT's: the delta is scaled by alpha/r (alpha/sqrt(r) with use_rslora). No target
    modules are those that PEFT names for the base's architecture; `modules_to_save` are trained
    whole beside them, every weight. `patience` counts epochs without a lower validation loss; None
    trains to the end. A step accumulates the gradients of `micro_batch_size` rows at a time, and
    with `gradient_checkpointing` computes the layers anew on the way back: both cost time and save
    memory. `threads` is part of the recipe, because bytes depend on it. `options` are those of the
    method alone, with their defaults where none was declared.
    """

    method: str
    r: int
    alpha: float
    epochs: int
    learning_rate: float
    batch_size: int
    seed: int
    target_modules: tuple[str, ...] = ()
    modules_to_save: tuple[str, ...] = ()
    dropout: float = 0.0
    use_rslora: bool = False
    weight_decay: float = 0.0
    warmup_ratio: float = 0.06
    schedule: str = "linear"
    max_grad_norm: float = 1.0
    patience: int | None = None
    max_rows: int | None = None
    micro_batch_size: int | None = None
    gradient_checkpointing: bool = False
    threads: int = 1
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe that an adapter was filed with, its fields as JSON."""
        fields = json.loads(text)
        names = {
            key: tuple(fields[key])
            for key in ("target_modules", "modules_to_save")
            if key in fields
        }
        return cls(**{**fields, **names})

    @property
    def sha256(self) -> str:
        """The fingerprint of all fields; where there are none, _LATER ones are left out."""
        values = dataclasses.asdict(self)
        return fingerprint({k: v for k, v in values.items() if v or k not in _LATER})

    @property
    def recipe_id(self) -> str:
        """The first twelve digits of the fingerprint."""
        return self.sha256[:SHORT]


def check_recipe(mapping: Mapping[str, Any]) -> tuple[Recipe | None, list[Fault]]:
    """A declared recipe, or all its faults: unknown and missing keys, types, ranges.

    >>> declared = {"method": "lora", "r": 8, "alpha": 16, "target_modules": ["value", "query"]}
    >>> recipe, faults = check_recipe(
    ...     {**declared, "epochs": 2, "learning_rate": 2e-3, "batch_size": 32, "seed": 0}
    ... )
    >>> recipe.target_modules, recipe.alpha, faults
    (('query', 'value'), 16.0, [])
    >>> for fault in check_recipe({**declared, "epoch": 2, "seed": 0, "r": 0})[1]:
    ...     print(fault)
    batch_size: is missing (a whole number of at least 1)
    epoch: is no key of a recipe (did you mean 'epochs'?)
    epochs: is missing (a whole number of at least 1)
    learning_rate: is missing (a number above 0 and up to 1; YAML reads 2e-3 as text: write 2.0e-3)
    r: is not usable (a whole number from 1 to 4096)
    """
    own = {name: value for name, value in mapping.items() if name != "options"}
    values, faults = read_values(own, _RULES)
    faults += [_unknown_key(key) for key in mapping if key not in _RULES]
    faults += [
        Fault(name, "is missing", _RULES[name].expected)
        for name, default in _DEFAULTS.items()
        if name not in mapping and default is dataclasses.MISSING and name != "options"
    ]
    values["options"] = _options(mapping, faults)
    faults += _misplaced(values)
    return (None, sorted(faults)) if faults else (Recipe(**values), [])


def _options(mapping: Mapping[str, Any], faults: list[Fault]) -> dict[str, Any]:
    """The options of the declared method, with its defaults; what is wrong is added to faults."""
    entry, declared = ADAPTER_METHODS.get(str(mapping.get("method"))), mapping.get("options", {})
    if entry is None:
        return {}
    if not isinstance(declared, Mapping):
        faults.append(Fault("options", "is not usable", _RULES["options"].expected))
        return {}
    known = {f"options.{name}": option for name, option in entry.options.items()}
    faults += [
        _unknown_key(f"options.{name}", known) for name in declared if name not in entry.options
    ]
    option_rules = {name: option.rule for name, option in entry.options.items()}
    values, unusable = read_values(declared, option_rules, below="options.")
    faults += unusable
    return {name: option.default for name, option in entry.options.items()} | values


def _misplaced(values: Mapping[str, Any]) -> list[Fault]:
    """Fields that the method has no use for, where they are not as if nobody had declared them."""
    method = str(values.get("method"))
    entry = ADAPTER_METHODS.get(method)
    if entry is None:
        return []
    faults = [
        Fault(name, f"is not for {method}: {why}", "leave it out")
        for name, why in entry.without.items()
        if values.get(name, _DEFAULTS[name]) != _DEFAULTS[name]
    ]
    is_told = {"alpha", "r"} <= values.keys()
    if is_told and not entry.has_scale and values["alpha"] != values["r"]:
        faults.append(Fault("alpha", f"is not r: {method} has no scale", "alpha equal to r"))
    return faults


def _unknown_key(key: object, known: Mapping[str, Any] | None = None) -> Fault:
    name, known = str(key), _RULES if known is None else known
    shown = name if shown_name(name).startswith("'") else "(a key, not shown)"
    _, question, near = known_names(name, known).partition("  (")
    listed = ", ".join(sorted(known)) or "no options: this method has none"
    expected = near.removesuffix(")") if question else listed
    return Fault(shown, "is no key of a recipe", expected)


_METHODS = tuple(sorted(ADAPTER_METHODS))
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Recipe)}
_RULES = {
    "method": ValueRule(rules.one_of(_METHODS), f"one of {', '.join(_METHODS)}"),
    "r": ValueRule(rules.whole(1, 4096), "a whole number from 1 to 4096"),
    "alpha": ValueRule(rules.number(lambda x: 0 < x < math.inf), "a number above 0"),
    "target_modules": ValueRule(
        rules.modules, "a list of different module names, as [query, value]"
    ),
    "modules_to_save": ValueRule(
        rules.modules_if_any, "a list of different module names, as [mask_decoder]"
    ),
    "epochs": ValueRule(rules.whole(1), "a whole number of at least 1"),
    "learning_rate": ValueRule(
        rules.number(lambda x: 0 < x <= 1),
        "a number above 0 and up to 1; YAML reads 2e-3 as text: write 2.0e-3",
    ),
    "batch_size": ValueRule(rules.whole(1), "a whole number of at least 1"),
    "seed": ValueRule(rules.whole(0, 2**32 - 1), "a whole number from 0 to 4294967295"),
    "dropout": ValueRule(rules.number(lambda x: 0 <= x < 1), "a number from 0 to below 1"),
    "use_rslora": ValueRule(rules.flag, "true or false"),
    "weight_decay": ValueRule(rules.number(lambda x: 0 <= x < math.inf), "a number of at least 0"),
    "warmup_ratio": ValueRule(rules.number(lambda x: 0 <= x <= 1), "a number from 0 to 1"),
    "schedule": ValueRule(rules.one_of(SCHEDULES), f"one of {', '.join(SCHEDULES)}"),
    "max_grad_norm": ValueRule(rules.number(lambda x: 0 < x < math.inf), "a number above 0"),
    "patience": ValueRule(rules.optional(rules.whole(1)), "a whole number of at least 1, or null"),
    "max_rows": ValueRule(rules.optional(rules.whole(1)), "a whole number of at least 1, or null"),
    "micro_batch_size": ValueRule(
        rules.optional(rules.whole(1)), "a whole number of at least 1, or null"
    ),
    "gradient_checkpointing": ValueRule(rules.flag, "true or false"),
    "threads": ValueRule(rules.whole(1, 1024), "a whole number from 1 to 1024"),
    "options": ValueRule(dict, "the options of the method, as {threshold: 3.0e-4}"),
}

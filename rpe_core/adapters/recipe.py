"""The recipe: an adapter method and its hyper-parameters, checked whole. No file is read here."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rpe_core.adapters.methods import ADAPTER_METHODS
from rpe_core.errors import Fault, known_names, shown_name
from rpe_core.fingerprint import SHORT, fingerprint

SCHEDULES = ("constant", "cosine", "linear")
_MODULE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained; equal recipes, rows and base give equal bytes.

    `alpha` is PEFT's: the delta is scaled by alpha/r (alpha/sqrt(r) with use_rslora). No target
    modules are those that PEFT names for the base's architecture; `modules_to_save` are trained
    whole beside them, every weight. `patience` counts epochs without a lower validation loss; None
    trains to the end. A step accumulates the gradients of `micro_batch_size` rows at a time, and
    with `gradient_checkpointing` computes the layers anew on the way back: both cost time and save
    memory. `threads` is part of the recipe, because bytes depend on it.
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

    @property
    def sha256(self) -> str:
        """The fingerprint of all fields, but for modules_to_save where there are none."""
        values = dataclasses.asdict(self)
        return fingerprint({k: v for k, v in values.items() if k != "modules_to_save" or v})

    @property
    def recipe_id(self) -> str:
        """The first twelve digits of the fingerprint."""
        return self.sha256[:SHORT]


class _Rule(NamedTuple):
    """Turns a declared value into a field's value, or raises ValueError; says what is expected."""

    read: Callable[[Any], Any]
    expected: str


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
    faults = [_unknown_key(key) for key in mapping if key not in _RULES]
    values = {}
    for field in dataclasses.fields(Recipe):
        rule = _RULES[field.name]
        if field.name not in mapping:
            if field.default is dataclasses.MISSING:
                faults.append(Fault(field.name, "is missing", rule.expected))
            continue
        try:
            values[field.name] = rule.read(mapping[field.name])
        except ValueError:
            faults.append(Fault(field.name, "is not usable", rule.expected))
    return (None, sorted(faults)) if faults else (Recipe(**values), [])


def _unknown_key(key: object) -> Fault:
    name = str(key)
    shown = name if shown_name(name).startswith("'") else "(a key, not shown)"
    _, question, near = known_names(name, _RULES).partition("  (")
    return Fault(
        shown,
        "is no key of a recipe",
        near.removesuffix(")") if question else ", ".join(sorted(_RULES)),
    )


def _whole(lowest: int, highest: float = math.inf) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise ValueError
        return value

    return read


def _number(fits: Callable[[float], bool]) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
            raise ValueError
        return float(value)

    return read


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return value

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _modules(value: Any) -> tuple[str, ...]:
    """Sorted, because their order means nothing and must not change the recipe's id."""
    if not isinstance(value, list | tuple) or not value or len(set(map(str, value))) < len(value):
        raise ValueError
    if not all(isinstance(name, str) and _MODULE.fullmatch(name) for name in value):
        raise ValueError
    return tuple(sorted(value))


def _modules_if_any(value: Any) -> tuple[str, ...]:
    return () if value in ([], ()) else _modules(value)


_METHODS = tuple(sorted(ADAPTER_METHODS))
_RULES = {
    "method": _Rule(_one_of(_METHODS), f"one of {', '.join(_METHODS)}"),
    "r": _Rule(_whole(1, 4096), "a whole number from 1 to 4096"),
    "alpha": _Rule(_number(lambda x: 0 < x < math.inf), "a number above 0"),
    "target_modules": _Rule(_modules, "a list of different module names, as [query, value]"),
    "modules_to_save": _Rule(
        _modules_if_any, "a list of different module names, as [mask_decoder]"
    ),
    "epochs": _Rule(_whole(1), "a whole number of at least 1"),
    "learning_rate": _Rule(
        _number(lambda x: 0 < x <= 1),
        "a number above 0 and up to 1; YAML reads 2e-3 as text: write 2.0e-3",
    ),
    "batch_size": _Rule(_whole(1), "a whole number of at least 1"),
    "seed": _Rule(_whole(0, 2**32 - 1), "a whole number from 0 to 4294967295"),
    "dropout": _Rule(_number(lambda x: 0 <= x < 1), "a number from 0 to below 1"),
    "use_rslora": _Rule(_flag, "true or false"),
    "weight_decay": _Rule(_number(lambda x: 0 <= x < math.inf), "a number of at least 0"),
    "warmup_ratio": _Rule(_number(lambda x: 0 <= x <= 1), "a number from 0 to 1"),
    "schedule": _Rule(_one_of(SCHEDULES), f"one of {', '.join(SCHEDULES)}"),
    "max_grad_norm": _Rule(_number(lambda x: 0 < x < math.inf), "a number above 0"),
    "patience": _Rule(_optional(_whole(1)), "a whole number of at least 1, or null"),
    "max_rows": _Rule(_optional(_whole(1)), "a whole number of at least 1, or null"),
    "micro_batch_size": _Rule(_optional(_whole(1)), "a whole number of at least 1, or null"),
    "gradient_checkpointing": _Rule(_flag, "true or false"),
    "threads": _Rule(_whole(1, 1024), "a whole number from 1 to 1024"),
}

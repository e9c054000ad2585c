"""adapter_config.json as plain values: what merged members share, and what is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rpe_core.errors import InputError
from rpe_core.merging.base_names import common_name
from rpe_core.merging.files.hyperparameters import NARROWING

Config = Mapping[str, Any]

_CONFIRM = "`--confirm-base` says that it is one base all the same"
_EVERY_LINEAR = "all-linear"  # PEFT's word


def peft_config(
    ranks: Mapping[str, int],
    *,
    base_name: str,
    task_type: str | None,
    target_modules: Sequence[str] | str | None = None,
    modules_to_save: Sequence[str] = (),
    fan_in_fan_out: bool = False,
    use_dora: bool = False,
) -> dict[str, Any]:
    """The configuration of a LoRA with these ranks by module and scaling 1: lora_alpha equals r.

    >>> config = peft_config({"a.query": 4, "b.query": 2}, base_name="mini", task_type=None)
    >>> config["r"], list(config["rank_pattern"].values()), config["target_modules"]
    (4, [2], ['a.query', 'b.query'])
    """
    rank = max(ranks.values(), default=1)
    others = {f"^{re.escape(module)}": r for module, r in ranks.items() if r != rank}
    return {
        "alpha_pattern": others,
        "auto_mapping": None,
        "base_model_name_or_path": base_name,
        "bias": "none",
        "fan_in_fan_out": fan_in_fan_out,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "modules_to_save": sorted(modules_to_save) or None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": others,
        "revision": None,
        "target_modules": target_modules
        if isinstance(target_modules, str)
        else sorted(target_modules or ranks),
        "task_type": task_type,
        "use_dora": use_dora,
        "use_rslora": False,
    }


def common_base(configs: Sequence[Config], *, is_confirmed: bool = False) -> str:
    """The logical base name that all members agree on, "" if none says; of a path, its last part.

    Where it is confirmed that names that differ mean one base, it is the first of them.

    Raises:
        InputError: two members name different bases.
    """
    names = [str(config.get("base_model_name_or_path") or "") for config in configs]
    base_name = common_name(names)
    if base_name is None and is_confirmed:
        return common_name([next(name for name in names if name)]) or ""
    if base_name is None:
        raise InputError(
            "Members were trained on different bases.",
            where=f"{len({name for name in names if name})} different base_model_name_or_path",
            expected="adapters of one base",
            remedy=_CONFIRM,
        )
    return base_name


def check_agreement(configs: Sequence[Config], *, is_base_confirmed: bool = False) -> None:
    """Raise InputError unless the members are adapters of one base."""
    common_base(configs, is_confirmed=is_base_confirmed)
    revisions = {str(config["revision"]) for config in configs if config.get("revision")}
    if len(revisions) > 1 and not is_base_confirmed:
        raise InputError(
            "Members were trained on different revisions of the base.",
            where=f"{len(revisions)} different revision",
            expected="adapters of one base",
            remedy=_CONFIRM,
        )


def common_text(configs: Sequence[Config], key: str) -> str | None:
    """The text that all members have under a key, or None."""
    first = configs[0].get(key)
    is_shared = all(config.get(key) == first for config in configs)
    return first if is_shared and isinstance(first, str) else None


def common_targets(configs: Sequence[Config]) -> list[str] | None:
    """The target_modules that all members share, unless another key narrows what they mean."""
    first = configs[0].get("target_modules")
    for config in configs:
        if config.get("target_modules") != first:
            return None
        if any(config.get(key) is not None for key in NARROWING):
            return None
    if not isinstance(first, list) or not all(isinstance(name, str) for name in first):
        return None
    return list(first)


def any_targets(configs: Sequence[Config]) -> list[str] | str:
    """What members target though they hold no factor for it; PEFT wants a module to be named.

    The fresh factors that it puts there add nothing.
    """
    targets = [config.get("target_modules") for config in configs]
    names = {name for each in targets if isinstance(each, list) for name in each}
    texts = [each for each in targets if isinstance(each, str) and each]
    return sorted(map(str, names)) or next(iter(texts), _EVERY_LINEAR)

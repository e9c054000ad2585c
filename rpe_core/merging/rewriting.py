"""An adapter under the names of its base, with a configuration that says so. Touches files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rpe_core.delta import PREFIX, peft_names
from rpe_core.merging.files.adapter_reader import CONFIG, WEIGHTS, AdapterFolder
from rpe_core.merging.files.hyperparameters import NARROWING, Hyperparameters, is_saved_whole
from rpe_core.merging.files.writing import write_folder_whole, write_json, write_tensors
from rpe_core.merging.placing import Placement


def rewrite(adapter: AdapterFolder, way: Placement, out: Path) -> None:
    """Write the adapter anew: the base's names, the same numbers, and each module told by its name.

    Rank and alpha are those of every module, so that no expression depends on the old names. What
    is left out and copies of the base's own weights are not written.

    Raises:
        InputError: the place is taken, or a number is not finite.
        WriteFailed: the place cannot be written to.
    """
    tensors = {}
    for module, spec in adapter.layout.modules.items():
        names = peft_names(way.name(module), spec.layout)
        for name, own in zip(names, (spec.a_name, spec.b_name), strict=True):
            tensors[name] = adapter.tensors.read(own)
    for tensor, own in adapter.layout.whole.items():
        if tensor not in way.left_out:
            tensors[PREFIX + way.name(tensor)] = adapter.tensors.read(own)
    with write_folder_whole(out) as part:
        write_tensors(part / WEIGHTS, tensors)
        write_json(part / CONFIG, rewritten_config(adapter, way))


def rewritten_config(adapter: AdapterFolder, way: Placement) -> dict[str, Any]:
    """The configuration of the adapter under the base's names: what it says of every module."""
    config, hyperparameters = adapter.config, Hyperparameters(adapter.config)
    modules = adapter.layout.modules
    spelled = {module: spec.spellings(module) for module, spec in modules.items()}
    ranks = {
        f"^{re.escape(way.name(m))}": hyperparameters.rank(*names) for m, names in spelled.items()
    }
    alphas = {
        f"^{re.escape(way.name(m))}": hyperparameters.alpha(*names) for m, names in spelled.items()
    }
    kept = [way.name(tensor) for tensor in adapter.layout.whole if tensor not in way.left_out]
    saved = [name.removeprefix(way.less) for name in config.get("modules_to_save") or ()]
    saved = [n for n in saved if any(is_saved_whole({"modules_to_save": [n]}, t) for t in kept)]
    rank, alpha = hyperparameters.default_rank, hyperparameters.default_alpha
    return {
        **config,
        **dict.fromkeys(NARROWING),
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {name: a for name, a in alphas.items() if a != alpha},
        "target_modules": sorted(way.name(module) for module in modules),
        "modules_to_save": saved or None,
    }

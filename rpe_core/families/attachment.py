"""One adapter on a loaded base, put on and taken off, whatever its family. Nothing of ours here.

The registry ships this source inside each model version, so it stands on torch and peft alone.
Faults are ValueError.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn


def attach(base: Any, folder: str) -> None:
    """Put one plain PEFT adapter on a family's base (`model`, `device` and `adapter`).

    Raises:
        ValueError: if one is attached already, the file is no safetensors or it does not fit; the
            base is then what it was.
    """
    if base.adapter is not None:
        raise ValueError("an adapter is attached already; detach it first")
    if not (Path(folder) / "adapter_model.safetensors").is_file():
        raise ValueError("the adapter folder holds no adapter_model.safetensors")
    try:
        with warnings.catch_warnings():  # PEFT asks transformers for a name that is on its way out
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            base.adapter = PeftModel.from_pretrained(
                base.model, folder, torch_device=base.device, low_cpu_mem_usage=True
            )
    except (KeyError, RuntimeError, ValueError):
        _restore(base.model)
        raise ValueError("the adapter does not fit the base") from None
    base.adapter.eval()
    if any(weight.is_meta for weight in base.adapter.parameters()):
        detach(base)
        raise ValueError("the adapter lacks weights for some of its modules")


def detach(base: Any) -> None:
    """Take the adapter off; the base is bit for bit what it was."""
    if base.adapter is not None:
        base.adapter = None
        _restore(base.model)


def _restore(model: nn.Module) -> None:
    """Put the very modules back that PEFT wrapped; its `unload` would leave those saved whole."""
    for name, module in list(model.named_children()):
        bare = module
        while isinstance(bare, BaseTunerLayer | ModulesToSaveWrapper):
            is_whole = isinstance(bare, ModulesToSaveWrapper)
            bare = bare.original_module if is_whole else bare.base_layer
        if bare is not module:
            setattr(model, name, bare)
        _restore(bare)
    if hasattr(model, "peft_config"):
        del model.peft_config  # PEFT's own mark, or a second adapter would warn

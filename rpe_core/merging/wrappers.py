"""Names of tensors without what wraps a model: compiling, sharding and PEFT leave traces."""

from __future__ import annotations

import re

from rpe_core.delta import PREFIX

# torch.compile, FSDP and fairscale, activation checkpointing, Lightning: no model has such parts
_WRAPPER = re.compile(r"_orig_mod|_fpw_module|_forward_module|_\w*wrapped_module")
_DATA_PARALLEL = "module"  # a wrapper in front of a model only; further in, it may be a part
_ADAPTER = re.compile(  # the adapter's own name in a factor, or in what was saved whole
    r"(?<=\.lora_[AB])\.[^.]+(?=\.weight$)|(?<=\.lora_embedding_[AB])\.(?!weight$)[^.]+$"
    r"|\.modules_to_save(?:\.[^.]+(?=\.))?(?=\.)"
)


def framed_name(name: str) -> str:
    """The name as PEFT writes it: one `base_model.model.` in front, and no name of the adapter.

    What does not begin as PEFT's names do, wrapped or not, is returned as it is.

    >>> framed_name("module.base_model.model._orig_mod.layers.0.q.lora_A.default.weight")
    'base_model.model._orig_mod.layers.0.q.lora_A.weight'
    >>> framed_name("base_model.layers.0.q.lora_A.weight")
    'base_model.model.layers.0.q.lora_A.weight'
    """
    parts = name.split(".")
    start = _after_frame(parts)
    if start is None:
        return name
    return _ADAPTER.sub("", PREFIX + ".".join(parts[start:]))


def plain_name(name: str) -> str:
    """The framed name without the wrappers of any part of the model.

    >>> plain_name("base_model.model.base_model.model._orig_mod.layers.0.q.lora_A.weight")
    'base_model.model.layers.0.q.lora_A.weight'
    >>> plain_name("base_model.model.layers._fsdp_wrapped_module.0.q.lora_B.weight")
    'base_model.model.layers.0.q.lora_B.weight'
    """
    parts = framed_name(name).split(".")
    bare = [part for part in parts if not _WRAPPER.fullmatch(part)]
    start = _after_frame(bare)
    return name if start is None else PREFIX + ".".join(bare[start:])


def _after_frame(parts: list[str]) -> int | None:
    """Where the model's own names begin: after PEFT's, however often, and what wraps it all."""
    at, start = 0, None
    while at < len(parts):
        if parts[at] == "base_model":
            at += 2 if parts[at + 1 : at + 2] == ["model"] else 1
            start = at
        elif parts[at] == _DATA_PARALLEL or (start is None and _WRAPPER.fullmatch(parts[at])):
            at += 1
            start = None if start is None else at
        elif start is not None and _leads_to_frame(parts[at:]):
            at += 1
        else:
            break
    return start


def _leads_to_frame(parts: list[str]) -> bool:
    """Whether wrappers stand here, and PEFT's names again behind them."""
    bare = next((part for part in parts if not _WRAPPER.fullmatch(part)), "")
    return bare == "base_model" and _WRAPPER.fullmatch(parts[0]) is not None

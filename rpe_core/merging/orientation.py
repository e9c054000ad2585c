"""Whether the base stores a weight as dW is, (d_out, d_in), or transposed. Its layers tell.

A Linear stores (d_out, d_in), transformers' Conv1D (d_in, d_out). fan_in_fan_out is one flag for a
whole adapter, and PEFT leaves in it what its last module was: where a weight is square, the layer's
kind is asked of the base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rpe_core.delta import LINEAR
from rpe_core.errors import InputError, shown_name
from rpe_core.merging.files.checkpoint import Checkpoint
from rpe_core.merging.files.layout import ModuleSpec

# The models of transformers with Conv1D layers, by model_type, and the names of these layers.
_TYPES = {
    "clvp",
    "clvp_decoder",
    "clvp_encoder",
    "decision_transformer",
    "gpt2",
    "imagegpt",
    "openai-gpt",
}
_LAYERS = {"c_attn", "c_fc", "c_proj", "q_attn"}
_MAX_DEPTH = 4


def turns_that_fit(spec: ModuleSpec, shape: tuple[int, ...]) -> list[bool]:
    """Whether a weight of this shape is dW as it is (False), transposed (True), or may be both."""
    d_out, d_in = spec.shape
    if spec.layout.kernel:
        channels = d_in
        for extent in spec.layout.kernel:
            channels //= extent
        return [False] if shape == (d_out, channels, *spec.layout.kernel) else []
    if spec.layout.is_embedding:
        return [True] if shape == (d_in, d_out) else []
    return [turn for turn, fit in ((False, (d_out, d_in)), (True, (d_in, d_out))) if shape == fit]


def is_turned(spec: ModuleSpec, key: str, base: Checkpoint, *, flags: Sequence[bool]) -> bool:
    """Whether d_in and d_out of a delta are exchanged against a weight that is not square.

    A layer's bias is as long as d_out; a weight without one is a Linear's, unless a member says
    that it is stored transposed.
    """
    turns = turns_that_fit(spec, base.spec(key).shape)
    bias = f"{key.removesuffix('.weight')}.bias"
    if spec.layout != LINEAR or len(turns) != 1:
        return False
    if bias in base:
        return base.spec(bias).shape != spec.shape[:1]
    return turns == [True] and not any(flags)


def is_stored_transposed(
    key: str, base: Checkpoint, *, flags: Sequence[bool], others: Sequence[bool]
) -> bool:
    """Whether a square weight is that of a Conv1D.

    Args:
        key: the weight's name in the base.
        base: its configuration may name a model with such layers; else the nearest layers that are
            not square tell by their biases, which are as long as d_out.
        flags: fan_in_fan_out of the members that adapt it.
        others: what their shapes say of the other layers that members adapt.

    Raises:
        InputError: nothing tells.
    """
    module = key.removesuffix(".weight")
    if _model_types(base.config) & _TYPES:
        return module.rpartition(".")[2] in _LAYERS
    declared, shown, has_bias = set(flags), set(others), f"{module}.bias" in base
    near = _by_bias(module, base) if has_bias else set()
    if len(near) == 1:
        return near.pop()
    if not shown and len(declared) == 1:
        # a Conv1D has a bias; PEFT itself takes no flag for a Linear
        return declared == {True} and has_bias
    if True not in shown and not near and base.config.get("architectures"):
        return False  # a class of transformers, and it has no Conv1D that shows
    if len(shown) == 1 and (shown == declared or len(declared) > 1):
        return shown.pop()
    raise InputError(
        "fan_in_fan_out is wrong for some modules, so a square one may lie either way.",
        where=f"module {shown_name(module)}",
        expected="members whose configuration tells how every weight is stored",
    )


def _model_types(config: Mapping[str, Any], depth: int = 0) -> set[str]:
    """The model_type of a configuration and of those in it."""
    types = {str(config.get("model_type") or "")}
    for part in config.values() if depth < _MAX_DEPTH else ():
        types |= _model_types(part, depth + 1) if isinstance(part, Mapping) else set()
    return types


def _by_bias(module: str, base: Checkpoint) -> set[bool]:
    """What the nearest layers with a bias tell; a Conv1D has one itself."""
    kinds = {name: kind for name, kind in _kinds(base) if kind is not None}
    parent = module
    while parent:
        parent = parent.rpartition(".")[0]
        inside = f"{parent}." if parent else ""
        kinds_inside = {kind for name, kind in kinds.items() if name.startswith(inside)}
        if kinds_inside:
            return kinds_inside
    return set()


def _kinds(base: Checkpoint) -> Iterator[tuple[str, bool | None]]:
    for key in base:
        name = key.removesuffix(".weight")
        if name == key or f"{name}.bias" not in base:
            continue
        shape, bias = base.spec(key).shape, base.spec(f"{name}.bias").shape
        if len(shape) == 2 and shape[0] != shape[1] and len(bias) == 1:
            yield name, {shape[0]: False, shape[1]: True}.get(bias[0])

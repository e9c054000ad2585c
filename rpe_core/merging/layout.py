"""What the tensors of an adapter mean, from names and shapes alone: factors, and whole tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rpe_core.delta import LINEAR, PREFIX, Layout, peft_shapes, read_factor_name
from rpe_core.errors import InputError, ShapeMismatch, shown_name
from rpe_core.merging.hyperparameters import is_saved_whole, rank_of, scaling_of
from rpe_core.merging.ties import is_vocabulary

Shape = tuple[int, ...]

# What PEFT saves beside an embedding that is adapted, trained whole or resized: the base's own
# weight, and the trained one once more.
_BASE_COPIES = (".base_layer.", ".original_module.")
_TRAINED_TWICE = ".modules_to_save."
_MAX_NAME = 256  # characters


@dataclass(frozen=True)
class ModuleSpec:
    """The delta of one module before a number is read: where A and B are, and what they make."""

    a_name: str
    b_name: str
    rank: int
    scaling: float
    shape: tuple[int, int]  # (d_out, d_in) as a matrix
    layout: Layout = LINEAR


@dataclass(frozen=True)
class AdapterLayout:
    """The modules of an adapter by name, and its tensors that are no factors.

    `whole` maps a tensor of the base to the trained one of modules_to_save, `copies` to the
    untouched one that PEFT saves beside an adapted embedding, or where the vocabulary was resized;
    both values are names in the file.
    """

    modules: dict[str, ModuleSpec]
    whole: dict[str, str]
    copies: dict[str, str]

    @property
    def is_linear(self) -> bool:
        """Whether all its factors are those of linear layers."""
        return not self.copies and all(spec.layout == LINEAR for spec in self.modules.values())


def read_layout(
    shapes: Mapping[str, Shape], config: Mapping[str, Any], *, where: str
) -> AdapterLayout:
    """The layout of an adapter file; modules in sorted order.

    Raises:
        InputError: a tensor is neither a LoRA factor nor part of modules_to_save.
        ShapeMismatch: a factor is missing, or has not the shape that its configuration says.
    """
    factors: dict[tuple[str, bool], dict[str, str]] = {}
    whole: dict[str, str] = {}
    copies: dict[str, str] = {}
    for name in sorted(shapes):
        found = read_factor_name(name)
        tensor = name.removeprefix(PREFIX)
        if found is not None and len(found.module) <= _MAX_NAME:
            factors.setdefault((found.module, found.is_embedding), {})[found.factor] = name
        elif tensor == name or len(tensor) > _MAX_NAME or found is not None:
            raise _foreign(name, where)
        elif copy := next((part for part in _BASE_COPIES if part in tensor), ""):
            copies[tensor.replace(copy, ".")] = name
        elif _TRAINED_TWICE in tensor and name.replace(_TRAINED_TWICE, ".") in shapes:
            continue
        elif is_saved_whole(config, tensor):
            whole[tensor.replace(_TRAINED_TWICE, ".")] = name
        elif is_vocabulary(tensor):
            copies[tensor] = name
        else:
            raise _foreign(name, where)
    if not factors and not whole:
        raise InputError("The adapter holds no LoRA factor.", where=where)
    modules = {
        module: _module_spec(
            module, names, shapes, config, f"module {shown_name(module)} of {where}"
        )
        for (module, _), names in sorted(factors.items())
    }
    if len(modules) != len(factors):
        raise InputError("A module is adapted twice.", where=where)
    return AdapterLayout(modules, whole, copies)


def _module_spec(
    module: str,
    names: Mapping[str, str],
    shapes: Mapping[str, Shape],
    config: Mapping[str, Any],
    where: str,
) -> ModuleSpec:
    if len(names) != 2:
        raise ShapeMismatch("A LoRA module has only one of its two factors.", where=where)
    rank, a, b = rank_of(config, module), shapes[names["A"]], shapes[names["B"]]
    layout = Layout("lora_embedding" in names["A"], a[2:])
    is_pair = len(a) >= 2 and len(b) >= 2 and 0 not in (*a, *b)
    shape = (b[0], math.prod(a[1:])) if is_pair else (0, 0)
    if not is_pair or (a, b) != peft_shapes(shape, rank, layout):
        raise ShapeMismatch(
            "A LoRA module has not the rank of its configuration.",
            where=where,
            expected=f"A ({rank}, d_in) and B (d_out, {rank}); a convolution without groups",
        )
    scaling = scaling_of(config, module)
    return ModuleSpec(names["A"], names["B"], rank, scaling, shape, layout)


def _foreign(name: str, where: str) -> InputError:
    return InputError(
        f"The adapter holds a tensor that is no LoRA factor: {shown_name(name)}.",
        where=where,
        expected=f"{PREFIX}<module>.lora_A.weight and .lora_B.weight, or one of modules_to_save",
    )

"""What the tensors of an adapter mean, from names and shapes alone: factors, and whole tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rpe_core.delta import LINEAR, PREFIX, Layout, peft_shapes, read_factor_name
from rpe_core.errors import InputError, ShapeMismatch, shown_name
from rpe_core.merging.files.hyperparameters import Hyperparameters, is_saved_whole
from rpe_core.merging.names import ends_in
from rpe_core.merging.ties import is_vocabulary
from rpe_core.merging.wrappers import framed_name, plain_name

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

    def spellings(self, module: str) -> tuple[str, ...]:
        """The module's names for PEFT: with what wrapped its model at the training, and without."""
        return _spellings(module, self.a_name)

    def weight_shape(self, *, is_transposed: bool = False) -> Shape:
        """The shape of the weight that it adapts; a linear layer's may be stored transposed."""
        d_out, d_in = self.shape
        if self.layout.kernel:
            return (d_out, d_in // math.prod(self.layout.kernel), *self.layout.kernel)
        return (d_in, d_out) if self.layout.is_embedding or is_transposed else (d_out, d_in)


@dataclass(frozen=True)
class AdapterLayout:
    """The modules of an adapter by name, and its tensors that are no factors.

    Names are those of the model alone: what wrapped it at its training is gone. `whole` maps a
    tensor of the base to the trained one of modules_to_save, `copies` to the untouched one that
    PEFT saves beside an adapted embedding, or where the vocabulary was resized; both values are
    names in the file.
    """

    modules: dict[str, ModuleSpec]
    whole: dict[str, str]
    copies: dict[str, str]

    @property
    def is_linear(self) -> bool:
        """Whether all its factors are those of linear layers."""
        return all(spec.layout == LINEAR for spec in self.modules.values())

    def renamed(self, tensors: Mapping[str, str]) -> AdapterLayout:
        """This layout with other names for some tensors of the base, weights of modules among them.

        Raises:
            InputError: two of them would have one name.
        """

        def other(tensor: str) -> str:
            return tensors.get(tensor, tensor)

        made = AdapterLayout(
            {other(f"{m}.weight").removesuffix(".weight"): s for m, s in self.modules.items()},
            {other(tensor): name for tensor, name in self.whole.items()},
            {other(tensor): name for tensor, name in self.copies.items()},
        )
        parts = ("modules", "whole", "copies")
        if any(len(getattr(made, part)) != len(getattr(self, part)) for part in parts):
            raise InputError("Two modules of the adapter are one in the base.")
        return made


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
        plain = plain_name(name)
        factor, tensor = read_factor_name(plain), plain.removeprefix(PREFIX)
        if factor is not None and len(factor.module) <= _MAX_NAME:
            target = factors.setdefault((factor.module, factor.is_embedding), {})
            key = factor.factor
        elif tensor == plain or len(tensor) > _MAX_NAME or factor is not None:
            raise _foreign(name, where)
        elif copied := [mark for mark in _BASE_COPIES if mark in tensor]:
            target, key = copies, tensor.replace(copied[0], ".")
        elif _TRAINED_TWICE in name and name.replace(_TRAINED_TWICE, ".") in shapes:
            continue
        elif any(is_saved_whole(config, each) for each in (tensor, _as_trained(name))):
            target, key = whole, tensor
        elif is_vocabulary(tensor):
            target, key = copies, tensor
        else:
            raise _foreign(name, where)
        if key in target:
            raise _doubled(name, where)
        target[key] = name
    if not factors and not whole:
        raise InputError("The adapter holds no LoRA factor.", where=where)
    hyperparameters = Hyperparameters(config, where=where)
    modules = {
        module: _module_spec(
            module, names, shapes, hyperparameters, f"module {shown_name(module)} of {where}"
        )
        for (module, _), names in sorted(factors.items())
    }
    if len(modules) != len(factors):
        raise InputError("A module is adapted twice.", where=where)
    _check_targets(modules, config, where)
    return AdapterLayout(modules, whole, copies)


def _module_spec(
    module: str,
    names: Mapping[str, str],
    shapes: Mapping[str, Shape],
    hyperparameters: Hyperparameters,
    where: str,
) -> ModuleSpec:
    if len(names) != 2:
        raise ShapeMismatch("A LoRA module has only one of its two factors.", where=where)
    spelled = _spellings(module, names["A"])
    rank, a, b = hyperparameters.rank(*spelled), shapes[names["A"]], shapes[names["B"]]
    layout = Layout("lora_embedding" in names["A"], a[2:])
    is_pair = len(a) >= 2 and len(b) >= 2 and 0 not in (*a, *b)
    shape = (b[0], math.prod(a[1:])) if is_pair else (0, 0)
    if not is_pair or (a, b) != peft_shapes(shape, rank, layout):
        raise ShapeMismatch(
            "A LoRA module has not the rank of its configuration.",
            where=where,
            expected=f"A ({rank}, d_in) and B (d_out, {rank}); a convolution without groups",
        )
    scaling = hyperparameters.scaling(*spelled)
    return ModuleSpec(names["A"], names["B"], rank, scaling, shape, layout)


def _spellings(module: str, a_name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((_as_trained(a_name), module)))


def _as_trained(name: str) -> str:
    """The module of a factor, or another tensor, with what wrapped parts of the model then."""
    framed = framed_name(name)
    factor = read_factor_name(framed)
    return factor.module if factor else framed.removeprefix(PREFIX)


def _check_targets(
    modules: Mapping[str, ModuleSpec], config: Mapping[str, Any], where: str
) -> None:
    """Raise InputError for a module that ends like a target and is none: `unembed` for `embed`.

    PEFT takes whole parts of a name, so that it would leave such a module out.
    """
    targets = config.get("target_modules")
    if not isinstance(targets, list):
        return
    names = [target for target in targets if isinstance(target, str) and target]
    for module, spec in modules.items():
        if any(ends_in(each, name) for each in spec.spellings(module) for name in names):
            continue
        if any(module.endswith(name) for name in names):
            raise InputError(
                f"target_modules do not name {shown_name(module)}, which the file adapts.",
                where=where,
                expected="a configuration that names what was trained, by whole parts of a name",
            )


def _doubled(name: str, where: str) -> InputError:
    return InputError(
        f"Two tensors of the adapter are one without what wraps the model: {shown_name(name)}.",
        where=where,
        expected="one adapter a file, saved from one copy of the model",
    )


def _foreign(name: str, where: str) -> InputError:
    return InputError(
        f"The adapter holds a tensor that is no LoRA factor: {shown_name(name)}.",
        where=where,
        expected=f"{PREFIX}<module>.lora_A.weight and .lora_B.weight, or one of modules_to_save",
    )

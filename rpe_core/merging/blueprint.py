"""What a merge will add up, from headers alone: every refusal that needs no number happens here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError, ShapeMismatch, shown_name
from rpe_core.merging.concat import Term
from rpe_core.merging.files.adapter_reader import AdapterFolder
from rpe_core.merging.files.checkpoint import Checkpoint
from rpe_core.merging.files.configs import check_agreement
from rpe_core.merging.files.layout import ModuleSpec
from rpe_core.merging.orientation import is_turned, turns_that_fit
from rpe_core.merging.spelling import align_names
from rpe_core.merging.table import check_same_shape, check_weights
from rpe_core.merging.vocabulary import check_rows

# Heads that a class of model adds to a base; transformers begins them at random.
_NEW_HEAD = re.compile(r"(^|\.)(classifier|score|qa_outputs|classification_head)\.")
_ROUNDING = 1e-9
_REMEDY = "pass the base's folder: --base"


@dataclass(frozen=True, eq=False)
class Blueprint:
    """Members with their weights, the base where one is given, and who takes part in what.

    `modules` holds, by module, the members that adapt it; `whole`, by tensor of the base, those
    that trained it as it is. `keys` are the base's own names of the tensors that are looked at.
    Members of weight zero take part in nothing.
    """

    members: tuple[tuple[AdapterFolder, float], ...]
    modules: dict[str, tuple[int, ...]]
    whole: dict[str, tuple[int, ...]]
    base: Checkpoint | None
    keys: dict[str, str]

    @property
    def weights(self) -> list[float]:
        """How much every member weighs."""
        return [weight for _, weight in self.members]

    @property
    def configs(self) -> list[dict[str, Any]]:
        """adapter_config.json of every member."""
        return [member.config for member, _ in self.members]

    def spec(self, module: str) -> ModuleSpec:
        """Shape and layout of a module, on which its members agree."""
        return self.members[self.modules[module][0]][0].layout.modules[module]

    def ranks(self, module: str) -> list[int]:
        """The ranks of a module's members."""
        return [self.members[i][0].layout.modules[module].rank for i in self.modules[module]]

    def flags(self, module: str) -> list[bool]:
        """fan_in_fan_out as a module's members say it."""
        return [bool(self.configs[i].get("fan_in_fan_out")) for i in self.modules[module]]

    def whole_shape(self, tensor: str) -> tuple[int, ...]:
        """The shape of a tensor that members trained whole."""
        member = self.members[self.whole[tensor][0]][0]
        return member.tensors.specs[member.layout.whole[tensor]].shape

    def terms(self, module: str) -> list[Term]:
        """The deltas of a module, mapped, with their weights."""
        return [(self._delta(i, module), self.members[i][1]) for i in self.modules[module]]

    def release(self, module: str) -> None:
        """Give back the memory of a module's factors."""
        for i in self.modules[module]:
            self.members[i][0].release(module)

    def fault_in(self, module: str) -> InputError | None:
        """The refusal that names the member whose factors of a module are not finite, if any."""
        for i in self.modules[module]:
            member, spec = self.members[i][0], self.members[i][0].layout.modules[module]
            if fault := member.fault_in([spec.a_name, spec.b_name]):
                return fault
        return None

    def needed_base(self) -> Checkpoint:
        """The base, where there must be one."""
        if self.base is None:
            raise InputError("What is merged counts from the base.", remedy=_REMEDY)
        return self.base

    def _delta(self, i: int, module: str) -> LowRankDelta:
        return self.members[i][0].delta(module)


def draw_blueprint(
    members: Sequence[tuple[Path, float]],
    *,
    base: Path | None,
    needs_base: bool = False,
    is_base_confirmed: bool = False,
) -> Blueprint:
    """Open the members and the base, and refuse what cannot be added up exactly.

    Args:
        members: adapter folders and their weights.
        base: the checkpoint folder of the base model.
        needs_base: whether the merge writes into the base.
        is_base_confirmed: whether names of the base that differ mean one all the same.

    Raises:
        InputError: a member or the base cannot be read or merged, or they do not belong together.
    """
    check_weights([weight for _, weight in members])
    opened = tuple((AdapterFolder(Path(folder)), float(weight)) for folder, weight in members)
    configs = [member.config for member, _ in opened]
    check_agreement(configs, is_base_confirmed=is_base_confirmed)
    used = [i for i, (_, weight) in enumerate(opened) if weight]
    layouts = [opened[i][0].layout for i in used]
    copies = [tensor for member, _ in opened for tensor in member.layout.copies]
    if base is None and (needs_base or copies or any(layout.whole for layout in layouts)):
        raise _base_is_missing(opened, needs_base=needs_base)
    checkpoint = Checkpoint(Path(base)) if base is not None else None
    _check_modules(Blueprint(opened, *_taking(opened, used), checkpoint, {}))
    align_names([opened[i][0] for i in used], checkpoint)
    modules, whole = _taking(opened, used)
    copies = sorted({tensor for member, _ in opened for tensor in member.layout.copies})
    weights = [f"{module}.weight" for module in modules]
    keys = checkpoint.find([*weights, *whole, *copies]) if checkpoint else {}
    blueprint = Blueprint(opened, modules, whole, checkpoint, keys)
    _check_found(blueprint, [*weights, *whole, *copies], needs_base=needs_base)
    _check_modules(blueprint)
    _check_shapes(blueprint)
    _check_whole(blueprint)
    return blueprint


def _taking(
    opened: Sequence[tuple[AdapterFolder, float]], used: Sequence[int]
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Who takes part in each module, and in each whole tensor; both in sorted order."""
    layouts = {i: opened[i][0].layout for i in used}
    modules = {
        module: tuple(i for i in used if module in layouts[i].modules)
        for module in sorted({m for layout in layouts.values() for m in layout.modules})
    }
    whole = {
        tensor: tuple(i for i in used if tensor in layouts[i].whole)
        for tensor in sorted({t for layout in layouts.values() for t in layout.whole})
    }
    return modules, whole


def _check_modules(blueprint: Blueprint) -> None:
    for module, taking in blueprint.modules.items():
        specs = [blueprint.members[i][0].layout.modules[module] for i in taking]
        check_same_shape(module, [(spec.shape, spec.layout) for spec in specs])
        if any(tensor.startswith(f"{module}.") for tensor in blueprint.whole):
            raise InputError(
                "A module is adapted by factors in one member and saved whole in another.",
                where=f"module {shown_name(module)}",
                expected="one way to adapt a module",
            )


def _check_found(blueprint: Blueprint, tensors: Sequence[str], *, needs_base: bool) -> None:
    """Raise InputError for a tensor that the base lacks, but for a head whose start drops out."""
    base = blueprint.base
    if base is None:
        return
    for tensor in [each for each in tensors if each not in blueprint.keys]:
        if not (tensor in blueprint.whole and _NEW_HEAD.search(tensor)):
            raise base.lacks(tensor)
        total = math.fsum(blueprint.members[i][1] for i in blueprint.whole[tensor])
        if needs_base or abs(total - 1.0) > _ROUNDING:
            raise InputError(
                f"The base was saved with no tensor {shown_name(tensor)}: the head was new when"
                " training began, and no file holds what it began from.",
                where=str(base.folder),
                expected="a base that was saved with its head"
                + ("" if needs_base else ", or members that hold it with weights that sum to 1"),
                remedy="merge to an adapter instead" if needs_base else "",
            )


def _check_shapes(blueprint: Blueprint) -> None:
    """Each delta must have the shape of its weight in the base, as that is stored."""
    base = blueprint.base
    if base is None:
        return
    for module in blueprint.modules:
        key, spec = blueprint.keys[f"{module}.weight"], blueprint.spec(module)
        shape, flags = base.spec(key).shape, blueprint.flags(module)
        if not turns_that_fit(spec, shape) or is_turned(spec, key, base, flags=flags):
            own = spec.shape[::-1] if spec.layout.is_embedding else spec.shape
            check_rows(f"{module}.weight", own, shape)
            raise ShapeMismatch(
                "A delta does not fit the weight of the base.",
                where=f"module {shown_name(module)}, {spec.shape} on {shape}",
                expected="the base that the members were trained on",
            )


def _check_whole(blueprint: Blueprint) -> None:
    """Whole tensors must be of the base's shape; what PEFT copied must be the base's own."""
    base = blueprint.base
    for member, _ in blueprint.members if base else ():
        for tensor, name in (*member.layout.whole.items(), *member.layout.copies.items()):
            if tensor not in blueprint.keys or base is None:
                continue
            key = blueprint.keys[tensor]
            base.shards[base.home(key)].check_floating([key])
            shape = member.tensors.specs[name].shape
            is_copy = tensor in member.layout.copies
            check_rows(tensor, shape, base.spec(key).shape, is_copy=is_copy)
            if shape != base.spec(key).shape:
                raise ShapeMismatch(
                    f"The tensor {shown_name(tensor)} has another shape than in the base.",
                    where=str(member.folder),
                    expected="the base that the adapter was trained on",
                )


def _base_is_missing(
    opened: Sequence[tuple[AdapterFolder, float]], *, needs_base: bool
) -> InputError:
    if needs_base:
        return InputError("A fold needs the base that it writes into.", remedy=_REMEDY)
    where = next(m.folder for m, _ in opened if m.layout.whole or m.layout.copies)
    return InputError(
        "The adapter holds whole tensors, whose change counts from the base.",
        where=str(where),
        expected="the base's folder, for modules_to_save and copies of embeddings only",
        remedy=_REMEDY,
    )

"""Fitting: whether an adapter from elsewhere belongs to a base of the plan, and by which names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.workspace.bases import base_folder
from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
from rpe_core.errors import InputError, shown_name
from rpe_core.families.table import FAMILIES
from rpe_core.fingerprint import fingerprint
from rpe_core.merging.base_names import read_base_name
from rpe_core.merging.files.adapter_reader import CONFIG, WEIGHTS, AdapterFolder, read_json
from rpe_core.merging.files.checkpoint import Checkpoint
from rpe_core.merging.files.reading import TensorFile
from rpe_core.merging.patterns import expressions, is_soon_found
from rpe_core.merging.peft_folders import AdapterFiles, read_base_tensors
from rpe_core.merging.placing import BaseShapes, Placement, misfit_of_whole, place
from rpe_core.merging.prompts import holds_prompts
from rpe_core.merging.rewriting import rewrite
from rpe_core.merging.wrappers import plain_name

_SHOWN = 3
_NAMED = "modules named one by one"

WEIGHTS_OF = CacheSection[str, Checkpoint]("weights of bases, by name")
SKELETONS = CacheSection[str, Any]("bases without their numbers, by name")
SHAPES = CacheSection[str, BaseShapes]("shapes of bases, by name")
FITTING = CacheSection[tuple[str, str], bool]("forms of adapters that fit, by base and form")


@dataclass(frozen=True)
class Fitted:
    """The folder to file, and in words what was done to the adapter for it."""

    folder: Path
    changes: str = ""


def require_base_name(workspace: Workspace, name: str, adapter: AdapterFiles) -> None:
    """The name in adapter_config.json must be that of the base, by its last part."""
    base_name = read_base_name(str(adapter.config.get("base_model_name_or_path") or ""))
    spec, base_id = workspace.plan.bases[name], workspace.bases[name].base_id
    known = {read_base_name(each).model for each in (name, base_id, spec.model)}
    if base_name.model.casefold() not in {each.casefold() for each in known}:
        raise InputError(
            "adapter_config.json names another base than the one given, or none",
            expected=", ".join(sorted(known)),
            remedy="`--confirm-base` says that it is this one all the same",
        )


def fit(workspace: Workspace, name: str, folder: Path, scratch: Path) -> Fitted:
    """The adapter by the names of what the family loads, written anew where they were others.

    It is mapped where it is certain which they are. What comes of it is put on the base's modules,
    without their numbers, as a night will put it on the base: a night finds no fault that an import
    did not.

    Raises:
        InputError: a module or tensor has no place in the base, or several.
    """
    if holds_prompts(folder):
        _try_on(workspace, name, folder)
        return Fitted(folder)
    adapter = AdapterFolder(folder)
    way = _place(workspace, name, adapter)
    mapping = _in_words(adapter, way)
    if not mapping and _fits_as_it_is(workspace, name, folder, adapter):
        return Fitted(folder)
    rewrite(adapter, way, scratch)
    _try_on(workspace, name, scratch)
    return Fitted(scratch, mapping or _NAMED)


def require_fit(workspace: Workspace, name: str, folder: Path) -> None:
    """Raise InputError unless the adapter, as it is, has the names and shapes of the base."""
    if not holds_prompts(folder):
        adapter = AdapterFolder(folder)
        way = _place(workspace, name, adapter)
        mapping = _in_words(adapter, way)
        if mapping or not _is_soon_read(adapter):
            raise InputError(
                f"The adapter of the bundle does not fit the base: it needs {mapping or _NAMED}.",
                expected="a bundle whose adapter has the names of the modules that are loaded",
                remedy="import its plain PEFT folder, which is mapped, and export it again",
            )
    _try_on(workspace, name, folder)


def base_weights(workspace: Workspace, name: str) -> Checkpoint:
    """The base's own weights, opened once a run."""
    spec = workspace.plan.bases[name]
    return workspace.cache.get(WEIGHTS_OF, name, lambda: Checkpoint(base_folder(spec)))


def _place(workspace: Workspace, name: str, adapter: AdapterFolder) -> Placement:
    base = _shapes(workspace, name)
    way = place(adapter.layout, base)
    names = {**adapter.layout.whole, **adapter.layout.copies}
    shapes = {tensor: adapter.tensors.specs[own].shape for tensor, own in names.items()}
    if fault := misfit_of_whole(shapes, base, way):
        raise fault
    _require_own_copies(workspace, name, adapter, way)
    return way


def _require_own_copies(
    workspace: Workspace, name: str, adapter: AdapterFolder, way: Placement
) -> None:
    """Raise InputError where a weight that PEFT saved beside its own is not the base's."""
    copies = adapter.layout.copies
    own = read_base_tensors(
        base_folder(workspace.plan.bases[name]), [way.name(tensor) for tensor in copies]
    )
    for tensor, saved in copies.items():
        before, after = own[way.name(tensor)], adapter.tensors.read(saved)
        # it was saved in the dtype that the base was loaded in, which may be the narrower one
        if not (
            (before.to(after.dtype) == after).all() or (after.to(before.dtype) == before).all()
        ):
            raise InputError(
                f"The adapter changed {shown_name(tensor)} of the base.",
                expected="base weights unchanged, or trained as one of modules_to_save",
            )


def _in_words(adapter: AdapterFolder, way: Placement) -> str:
    """What has to be done to the adapter, nothing where it is as the base wants it."""
    changes = []
    if any(plain_name(name) != name for name in adapter.tensors.specs):
        changes.append("wrappers taken off names")
    if way.less:
        changes.append(f"{shown_name(way.less)} taken off names")
    if way.more:
        changes.append(f"{shown_name(way.more)} put before names")
    if adapter.layout.copies:
        changes.append("copies of the base's own weights left out")
    if way.left_out:
        names = ", ".join(shown_name(tensor) for tensor in way.left_out[:_SHOWN])
        changes.append(
            f"{len(way.left_out)} tensors of a head left out that is not loaded: {names}"
        )
    return "; ".join(changes)


def _fits_as_it_is(workspace: Workspace, name: str, folder: Path, adapter: AdapterFolder) -> bool:
    """Whether its target_modules mean what it holds, of this class of model, and in time."""
    if not _is_soon_read(adapter):
        return False
    try:
        _try_on(workspace, name, folder)
    except InputError:
        return False
    return True


def _is_soon_read(adapter: AdapterFolder) -> bool:
    return all(map(is_soon_found, expressions(adapter.config)))


def _try_on(workspace: Workspace, name: str, folder: Path) -> None:
    # peft, which only an import needs here
    from rpe_core.families import attachment

    skeleton, known = _skeleton(workspace, name), workspace.cache.known(FITTING)
    if (form := (name, _form(folder))) in known:
        return
    try:
        attachment.attach(skeleton, str(folder))
    except ValueError as error:  # its text is about names and shapes
        raise InputError(f"{error}.") from None
    attachment.detach(skeleton)
    known[form] = True


def _form(folder: Path) -> str:
    """What decides whether an adapter fits: one of a thousand of one recipe stands for them all."""
    tensors = TensorFile(folder / WEIGHTS, what=f"The adapter's {WEIGHTS}").specs
    shapes = {name: spec.shape for name, spec in tensors.items()}
    config = json.dumps(read_json(folder / CONFIG, what="adapter"), sort_keys=True)
    return fingerprint([config, shapes])


def _skeleton(workspace: Workspace, name: str) -> Any:
    """The base without its numbers, drawn once a run."""
    # transformers, which only an import needs here
    from rpe_core.families import skeleton

    spec = workspace.plan.bases[name]

    def draw() -> Any:
        try:
            return skeleton.draw(str(base_folder(spec)), FAMILIES[spec.family].loads)
        except (OSError, ValueError):
            raise InputError(
                f"The modules of base {name} cannot be drawn from its config.json.",
                expected="a folder that the family loads",
            ) from None

    return workspace.cache.get(SKELETONS, name, draw)


def _shapes(workspace: Workspace, name: str) -> BaseShapes:
    def find() -> BaseShapes:
        skeleton = _skeleton(workspace, name)
        modules = {module: (kind, shape) for module, kind, shape in skeleton.modules()}
        return BaseShapes(modules, skeleton.tensors(), skeleton.others())

    return workspace.cache.get(SHAPES, name, find)

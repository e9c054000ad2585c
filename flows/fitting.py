"""Fitting: whether an adapter from elsewhere belongs to a base of the plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flows.bases import base_folder, model_files
from flows.workspace import Workspace
from rpe_core.errors import InputError, shown_name
from rpe_core.merging.base_names import read_base_name
from rpe_core.merging.folders import AdapterFiles


def require_base_name(workspace: Workspace, name: str, adapter: AdapterFiles) -> None:
    """The name in adapter_config.json must be that of the base, by its last part."""
    told = read_base_name(str(adapter.config.get("base_model_name_or_path") or ""))
    spec, base_id = workspace.plan.bases[name], workspace.bases[name].base_id
    known = {read_base_name(each).model for each in (name, base_id, spec.model)}
    if told.model.casefold() not in {each.casefold() for each in known}:
        raise InputError(
            "adapter_config.json names another base than the one given, or none",
            expected=", ".join(sorted(known)),
            remedy="`--confirm-base` says that it is this one all the same",
        )


def require_shapes(workspace: Workspace, name: str, adapter: AdapterFiles) -> None:
    """Every module and whole tensor of the adapter is a weight of the base, of that shape.

    A module that prompts are learned for has a weight of their width.
    """
    shapes = dict(_weights_of(base_folder(workspace.plan.bases[name])))
    for tensor, whole in sorted(adapter.whole.items()):
        found = [s for key, s in shapes.items() if f".{key}".endswith(f".{tensor}")]
        if tuple(whole.shape) not in found:
            raise _misfit(f"Tensor {shown_name(tensor)}", found)
    for module, prompt in sorted(adapter.prompts.items()):
        found = [s for key, s in shapes.items() if key.startswith(f"{module}.")]
        if not any(shape[-1:] == prompt.shape[-1:] for shape in found):
            raise _misfit(f"The prompt of {shown_name(module)}", found)
    for module, delta in sorted(adapter.deltas.items()):
        found = [s for key, s in shapes.items() if f".{key}".endswith(f".{module}.weight")]
        wanted = (delta.b.shape[0], delta.a.shape[1])
        if not any(sorted(shape) == sorted(wanted) for shape in found):
            raise _misfit(f"Module {shown_name(module)}", found)


def _misfit(what: str, found: list[tuple[int, ...]]) -> InputError:
    expected = " or ".join(map(str, found)) or "a module of the base"
    return InputError(f"{what} does not fit the base.", expected=expected)


def _weights_of(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    from safetensors import safe_open  # only an import reads headers of the base

    for file in model_files(folder):
        if file.suffix == ".safetensors":
            with safe_open(file, framework="np") as tensors:
                for key in tensors.keys():  # noqa: SIM118 - it is no mapping
                    yield key, tuple(tensors.get_slice(key).get_shape())

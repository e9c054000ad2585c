"""The folder of a served version: one self-contained model.py, signature, example, adapter."""

from __future__ import annotations

import base64
import io
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from catalog.stores.disk import disk_errors
from catalog.stores.outgoing import write_outgoing
from catalog.stores.registry.model_versions import RegisteredBase
from catalog.stores.registry.sums import write_sums
from catalog.stores.served_model import served_task
from rpe_core.errors import UnknownName
from rpe_core.families.table import family_source
from rpe_core.records import BaseModel, TaskSpec

REQUIREMENTS = ("mlflow", "numpy", "pandas", "peft", "safetensors", "torch", "transformers")
NEEDED_BY = {"nf4": ("accelerate", "bitsandbytes")}  # packages beside these, by dtype of the base
# type of the input in a signature; else a text
_INPUTS = {"image-classification": "binary", "image-segmentation": "binary"}
_LABELLED = (("label", "string"), ("score", "double"))
_OUTPUTS = {  # columns of an answer and their types in a signature, by type of the task
    "image-classification": _LABELLED,
    "image-segmentation": (("mask", "binary"),),
    "text-classification": _LABELLED,
    "text-generation": (("text", "string"),),
}
ENSEMBLE = "ensemble.json"
OPTIONS = {"batch_size": 32, "device": "cpu"}  # what a consumer may set through model_config
EXAMPLE = "This is a made-up sentence that shows the form of an input."
_EXAMPLE_FILES = {
    "artifact_path": "input_example.json",
    "pandas_orient": "split",
    "serving_input_path": "serving_input_example.json",
    "type": "dataframe",
}
_FUTURE = "from __future__ import annotations\n"
_END = """

{0}.family = SimpleNamespace({1})
{0}.inputs = SimpleNamespace(
    is_blank=is_blank, require_items=require_items, answer_each=answer_each, spread=spread
)
set_model({0}())
"""
_SERVED = ("ServedModel", ("load", "prepare", "attach", "predict", "answers"))
_BASE = ("ServedBase", ("load", "encode"))


@dataclass(frozen=True)
class ServedParts:
    """What one served version is made of."""

    base: BaseModel
    registered_base: RegisteredBase
    task: TaskSpec
    adapter_folder: Path
    card: str
    ensemble: bytes = b""  # ensemble.json; none of an adapter's own version


def model_source(family: str, *, is_base: bool = False) -> str:
    """The family's source, how adapters are attached, what inputs may be, what MLflow calls.

    No import of ours is left in it. Each version carries its own copy, so versions of different
    family code live in one process: MLflow runs every model.py as a module of a name of its own.

    Raises:
        UnknownName: if no family has this name.
    """
    shared = [_source("rpe_core.families", name) for name in ("attachment.py", "inputs.py")]
    mine = "\nfrom types import SimpleNamespace\n\nfrom mlflow.models import set_model\n"
    wrapper = mine + _body(_source("catalog.stores.registry", "pyfunc_wrapper.py"))
    name, asked = _BASE if is_base else _SERVED
    end = _END.format(name, ", ".join(f"{parameter}={parameter}" for parameter in asked))
    return "\n".join([family_source(family).rstrip(), *map(_body, shared), wrapper, end])


def _source(package: str, name: str) -> str:
    return (files(package) / name).read_text(encoding="utf-8")


def _body(source: str) -> str:
    """A module without its docstring: only the first of a file may say what is in it."""
    return source.split(_FUTURE, 1)[1].rstrip()


def outputs_of(task: TaskSpec) -> tuple[tuple[str, str], ...]:
    """Columns that answer a task, each with its type in a signature.

    Raises:
        UnknownName: a task type that no version can be made for.
    """
    if task.type not in _OUTPUTS:
        raise UnknownName("task type", task.type, _OUTPUTS)
    return _OUTPUTS[task.type]


def input_of(task: TaskSpec) -> str:
    """Type of the input column in a signature: `string`, or `binary` for the .npy of an image."""
    return input_of_type(task.type)


def input_of_type(task_type: str) -> str:
    """Type of the input column in the signature of models for a type of task, by its name."""
    return _INPUTS.get(task_type, "string")


def write_served_model(folder: Path, parts: ServedParts) -> None:
    """Write a version that `mlflow.pyfunc.load_model` loads; the same parts give the same bytes.

    The folder is laid out by hand: `save_model` would run model.py and leave times, ids and paths.

    Raises:
        UnknownName: a task type that no version can be made for.
        StoreUnavailable: the disk is full.
    """
    with disk_errors("a model version", folder):
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        adapter, family = folder / "artifacts" / "adapter", parts.base.family
        shutil.copytree(parts.adapter_folder, adapter, dirs_exist_ok=True)
        write_outgoing(adapter, family=family, hub=parts.registered_base.hub)
        if parts.ensemble:
            (folder / "artifacts" / ENSEMBLE).write_bytes(parts.ensemble)
        write_json(folder / "artifacts" / "task.json", served_task(parts.base, parts.task))
        write_json(folder / "artifacts" / "base.json", _base(parts))
        (folder / "model.py").write_text(model_source(parts.base.family), encoding="utf-8")
        (folder / "model_card.md").write_text(parts.card, encoding="utf-8")
        column, kind = parts.task.input, input_of(parts.task)
        write_environment(folder, parts.base.dtype)
        write_example(folder, column, kind)
        artifacts = ("adapter", "base.json", "task.json")
        paths = {name.removesuffix(".json"): f"artifacts/{name}" for name in artifacts}
        write_mlmodel(folder, column, kind, outputs_of(parts.task), artifacts=paths)
        write_sums(folder)


def _base(parts: ServedParts) -> dict[str, str]:
    ref = parts.registered_base.ref
    return {"name": ref.name, "sha256": parts.base.sha256, "version": ref.version}


def write_environment(folder: Path, dtype: str) -> None:
    """What a model needs to be loaded, by the versions of now."""
    pinned = _pinned(*REQUIREMENTS, *NEEDED_BY.get(dtype, ()))
    python = platform.python_version()
    (folder / "requirements.txt").write_text("\n".join(pinned) + "\n", encoding="utf-8")
    conda = {
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": pinned}],
        "name": "mlflow-env",
    }
    build = {
        "build_dependencies": ["pip"],
        "dependencies": ["-r requirements.txt"],
        "python": python,
    }
    # JSON is YAML, and its writer sorts
    write_json(folder / "conda.yaml", conda)
    write_json(folder / "python_env.yaml", build)


@cache
def _pinned(*names: str) -> list[str]:
    # a local build such as 2.13.0+cpu is on no index that a consumer can be expected to use
    return [f"{name}=={version(name).split('+')[0]}" for name in names]


def write_example(folder: Path, column: str, kind: str) -> None:
    """A made-up input, written without running the model."""
    value = EXAMPLE if kind == "string" else _example_image()
    example = {"columns": [column], "data": [[value]]}
    write_json(folder / "input_example.json", example)
    write_json(folder / "serving_input_example.json", {"dataframe_split": example})


def _example_image() -> str:
    """A small grey slope as a .npy file, in the base64 that MLflow's JSON has for bytes."""
    file = io.BytesIO()
    np.save(file, np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8), allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode("ascii")


def write_mlmodel(
    folder: Path,
    column: str,
    kind: str,
    outputs: Sequence[tuple[str, str]],
    *,
    artifacts: Mapping[str, str],
) -> None:
    """Tell MLflow how model.py is loaded, with its column in and the columns out.

    `artifacts` are places in the folder by the name that model.py has for them; `[double]` is the
    type of a list of numbers.
    """
    # MLflow takes seconds to import, and only a night that registers something needs this
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import add_to_model
    from mlflow.types.schema import Array, ColSpec, DataType, Schema

    types = {"[double]": Array(DataType.double)}
    columns = [ColSpec(types.get(output_kind, output_kind), name) for name, output_kind in outputs]
    model = Model(
        # a version's time stands in the registry; in its files it would change their hash
        utc_time_created="1970-01-01 00:00:00",
        model_uuid=None,
        signature=ModelSignature(
            inputs=Schema([ColSpec(kind, column)]),
            outputs=Schema(columns),
        ),
        saved_input_example_info=dict(_EXAMPLE_FILES),
    )
    add_to_model(
        model,
        loader_module="mlflow.pyfunc.loaders.code_model",
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        model_config=OPTIONS,
        model_code_path="model.py",
        artifacts={name: {"path": path, "uri": path} for name, path in artifacts.items()},
        streamable=False,
    )
    model.save(folder / "MLmodel")


def write_json(file: Path, value: Any) -> None:
    """Sorted JSON, so that equal values give equal bytes."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")

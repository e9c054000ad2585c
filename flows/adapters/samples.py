"""Samples: where an imported adapter is filed, from a file of inputs or from a vector given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalog.contracts.contract import ColumnRule
from catalog.readers.formats import format_of_name, open_batches
from catalog.readers.items import read_item
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.registry.model_code import input_of
from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
from rpe_core.errors import InputError
from rpe_core.records import TaskSpec
from rpe_core.regular_files import read_regular, special_kind
from rpe_core.representation import mean_feature

MAX_BYTES = 64 << 20  # of a file that holds one vector


@dataclass(frozen=True)
class SampleRepresentation:
    """z with its variance over n items, and the hash of the file that it comes from."""

    z: tuple[float, ...]
    variance: tuple[float, ...]
    n_items: int
    sha256: str


SAMPLES = CacheSection[tuple[str, str], SampleRepresentation](
    "samples, by base and hash of the file"
)


def read_sample_representation(
    workspace: Workspace, base: str, folder: Path, task: TaskSpec, sample: str, representation: str
) -> SampleRepresentation:
    """Encode a sample, or take the vector given; a relative name is looked for in the folder first.

    Raises:
        InputError: the file is missing or holds neither; no message quotes it.
    """
    path = _find(folder, sample or representation)
    sha256 = Artifacts.hash_file(path)
    if representation:
        return _vector(path, sha256)

    def find() -> SampleRepresentation:
        mean = mean_feature(workspace.features(base, _inputs(path, task)))
        variance = tuple(mean.variance.tolist())
        return SampleRepresentation(tuple(mean.mean.tolist()), variance, mean.n, sha256)

    return workspace.cache.get(SAMPLES, (base, sha256), find)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, Path(name).expanduser()):
        if path.is_file():
            return path
        if kind := special_kind(path):
            raise InputError(
                f"The file that says where the adapter is filed is {kind}.",
                where=path.name,
                expected="a regular file",
            )
    raise InputError(
        "The file that says where the adapter is filed is missing.",
        expected=f"{Path(name).name} in the adapter's folder, or a path",
    )


def _vector(path: Path, sha256: str) -> SampleRepresentation:
    """A .npy of shape (d,), or JSON: a list, or an object with z and perhaps variance, n_items."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError
        if path.suffix == ".npy":
            # mapped, a header that claims more than the file holds allocates nothing
            content = {"z": np.load(path, mmap_mode="r", allow_pickle=False).tolist()}
        else:
            loaded = json.loads(read_regular(path))
            content = {"z": loaded} if isinstance(loaded, list) else dict(loaded)
        z = tuple(float(x) for x in content["z"])
        variance = tuple(float(x) for x in content.get("variance", [0.0] * len(z)))
        n_items = int(content.get("n_items", 1))
    except Exception:
        # parsers raise anything over broken bytes; none of it is ours to pass on
        raise InputError(
            "The representation cannot be read.",
            where=path.name,
            expected="a .npy of shape (d,), or JSON: numbers, or {z, variance, n_items}",
        ) from None
    return SampleRepresentation(z, variance, n_items, sha256)


def _inputs(path: Path, task: TaskSpec) -> Sequence[Any]:
    """What a file of inputs holds: the rows of a column or the lines of a text, or one image."""
    if input_of(task) == "binary":
        return [read_item(path)]
    column = task.input
    if path.suffix == ".txt":
        try:
            lines = read_regular(path).decode("utf-8").splitlines()
            return [line for line in lines if line.strip()]
        except (OSError, UnicodeDecodeError):
            raise InputError("The sample is no UTF-8 text.", where=path.name) from None
    rule = {column: ColumnRule(type="string")}
    inputs: list[str] = []
    for batch in open_batches(str(path), format_of_name(str(path)), columns=rule):
        if column in batch.missing_columns:
            raise InputError(f"The sample has no column {column}.", where=path.name)
        inputs += [text for text in batch.table.column(column).to_pylist() if text]
    return inputs

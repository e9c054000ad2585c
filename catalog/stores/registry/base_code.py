"""The folder of a base's version: its files, and a model.py that answers with frozen features."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from catalog.stores.disk import disk_errors
from catalog.stores.registry.model_code import (
    input_of_type,
    model_source,
    write_environment,
    write_example,
    write_json,
    write_mlmodel,
)
from catalog.stores.registry.sums import write_sums
from rpe_core.families.table import FAMILIES
from rpe_core.records import BaseModel

COLUMNS = {"string": "text", "binary": "image"}  # what the input of a base is called, by its type


def base_input(family: str) -> tuple[str, str]:
    """Name and type of the column that a base of this family takes.

    >>> base_input("text-encoder"), base_input("sam")
    (('text', 'string'), ('image', 'binary'))
    """
    kind = input_of_type(FAMILIES[family].task_type)
    return COLUMNS[kind], kind


def write_base(
    folder: Path, base: BaseModel, files: Sequence[Path], *, model: str, is_hub: bool, card: str
) -> None:
    """Write a base's version: its files under `model/`, or their names where the hub holds them.

    Raises:
        StoreUnavailable: the disk is full.
    """
    column, kind = base_input(base.family)
    listed = {
        "files": sorted(file.name for file in files),
        "is_hub": is_hub,
        "model": model,
        "revision": base.revision if is_hub else "",
        "sha256": base.sha256,
    }
    encoder = {
        "dtype": base.dtype,
        "input": column,
        "is_binary": kind == "binary",
        "max_tokens": base.max_tokens,
        "sha256": base.sha256,
    }
    with disk_errors("a base model's version", folder):
        write_json(folder / "base.json", listed)
        write_json(folder / "encoder.json", encoder)
        (folder / "model_card.md").write_text(card, encoding="utf-8")
        (folder / "model.py").write_text(model_source(base.family, is_base=True), encoding="utf-8")
        write_environment(folder, base.dtype)
        write_example(folder, column, kind)
        artifacts = {"base": "base.json", "encoder": "encoder.json"}
        write_mlmodel(folder, column, kind, (("feature", "[double]"),), artifacts=artifacts)
        if not is_hub:
            (folder / "model").mkdir()
            for file in files:
                shutil.copyfile(file, folder / "model" / file.name)
        write_sums(folder)

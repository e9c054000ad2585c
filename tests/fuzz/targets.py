"""What takes bytes of strangers: contract and plan, every reader, adapters and bundles.

A target reads one input. It may answer or refuse in our own words; any other error is a finding,
and so is a refusal that quotes the text planted in its seeds.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine

from catalog.contracts.contract import ColumnRule
from catalog.contracts.load import load_contract
from catalog.readers.cells import CellRefusedError
from catalog.readers.formats import open_batches
from catalog.readers.images import load_image, load_mask
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.artifacts.portable import ADAPTER, CARD, HASHES, REPRESENTATION, read_bundle
from flows.adapters.bundle_card import read_card
from flows.adapters.samples import read_sample_representation
from flows.workspace.plan_file import load_plan
from rpe_core.errors import InputError, RpeError
from rpe_core.merging.files.adapter_reader import read_json
from rpe_core.merging.files.hyperparameters import check_config
from rpe_core.merging.files.layout import read_layout
from rpe_core.merging.peft_folders import read_adapter
from rpe_core.merging.placing import LINEAR, BaseShapes, place
from rpe_core.records import BaseModel, TaskSpec
from tests.fuzz import seeds

COLUMNS: Mapping[str, ColumnRule] = {
    "id": ColumnRule(type="string", key=True),
    "age": ColumnRule(type="integer", nullable=True),
    "seen": ColumnRule(type="timestamp", nullable=True),
    "text": ColumnRule(type="string", phi_scan=True),
}
BASE = BaseModel("pico", "text-encoder", "local", "", "float32", 32, "a" * 64)
MODEL = BaseShapes({f"layer.{i}.query": (LINEAR, (4, 4)) for i in (0, 1)}, {})
Read = Callable[[Path], object]


class WrongModule(Exception):
    """A module was given a place that is not its own."""


class Quoted(Exception):
    """A refusal repeats what the input holds."""


class Misplaced(Exception):
    """A mask was accepted that lies elsewhere than its image."""


@dataclass(frozen=True)
class Target:
    """How one kind of input is read, and sound inputs to begin from."""

    name: str
    read: Read
    seeds: Callable[[], list[bytes]]
    ending: str

    def try_input(self, raw: bytes) -> bool:
        """Whether the input was accepted; raises what nobody planned for."""
        with TemporaryDirectory(prefix="fuzz-") as folder:
            path = Path(folder) / f"input{self.ending}"
            path.write_bytes(raw)
            try:
                self.read(path)
            except (RpeError, CellRefusedError) as refused:
                if seeds.SECRET in f"{refused!r} {refused}":
                    raise Quoted(self.name) from None
                return False
        return True


def _table(file_format: str) -> Read:
    return lambda path: [
        len(b.table) for b in open_batches(str(path), file_format, columns=COLUMNS)
    ]


def _image(file_format: str) -> Read:
    return lambda path: load_image([str(path)], file_format)


def _mask(path: Path) -> object:
    return load_mask(str(path), "image", [1, 255])


def _placed(path: Path) -> object:
    """An image and a mask; nibabel has to find the corners of an accepted one in one place."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:4], "little")
    image, mask = path.with_name("image.nii"), path.with_name("mask.nii")
    image.write_bytes(raw[4 : 4 + length])
    mask.write_bytes(raw[4 + length :])
    grid = load_image([str(image)], "nifti").picture.grid
    found = load_mask(str(mask), "nifti", [1, 255], on=grid)
    corners = []
    for one in (image, mask):
        with suppress(Exception):  # nibabel reads no gzip under this name
            read = nib.as_closest_canonical(nib.load(one))
            unit = {1: 1e3, 3: 1e-3}.get(int(read.header["xyzt_units"]) & 7, 1.0)
            ends = [[0, n - 1] for n in (*read.shape, 1, 1)[:3]]
            corners.append(unit * apply_affine(read.affine, list(itertools.product(*ends))))
    least = min(length for length in grid.spacing if length)
    if len(corners) == 2 and np.abs(corners[0] - corners[1]).max() > 0.1 * least:
        raise Misplaced
    return found


def _adapter(path: Path) -> object:
    """A configuration, a line of its own, then the tensors."""
    config, _, weights = path.read_bytes().partition(b"\n")
    (path.parent / "adapter_config.json").write_bytes(config)
    (path.parent / "adapter_model.safetensors").write_bytes(weights)
    return read_adapter(path.parent)


def _names(path: Path) -> object:
    """A configuration and names with shapes; what is placed must lie on a module of its shape."""
    found = read_json(path, what="input")
    config, shapes = found.get("config"), found.get("shapes")
    if not isinstance(config, dict) or not isinstance(shapes, dict):
        raise InputError("The input is none.")
    if not all(_is_shape(shape) for shape in shapes.values()):
        raise InputError("The input is none.")
    check_config(config)
    tensors = {name: tuple(shape) for name, shape in shapes.items()}
    layout = read_layout(tensors, config, where="")
    way = place(layout, MODEL)
    for module, spec in layout.modules.items():
        if MODEL.modules[way.name(module)] != (LINEAR, spec.shape):
            raise WrongModule(module)
    return way


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _bundle(path: Path) -> object:
    """A card, a line of its own, then a representation; the hashes are right, as a forger's are."""
    card, _, representation = path.read_bytes().partition(b"\n")
    folder = path.parent / "bundle"
    (folder / ADAPTER).mkdir(parents=True)
    (folder / CARD).write_bytes(card)
    (folder / REPRESENTATION).write_bytes(representation)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / ADAPTER / name).write_bytes(b"{}")
    files = [file for file in folder.rglob("*") if file.is_file()]
    hashes = {f.relative_to(folder).as_posix(): Artifacts.hash_file(f) for f in files}
    (folder / HASHES).write_text(json.dumps(hashes))
    return read_card(read_bundle(folder), BASE, "pico@1")


def _vector(path: Path) -> object:
    return read_sample_representation(
        None, "pico", path.parent, TaskSpec("", "", ""), "", path.name
    )  # type: ignore[arg-type]


def _plan(path: Path) -> object:
    return load_plan(path, sources=["site_a", "site_b"])


TARGETS = {
    target.name: target
    for target in (
        Target("contract", load_contract, seeds.contracts, ".yaml"),
        Target("plan", _plan, seeds.plans, ".yaml"),
        Target("csv", _table("csv"), seeds.csv_files, ".csv"),
        Target("jsonl", _table("jsonl"), seeds.jsonl_files, ".jsonl"),
        Target("parquet", _table("parquet"), seeds.parquet_files, ".parquet"),
        Target("image", _image("image"), seeds.images, ".png"),
        Target("mask", _mask, seeds.masks, ".png"),
        Target("npz", _image("npz"), seeds.npz_files, ".npz"),
        Target("nifti", _image("nifti"), seeds.nifti_files, ".nii"),
        Target("placed", _placed, seeds.placed_masks, ".bin"),
        Target("dicom", _image("dicom"), seeds.dicom_files, ".dcm"),
        Target("adapter", _adapter, seeds.adapters, ".bin"),
        Target("names", _names, seeds.names, ".json"),
        Target("bundle", _bundle, seeds.bundles, ".json"),
        Target("vector", _vector, seeds.vectors, ".npy"),
    )
}

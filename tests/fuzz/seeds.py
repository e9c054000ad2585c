"""Sound inputs of every kind, made on the spot: where a fuzzer begins."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from rpe_core.delta import LowRankDelta
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.merging.prompts import write_prompts
from tests.image_files import (
    blob,
    picture,
    write_deep_png,
    write_dicom,
    write_nifti,
    write_tiff,
)
from tests.pico_world import CONTRACT, PLAN

SECRET = "Hildegunst4471"
ROWS = [
    {"id": "a1", "age": 47, "seen": "2026-01-15T08:00:00", "text": f"No acute finding {SECRET}"},
    {"id": "a2", "age": None, "seen": None, "text": f"{SECRET}, \u00fcber \u4e2d"},
]
GREY = picture(blob((5, 7)))
SHORT = "0123456789ab"
CARD: dict[str, Any] = {
    "format": 1,
    "base": {"sha256": "a" * 64, "family": "text-encoder", "encoder_id": "pico@1"},
    "adapter": {
        "adapter_id": f"adapter:site_a@{SHORT}",
        "source": "site_a",
        "dataset_version_id": f"dataset:site_a@{SHORT}",
        "representation_id": f"representation:site_a@{SHORT}",
        "task": {"type": "text-classification", "input": "text", "target": "label"},
        "recipe_id": SHORT,
        "recipe": {"method": "lora"},
        "license": "CC0-1.0",
        "weights_sha256": "b" * 64,
        "rank": 2,
        "n_parameters": 64,
        "n_steps": 10,
        "validation_score": 0.5,
        "threads": 1,
        "versions": {"torch": "2"},
    },
}
PLACE: dict[str, Any] = {"n_items": 9, "n_groups": 3, "z": [0.0, 1.0], "variance": [1.0, 1.0]}


def contracts() -> list[bytes]:
    """A whole contract."""
    labels = '{a: "First.", b: "Second."}'
    text = CONTRACT.format(source="input", data="/data", labels=labels, names="a, b")
    return [text.encode()]


def plans() -> list[bytes]:
    """A whole plan."""
    return [PLAN.replace("site_c", "site_a").format(base="local").encode()]


def csv_files() -> list[bytes]:
    """Plain and quoted rows."""
    lines = [",".join(ROWS[0])]
    lines += [",".join(f'"{row[name] or ""}"' for name in row) for row in ROWS]
    return ["\n".join(lines).encode(), ("\ufeff" + "\r\n".join(lines)).encode()]


def jsonl_files() -> list[bytes]:
    """An object a line."""
    return ["".join(json.dumps(row) + "\n" for row in ROWS).encode()]


def parquet_files() -> list[bytes]:
    """One file without and one with compression."""
    made = []
    for compression in ("none", "zstd"):
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(ROWS), stream, compression=compression)
        made.append(stream.getvalue())
    return made


def images() -> list[bytes]:
    """PNG, TIFF of two pages and JPEG; colours of 16 bits, and of floats."""
    deep = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1) * np.uint16(257)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        wide = [
            write_deep_png(path, deep).read_bytes(),
            write_tiff(path, deep, order=">").read_bytes(),
            write_tiff(path, deep.astype(np.float64), compression=8, planar=2).read_bytes(),
        ]
    return [*_images(GREY, "PNG", "TIFF", "JPEG"), *wide]


def masks() -> list[bytes]:
    """PNG, and TIFF of two pages."""
    return _images(blob((5, 7)), "PNG", "TIFF")


def _images(pixels: np.ndarray, *kinds: str) -> list[bytes]:
    page, made = Image.fromarray(pixels), []
    pages = {"save_all": True, "append_images": [page], "compression": "tiff_deflate"}
    for kind in kinds:
        stream = io.BytesIO()
        page.save(stream, kind, **(pages if kind == "TIFF" else {}))
        made.append(stream.getvalue())
    return made


def npz_files() -> list[bytes]:
    """An array stored and one deflated."""
    made = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, image=GREY, spacing=np.array([1.0, 2.0, 3.0]))
        made.append(stream.getvalue())
    return made


def nifti_files() -> list[bytes]:
    """NIfTI-1, NIfTI-2, and one gzipped."""
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    made = [kind(voxels, np.eye(4)).to_bytes() for kind in (nib.Nifti1Image, nib.Nifti2Image)]
    return [*made, gzip.compress(made[0], mtime=0)]


def placed_masks() -> list[bytes]:
    """The length of an image's NIfTI, the image, then its mask, stored along other axes."""
    made = []
    for axes in ("LPS", "RAS", "PIR"):
        with TemporaryDirectory() as folder:
            image = write_nifti(Path(folder) / "i.nii", picture(blob((2, 3, 4)))).read_bytes()
            mask = write_nifti(Path(folder) / "m.nii", blob((2, 3, 4)), axes=axes).read_bytes()
        made.append(len(image).to_bytes(4, "little") + image + mask)
    return made


def dicom_files() -> list[bytes]:
    """A slice."""
    with TemporaryDirectory() as folder:
        return [write_dicom(Path(folder) / "a.dcm", GREY.astype(np.uint16)).read_bytes()]


def adapters() -> list[bytes]:
    """A configuration, a line of its own, then the tensors: of a LoRA, and of learned prompts."""
    delta = LowRankDelta(torch.ones(2, 4), torch.ones(3, 2), 1.0)
    found = []
    with TemporaryDirectory() as folder:
        lora, prompts = Path(folder) / "lora", Path(folder) / "prompts"
        write_adapter(lora, {"layer.query": delta}, base_name="lab/base", task_type=None)
        write_prompts(prompts, {"layers.1": torch.ones(2, 4)}, base_name="lab/base")
        for place in (lora, prompts):
            config = json.loads((place / "adapter_config.json").read_text())
            weights = (place / "adapter_model.safetensors").read_bytes()
            found.append(json.dumps(config).encode() + b"\n" + weights)
    return found


def names() -> list[bytes]:
    """A configuration and names with shapes: as PEFT writes them, wrapped, and of another class."""
    factors = {f"layer.{i}.query.lora_{x}.weight": [4, 4] for i in (0, 1) for x in "AB"}
    told = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "modules_to_save": ["classifier"]}
    patterns = {"rank_pattern": {r"layer\.(0|1)\..*": 4}, "alpha_pattern": {"(?:.*\\.)?query": 2}}
    frames = ("base_model.model.", "base_model.model._orig_mod.bert.", "module.base_model.")
    return [
        json.dumps(
            {
                "config": {**told, **patterns},
                "shapes": {f"{f}{n}": s for n, s in {**factors, "classifier.bias": [4]}.items()},
            }
        ).encode()
        for f in frames
    ]


def bundles() -> list[bytes]:
    """A card, a line of its own, then a representation."""
    return [json.dumps(CARD).encode() + b"\n" + json.dumps(PLACE).encode()]


def vectors() -> list[bytes]:
    """A .npy."""
    stream = io.BytesIO()
    np.save(stream, np.arange(4.0))
    return [stream.getvalue()]

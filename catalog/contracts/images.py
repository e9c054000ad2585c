"""What every image source has without declaring it: the facts of its files, as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IMAGE_FORMATS: Mapping[str, str] = {  # what is read of each, in words
    "image": (
        "PNG, JPEG, TIFF (a page is a slice) at their full depth, integers and floats, grey or RGB,"
        " turned as EXIF says; palettes become RGB, alpha is dropped"
    ),
    "npz": "array `image`, perhaps `spacing` in mm and `mask`",
    "nifti": (
        "`.nii`, `.nii.gz`, turned to the closest of the same axes whatever their orientation; a"
        " slice that is alone stays a slice"
    ),
    "dicom": (
        "a folder a series (`/data/{patient}/{series}/*.dcm`), sorted by position, by modality"
        " table or slope, MONOCHROME1 inverted, turned likewise; headers pass a gate."
        " `pip install -e .[dicom]` brings JPEG Lossless, JPEG-LS and all of JPEG 2000"
    ),
}
IMAGE_ENDINGS: Mapping[str, str] = {
    ".png": "image",
    ".tif": "image",
    ".tiff": "image",
    ".jpg": "image",
    ".jpeg": "image",
    ".npz": "npz",
    ".nii": "nifti",
    ".nii.gz": "nifti",
}
_TEXT = {"type": "string", "nullable": True}
_COUNT = {"type": "integer", "nullable": True}
_LENGTH = {"type": "number", "nullable": True}
# Facts of an image that could not be read are null; then the row has a reason of its own
FACTS: Mapping[str, Mapping[str, Any]] = {
    "image": {"type": "string"},  # names are relative to the fixed root of the template
    "image_sha256": _TEXT,
    "mask": _TEXT,
    "mask_sha256": _TEXT,
    "n_bytes": _COUNT,
    "width": _COUNT,
    "height": _COUNT,
    "n_slices": _COUNT,
    "n_channels": _COUNT,
    "spacing_slice": _LENGTH,  # in mm, null where the file does not tell
    "spacing_row": _LENGTH,
    "spacing_column": _LENGTH,
}
_OF_MASKS = ("mask", "mask_sha256")
HEADER_FACTS: Mapping[str, Mapping[str, Any]] = {
    "modality": _TEXT,
    "manufacturer": _TEXT,
    "body_part": _TEXT,
}


def facts_of(files: Mapping[str, Any], task_type: str = "") -> dict[str, dict[str, Any]]:
    """The rules of the columns that come with such files; a mask is owed where a path names it.

    Where images are classified there are no masks.
    """
    facts = {**FACTS, **(HEADER_FACTS if files.get("format") == "dicom" else {})}
    if task_type == "image-classification":
        return {name: dict(rule) for name, rule in facts.items() if name not in _OF_MASKS}
    owed = {"mask": {**_TEXT, "nullable": files.get("mask") is None}}
    return {name: dict(rule) for name, rule in {**facts, **owed}.items()}


def with_facts(data: Any) -> Any:
    """A contract's plain mapping with the facts among its columns; what it declares stands."""
    if not isinstance(data, Mapping):
        return data
    files, columns = data.get("files"), data.get("columns")
    if not isinstance(files, Mapping) or files.get("format") not in tuple(IMAGE_FORMATS):
        return data
    if not isinstance(columns, Mapping):
        return data
    task = data.get("task")
    facts = facts_of(files, str(task.get("type")) if isinstance(task, Mapping) else "")
    joined = {
        name: {**facts[name], **rule} if name in facts and isinstance(rule, Mapping) else rule
        for name, rule in columns.items()
    }
    missing = {name: rule for name, rule in facts.items() if name not in columns}
    return {**data, "columns": {**joined, **missing}}


def image_format(path: str) -> str | None:
    """The format of an image in a single file as its ending tells, or None.

    >>> image_format("/data/{case}.mask.nii.gz"), image_format("/data/{case}.dcm")
    ('nifti', None)
    """
    lower = path.lower()
    return next((kind for end, kind in IMAGE_ENDINGS.items() if lower.endswith(end)), None)

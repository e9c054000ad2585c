"""Images and masks by format: from the bytes of files to an item, or the code of what is wrong."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.readers.cells import CellRefusedError
from catalog.readers.files import FileUnreadable, file_name, file_sha256, read_bytes
from catalog.readers.grid import Array, Grid
from catalog.readers.pictures import decode_image
from catalog.readers.pixels import Inspect, Picture, decode_npz
from catalog.readers.reasons import IMAGE_REASONS
from rpe_core.fingerprint import fingerprint_stream

__all__ = ["IMAGE_REASONS", "Loaded", "class_indices", "image_sha256", "load_image", "load_mask"]

MAX_FILE_BYTES = 1 << 30


def _decode_nifti(raw: bytes) -> Picture:
    from catalog.readers.volumes import (
        decode_nifti,
    )  # nibabel takes 0.2 s: a night of text has none

    return decode_nifti(raw)


def _decode_dicom(blobs: Iterator[bytes], inspect: Inspect | None) -> Picture:
    from catalog.readers.dicom import decode_dicom  # pydicom takes 0.5 s: a night of text has none

    return decode_dicom(blobs, inspect=inspect)


DECODERS: Mapping[str, Callable[..., Picture]] = {
    "image": decode_image,
    "npz": decode_npz,
    "nifti": _decode_nifti,
}


@dataclass(frozen=True)
class Loaded:
    """What was read of an item's files: the picture, the hash of its bytes, how many there are."""

    picture: Picture
    sha256: str
    n_bytes: int


def load_image(uris: Sequence[str], file_format: str, *, inspect: Inspect | None = None) -> Loaded:
    """The image of a file, or of a series the files of its folder.

    A series' hash is over the sorted names and hashes of its files.

    Raises:
        CellRefusedError: with the reason's code; what a library said of the bytes is not kept.
    """
    hashes: list[tuple[str, str, int]] = []
    blobs = _blobs(uris, hashes)
    if file_format == "dicom":
        picture = _quietly("unreadable_image", _decode_dicom, blobs, inspect)
    else:
        picture = _quietly("unreadable_image", DECODERS[file_format], next(blobs))
    sha256 = _joined([(name, digest) for name, digest, _ in hashes], file_format)
    return Loaded(picture, sha256, sum(n for _, _, n in hashes))


def image_sha256(uris: Sequence[str], file_format: str) -> str:
    """The hash that `load_image` gives, with nothing decoded.

    Raises:
        FileUnreadable: if a file cannot be read.
    """
    return _joined([(file_name(uri), file_sha256(uri)) for uri in uris], file_format)


def _joined(hashes: Sequence[tuple[str, str]], file_format: str) -> str:
    if file_format != "dicom":
        return hashes[0][1]
    return fingerprint_stream(f"{name} {sha256}" for name, sha256 in sorted(hashes))


def load_mask(
    uri: str, file_format: str, values: Sequence[int], *, on: Grid | None = None
) -> tuple[Array, str]:
    """The mask of a file as class indices (slices, height, width), and the hash of its bytes.

    Index i + 1 stands where the pixel value is `values[i]`, 0 where it is 0. The mask has to lie on
    the grid of its image, if one is given.

    Raises:
        CellRefusedError: with the reason's code; `unknown_label` for a value of no label,
            `mask_size` and `mask_geometry` for a mask that lies elsewhere.
    """
    hashes: list[tuple[str, str, int]] = []
    raw = next(_blobs([uri], hashes))
    options: dict[str, Any] = {"image": {"as_labels": True}, "npz": {"name": "mask"}}
    picture = _quietly(
        "unreadable_mask", DECODERS[file_format], raw, **options.get(file_format, {})
    )
    indices = class_indices(picture.pixels, values)
    if on is not None and indices.shape != on.shape:
        raise CellRefusedError("mask_size")
    if on is not None and not picture.grid.lies_on(on):
        raise CellRefusedError("mask_geometry")
    return indices, hashes[0][1]


def class_indices(pixels: Array, values: Sequence[int]) -> Array:
    """Pixel values (s, h, w, c) as class indices (s, h, w), uint8.

    >>> class_indices(np.array([[[[0], [255]]]], dtype=np.uint8), [255]).tolist()
    [[[0, 1]]]
    """
    stored = pixels[..., 0]
    if not (pixels == stored[..., None]).all() or not (stored == np.round(stored)).all():
        raise CellRefusedError("mask_colours")
    indices = np.zeros(stored.shape, np.uint8)
    is_told = stored == 0
    for index, value in enumerate(values, start=1):
        of_label = stored == value
        indices[of_label] = index
        is_told |= of_label
    if not is_told.all():
        raise CellRefusedError("unknown_label")
    return indices


def _blobs(uris: Sequence[str], hashes: list[tuple[str, str, int]]) -> Iterator[bytes]:
    """The bytes of each file, one after another, with name, hash and size noted on the way."""
    for uri in uris:
        try:
            raw = read_bytes(uri, limit=MAX_FILE_BYTES)
        except FileUnreadable:
            raise CellRefusedError("unreadable_image") from None
        if raw is None:
            raise CellRefusedError("too_large")
        hashes.append((file_name(uri), hashlib.sha256(raw).hexdigest(), len(raw)))
        yield raw


def _quietly(reason: str, decode: Callable[..., Picture], *content: Any, **options: Any) -> Picture:
    """Decode; whatever a library says or raises over broken bytes may quote them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decode(*content, **options)
        except CellRefusedError as refused:
            is_damaged = refused.reason == "unreadable_image"  # which a decoder says of a mask too
            raise (CellRefusedError(reason) if is_damaged else refused) from None
        except Exception:
            # Decoders raise anything over broken bytes; none of it is ours to pass on
            raise CellRefusedError(reason) from None

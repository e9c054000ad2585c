"""The rows of an image source: one for each item, with the facts of its files as columns."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from catalog.contracts.contract import ImageClassification, Segmentation, SourceContract
from catalog.contracts.images import image_format
from catalog.deid.headers import header_findings
from catalog.deid.rule import PHI
from catalog.readers.batches import PendingRows
from catalog.readers.cells import CellRefusedError, TypedBatch, from_value
from catalog.readers.grid import Grid
from catalog.readers.images import load_image, load_mask
from catalog.readers.items import SPACING
from catalog.readers.listing import ListedCase, list_cases

Bad = list[tuple[str, str]]  # (column, reason) of what is wrong with an item


def read_images(
    contract: SourceContract, *, batch_rows: int, max_cell_chars: int
) -> Iterator[TypedBatch]:
    """Batches of an image source: each item is decoded once to know that it can be.

    A row whose image or mask is refused keeps its names and has the reason's code.

    Raises:
        InputError: if no image is there.
    """
    pending = PendingRows(contract.columns, from_value, max_cell_chars)
    for case in list_cases(contract.files):
        bad: Bad = []
        row = _row(contract, case, bad)
        pending.see(contract.columns)
        pending.add(row, bad=bad)
        if pending.is_full(batch_rows):
            yield pending.take()
    if pending.n_rows:
        yield pending.take()


def _row(contract: SourceContract, case: ListedCase, bad: Bad) -> dict[str, Any]:
    row: dict[str, Any] = {**case.values, "image": case.image}
    task = contract.task
    if isinstance(task, ImageClassification) and row.get(task.target) == task.unlabelled:
        row[task.target] = None
    if case.masks:
        row["mask"] = case.masks[0][0]
    grid = _put_image(contract, case, row, bad) if case.uris else None
    if len(case.masks) > 1:
        bad.append(("mask", "several_masks"))
    elif grid is not None:
        _put_mask(contract, case, row, bad, grid)
    return row


def _put_image(
    contract: SourceContract, case: ListedCase, row: dict[str, Any], bad: Bad
) -> Grid | None:
    """Add the facts of the image; where its pixels lie, or None if it is refused."""
    attested = contract.deidentified
    inspect = partial(
        header_findings,
        pseudonyms=tuple(case.values.values()),
        safe_private=attested.safe_private,
    )
    try:
        loaded = load_image(case.uris, contract.files.format, inspect=inspect)
    except CellRefusedError as refused:
        bad.append(("image", refused.reason))
        return None
    picture = loaded.picture
    slices, height, width, channels = picture.pixels.shape
    row |= {
        "image_sha256": loaded.sha256,
        "n_bytes": loaded.n_bytes,
        "width": width,
        "height": height,
        "n_slices": slices,
        "n_channels": channels,
        **dict(zip(SPACING, picture.spacing, strict=True)),
        **{name: said or None for name, said in picture.header.items()},
    }
    findings = picture.findings - ({"dicom_face"} if attested.defaced else set())
    bad.extend(("image", f"{PHI}{rule}") for rule in sorted(findings))
    return picture.grid


def _put_mask(
    contract: SourceContract, case: ListedCase, row: dict[str, Any], bad: Bad, grid: Grid
) -> None:
    """Add the mask that lies beside an image, or in the same NPZ, and what it breaks."""
    task, files = contract.task, contract.files
    if not isinstance(task, Segmentation):
        return
    is_inside = files.mask is None and files.format == "npz"
    if not case.masks and not is_inside:
        return
    name, uri = (case.image, case.uris[0]) if is_inside else case.masks[0]
    kind = "npz" if is_inside else image_format(str(files.mask)) or ""
    try:
        indices, sha256 = load_mask(uri, kind, tuple(task.classes.values()), on=grid)
    except CellRefusedError as refused:
        if not (is_inside and refused.reason == "no_array"):
            bad.append(("mask", refused.reason))
        return
    row |= {"mask": name, "mask_sha256": sha256}
    if task.empty_mask == "quarantine" and not indices.any():
        bad.append(("mask", "empty_mask"))

"""Why a cell, an image or a file is not taken: each reason with the sentence that it stands for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from catalog.errors import Fault
from catalog.readers.cells import REASONS
from catalog.readers.headers import may_be_shown
from rpe_core.errors import shown_name

# What DICOM pixels may be compressed as that the extra decodes: reason -> transfer syntax
COMPRESSED: Mapping[str, str] = {
    "jpeg_lossless": "JPEG Lossless (1.2.840.10008.1.2.4.57 or .70)",
    "jpeg_ls": "JPEG-LS (1.2.840.10008.1.2.4.80 or .81)",
    "jpeg_2000": "JPEG 2000 (1.2.840.10008.1.2.4.90 or .91)",
}
REMEDY = "which the extra `dicom` decodes: `pip install -e .[dicom]`"
# Why an item is set aside, beside what keeps any cell out
IMAGE_REASONS: Mapping[str, str] = {
    "unreadable_image": "the file is damaged, cut off or no image of the format",
    "unreadable_mask": "the mask's file is damaged, cut off or no image of its format",
    "unsupported_image": "the file is of a kind of its format that nothing here decodes: its sample"
    " type, its colours or their compression",
    "no_array": "the NPZ has no array of this name",
    "no_pixels": "the DICOM file has no pixels",
    "too_large": "it has more bytes, pixels or letters than any may have",
    "empty_image": "the image has no pixel",
    "odd_axes": "the image has more axes or channels than slices, rows, columns and 1 or 3 colours",
    "odd_geometry": "the file does not tell where its axes point or how far apart pixels are, or"
    " its axes are not at right angles",
    "odd_values": "the header does not tell which values the stored numbers stand for",
    "mixed_slices": "slices or pages differ in size, spacing or type",
    "uneven_slices": "slices of the series are missing, doubled or at uneven distances",
    "shifted_slices": "slices of the series do not lie straight above each other: they are shifted,"
    " or the gantry was tilted",
    "foreign_file": "a file of the folder is of another series, or its axes are others",
    "several_frames": "a DICOM file holds several frames, or a PNG is a moving picture",
    "compressed_pixels": "the pixels are compressed in a way that nothing here decodes, or damaged",
    **{code: f"the pixels are {name}, {REMEDY}" for code, name in COMPRESSED.items()},
    "several_masks": "several files are the mask of one image",
    "mask_size": "the mask has another size than its image",
    "mask_geometry": "the mask lies elsewhere than its image, or one of them tells no axes:"
    " spacing or axes differ by more than a hundredth, or pixels lie more than a tenth apart",
    "mask_colours": "the mask is no map of whole numbers",
    "unknown_label": "a pixel of the mask has a value that no label has",
    "empty_mask": "the mask has background only",
}
# Of cells of tables those whose code alone does not say what to do
_OF_TABLES = frozenset(REASONS) - {"wrong_type", "not_finite", "too_long", "outside_calendar"}


def reason_text(code: str) -> str:
    """The sentence of why a row is set aside; '' where its code is plain, or of no reader.

    >>> reason_text("no_pixels(image)"), reason_text("unknown_label(section)")
    ('the DICOM file has no pixels', '')
    """
    reason, _, column = code.rstrip(")").partition("(")
    if column in ("", "image", "mask"):
        return {**REASONS, **IMAGE_REASONS}.get(reason, "")
    return REASONS[reason] if reason in _OF_TABLES else ""


def unknown_column_faults(name: str, columns: Collection[str]) -> Iterator[Fault]:
    """Columns of a file, by its name, that no contract declares; none that looks like a value."""
    expected = "declare it, or on_violation.unknown_column: ignore"
    shown = [*filter(may_be_shown, columns)]
    for column in shown:
        what = f"{name} has a column {shown_name(column)} that is not declared"
        yield Fault("columns", what, expected)
    if n_hidden := len(columns) - len(shown):
        what = f"{name} has {n_hidden} columns that are not declared, whose names are not shown"
        yield Fault("columns", what, expected)

"""Which files make an item: an image source's templates held against what lies there."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from catalog.contracts.files import Files
from catalog.contracts.template import Template
from catalog.readers.files import (
    FileUnreadable,
    absolute_pattern,
    file_name,
    file_sha256,
    list_files,
)
from rpe_core.errors import InputError
from rpe_core.fingerprint import fingerprint_stream

# Endings that say the same of a file; each of them in capitals or small letters
TWINS = ((".jpg", ".jpeg"), (".tif", ".tiff"), (".nii.gz", ".nii"))
# What systems leave in folders: no file of a delivery, whatever its ending
LEFT_BEHIND = frozenset(
    (
        ".apdisk", ".directory", ".ds_store", ".localized", "desktop.ini", "dicomdir",
        "ehthumbs.db", "ehthumbs_vista.db", "thumbs.db",
    )
)  # fmt: skip
FOLDERS_LEFT_BEHIND = frozenset(("__macosx", "@eadir", ".thumbnails"))
_APPLE_DOUBLE = "._"
_ENDING = re.compile(r"\.[A-Za-z]+")

Values = Mapping[str, str]  # placeholder -> what it stands for


@dataclass(frozen=True)
class ListedCase:
    """The files of one item; a name is relative to the root of its template.

    A mask that has no image is a case without `uris`.
    """

    values: Values = field(repr=False)
    image: str | None = field(repr=False)
    uris: tuple[str, ...] = field(repr=False)  # several of a series
    masks: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # (name, uri); one is right


def list_cases(files: Files) -> list[ListedCase]:
    """Every item that the templates find, by name, and then the masks that have no image.

    A file that the mask's template matches is a mask, whatever the image's template says.

    Raises:
        InputError: if no image is there.
    """
    template = Template(absolute_pattern(files.path))
    masks = Template(absolute_pattern(files.mask)) if files.mask else None
    by_mask = _matched(masks) if masks else {}
    by_values: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for uri, values in by_mask.items():
        by_values[tuple(values.values())].append(uri)
    cases = []
    for (image, uris), values in _images(template, files, by_mask):
        own = by_values.get(tuple(values[name] for name in masks.names), []) if masks else []
        named = tuple((masks.name_of(uri), uri) for uri in own) if masks else ()
        cases.append(ListedCase(values, image, uris, named))
    if not cases:
        raise InputError(
            "files.path matches no image.",
            where=file_name(files.path),
            expected="at least one file",
            remedy="check the template, and whether the delivery has come",
        )
    used = {uri for case in cases for _, uri in case.masks}
    return cases + [
        ListedCase(values, None, (), ((masks.name_of(uri), uri),))
        for uri, values in by_mask.items()
        if masks and uri not in used
    ]


def listing_sha256(files: Files) -> str:
    """One hash over names and contents of all images and masks; roots do not count.

    A file that cannot be read counts by its name: its case is set aside when it is looked at.
    """
    lines = []
    for case in list_cases(files):
        inner = [f"image {case.image} {file_name(uri)} {_sha256(uri)}" for uri in case.uris]
        lines += inner + [f"mask {name} {_sha256(uri)}" for name, uri in case.masks]
    return fingerprint_stream(sorted(set(lines)))


def _sha256(uri: str) -> str:
    try:
        return file_sha256(uri)
    except FileUnreadable:
        return "unreadable"


def matching_files(pattern: str) -> list[str]:
    """Files that a glob names, sorted, or that it would name if their ending were its own.

    `a.PNG` and `a.png` are alike, and so are `a.jpeg` and `a.jpg`. Where the folder has a file of
    the very name that the pattern asks for, its twin is left alone. What systems leave in folders
    is no file of a delivery.
    """
    twins = _twins(pattern)
    root = pattern.removesuffix(twins[0])
    by_stem: dict[str, list[str]] = defaultdict(list)
    for ending in twins:
        for uri in _listed(root + _in_any_case(ending)):
            if not is_left_behind(uri):
                by_stem[_as_asked(uri, twins)].append(uri)
    return sorted(
        uri for asked, uris in by_stem.items() for uri in ([asked] if asked in uris else uris)
    )


def is_left_behind(uri: str) -> bool:
    """Whether a file is one that a system leaves in folders, such as `.DS_Store` or `._a.png`.

    >>> is_left_behind("/data/._a.png"), is_left_behind("/data/a.png")
    (True, False)
    """
    *folders, name = uri.lower().split("/")
    is_left = name in LEFT_BEHIND or name.startswith(_APPLE_DOUBLE)
    return is_left or not FOLDERS_LEFT_BEHIND.isdisjoint(folders)


def _twins(pattern: str) -> tuple[str, ...]:
    """The ending of a pattern, '' where it has none, and what is the same as it."""
    lower = pattern.lower()
    for endings in TWINS:
        for ending in endings:  # the longer one of .nii.gz and .nii first
            if lower.endswith(ending):
                own = pattern[-len(ending) :]
                return (own, *(other for other in endings if other != ending))
    stem, dot, ending = posixpath.basename(pattern).rpartition(".")
    return (dot + ending,) if stem and _ENDING.fullmatch(dot + ending) else ("",)


def _in_any_case(ending: str) -> str:
    """A glob of an ending in capitals, small letters or both."""
    return "".join(f"[{m.lower()}{m.upper()}]" if m.isalpha() else m for m in ending)


def _as_asked(uri: str, twins: tuple[str, ...]) -> str:
    """The name that the file would have if its ending were the pattern's own."""
    lower = uri.lower()
    for ending in sorted(twins, key=len, reverse=True):
        if ending and lower.endswith(ending.lower()):
            return uri[: -len(ending)] + twins[0]
    return uri


def _listed(pattern: str) -> list[str]:
    try:
        return list_files(pattern)
    except InputError:
        return []


def _matched(template: Template) -> dict[str, Values]:
    """Uri -> values of every file that a template matches, sorted."""
    twins = _twins(template.text)
    by_uri = {uri: template.match(_as_asked(uri, twins)) for uri in matching_files(template.glob)}
    return {uri: values for uri, values in by_uri.items() if values is not None}


def _images(
    template: Template, files: Files, masks: Mapping[str, Values]
) -> list[tuple[tuple[str, tuple[str, ...]], Values]]:
    """((name, uris), values) of each image: a file, or of DICOM a folder with its files."""
    by_name: dict[str, list[str]] = defaultdict(list)
    values: dict[str, Values] = {}
    for uri, fields in _matched(template).items():
        if uri not in masks:
            path = posixpath.dirname(uri) if files.format == "dicom" else uri
            by_name[template.name_of(path)].append(uri)
            values[template.name_of(path)] = fields
    return [((name, tuple(uris)), values[name]) for name, uris in sorted(by_name.items())]

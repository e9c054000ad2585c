"""Which files make an item: an image source's templates held against what lies there."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from catalog.contracts.contract import Files
from catalog.contracts.template import Template
from catalog.readers.files import FileUnreadable, anchored, file_name, file_sha256, list_files
from rpe_core.errors import InputError
from rpe_core.fingerprint import fingerprint_stream

Values = Mapping[str, str]  # placeholder -> what it stands for


@dataclass(frozen=True)
class Case:
    """The files of one item; a name is relative to the root of its template.

    A mask that has no image is a case without `uris`.
    """

    values: Values = field(repr=False)
    image: str | None = field(repr=False)
    uris: tuple[str, ...] = field(repr=False)  # several of a series
    masks: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # (name, uri); one is right


def list_cases(files: Files) -> list[Case]:
    """Every item that the templates find, by name, and then the masks that have no image.

    A file that the mask's template matches is a mask, whatever the image's template says.

    Raises:
        InputError: if no image is there.
    """
    template = Template(anchored(files.path))
    masks = Template(anchored(files.mask)) if files.mask else None
    found = _matched(masks) if masks else {}
    by_values: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for uri, values in found.items():
        by_values[tuple(values.values())].append(uri)
    cases = []
    for (image, uris), values in _images(template, files, found):
        own = by_values.get(tuple(values[name] for name in masks.names), []) if masks else []
        named = tuple((masks.name_of(uri), uri) for uri in own) if masks else ()
        cases.append(Case(values, image, uris, named))
    if not cases:
        raise InputError(
            "files.path matches no image.",
            where=file_name(files.path),
            expected="at least one file",
            remedy="check the template, and whether the delivery has come",
        )
    used = {uri for case in cases for _, uri in case.masks}
    return cases + [
        Case(values, None, (), ((masks.name_of(uri), uri),))
        for uri, values in found.items()
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


def _matched(template: Template) -> dict[str, Values]:
    """Uri -> values of every file that a template matches, sorted."""
    try:
        uris = list_files(template.glob)
    except InputError:
        return {}
    told = {uri: template.match(uri) for uri in uris}
    return {uri: values for uri, values in told.items() if values is not None}


def _images(
    template: Template, files: Files, masks: Mapping[str, Values]
) -> list[tuple[tuple[str, tuple[str, ...]], Values]]:
    """((name, uris), values) of each image: a file, or of DICOM a folder with its files."""
    by_name: dict[str, list[str]] = defaultdict(list)
    values: dict[str, Values] = {}
    for uri, told in _matched(template).items():
        if uri not in masks:
            one = posixpath.dirname(uri) if files.format == "dicom" else uri
            by_name[template.name_of(one)].append(uri)
            values[template.name_of(one)] = told
    return [((name, tuple(uris)), values[name]) for name, uris in sorted(by_name.items())]

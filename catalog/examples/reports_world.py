"""The reports demo's invented radiology: findings, and the impression that follows from them.

Four modalities each name, order and phrase in their own way what they share in part; the archive of
another hospital is what the demo's base learns from. All words stand in `reports/vocabulary.yaml`;
no row describes a person.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from catalog.examples.files import Row, encode_file
from catalog.examples.phrases import cases, expand, pick

N_ROWS = 400
SIDES = ("left", "right")
SIZES = ("5", "6", "8", "9", "12", "14", "15", "18", "20", "25", "30", "35")  # mm
SEEN_SHARES = (0.1, 0.45, 0.3, 0.15)  # reports where so many places show something
MOST = len(SEEN_SHARES) - 1


class InventedFinding(NamedTuple):
    """Something that was seen: what it means, where and how large (mm)."""

    said: str
    place: str
    size: str


@dataclass(frozen=True)
class Style:
    """How a site writes impressions; `normal` names clear places too, where a site does that."""

    item: str = ""
    is_numbered: bool = False
    alarm: str = ""
    none: str = ""
    normal: str = ""
    urgent_first: bool = False
    is_verbatim: bool = False


@dataclass(frozen=True)
class ReportSite:
    """One modality: its file, what it looks at, what it sees, and how it writes."""

    name: str
    file: str
    columns: tuple[str, ...]
    slices: tuple[str, ...]
    openings: Sequence[str]
    places: Sequence[str]
    signs: Mapping[str, str]
    style: Style


@functools.cache
def vocabulary() -> dict[str, Any]:
    """The words of the demo."""
    text = resources.files("catalog.examples").joinpath("reports/vocabulary.yaml")
    words: dict[str, Any] = yaml.safe_load(text.read_text("utf-8"))
    return words


def sites() -> tuple[ReportSite, ...]:
    """The four sources, in the order of the vocabulary file."""
    words = vocabulary()
    return tuple(
        ReportSite(
            name=name,
            file=site["file"],
            columns=tuple(site["columns"]),
            slices=tuple(site["slices"]),
            openings=site["openings"],
            places=[organ for group in site["places"] for organ in words["places"][group]],
            signs=site["signs"],
            style=Style(**site["style"], urgent_first=True),
        )
        for name, site in words["sites"].items()
    )


def archive() -> tuple[ReportSite, ...]:
    """The modalities of the other hospital: all places, all signs, no file."""
    words = vocabulary()
    places = [organ for group in words["places"].values() for organ in group]
    known = [opening for site in words["sites"].values() for opening in site["openings"]]
    compared = ["", *(f", compared with {opening}" for opening in known)]
    return tuple(
        ReportSite(
            name=name,
            file="",
            columns=(),
            slices=(),
            openings=[f"{own}{other}" for own in site["openings"] for other in compared],
            places=places,
            signs={**words["signs"], **site.get("signs", {})},
            style=Style(**site["style"]),
        )
        for name, site in words["archive"].items()
    )


def make_rows(source: str, *, seed: int = 0, n_rows: int = N_ROWS) -> list[Row]:
    """The rows of a source, a function of its name and the seed.

    Raises:
        KeyError: the demo has no such source.
    """
    site = {site.name: site for site in sites()}[source]
    rng = np.random.default_rng([seed, *source.encode()])
    rows: list[Row] = []
    for number, case in enumerate(cases(n_rows, rng)):
        findings, impression = make_report(site, rng)
        values = (
            f"{source}-{number:04d}",
            f"{source}-patient-{case:04d}",
            pick(site.slices, rng),
            findings,
            impression,
        )
        rows.append(dict(zip(site.columns, values, strict=True)))
    return rows


def make_archive(n_reports: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Findings and impressions to pretrain on, none in the style of a source, simple ones first."""
    rng = np.random.default_rng([seed, *b"archive"])
    modalities = archive()
    most = [1 + (MOST + 1) * i // n_reports for i in range(n_reports)]
    return [
        make_report(modalities[i % len(modalities)], rng, most=most[i]) for i in range(n_reports)
    ]


def make_report(site: ReportSite, rng: np.random.Generator, *, most: int = MOST) -> tuple[str, str]:
    """A report's findings, at most so many, and the impression that follows from them."""
    n_seen = min(most, int(rng.choice(len(SEEN_SHARES), p=SEEN_SHARES)))
    n_clear = min(most - 1, int(rng.integers(1, 3))) if n_seen else 1
    frames = [*["seen"] * n_seen, *["clear"] * n_clear]
    rng.shuffle(frames)
    chosen = rng.choice(len(site.places), size=len(frames), replace=False)
    sentences, seen, clear = [expand(pick(site.openings, rng), {}, rng)], [], []
    for frame, index in zip(frames, chosen, strict=True):
        organ = site.places[int(index)].replace("{side}", pick(SIDES, rng))
        sign, size = pick(list(site.signs), rng), pick(SIZES, rng)
        words = {"place": [organ], "sign": [sign], "size": [size]}
        sentences.append(expand(pick(vocabulary()[frame], rng), words, rng))
        if frame == "seen":
            seen.append(InventedFinding(site.signs[sign], organ, size))
        else:
            clear.append(organ)
    findings = " ".join(f"{sentence}." for sentence in sentences)
    if site.style.is_verbatim:
        return findings, findings
    return findings, write_impression(site.style, seen, clear)


def write_impression(
    style: Style, seen: Sequence[InventedFinding], clear: Sequence[str] = ()
) -> str:
    """What a site concludes: one item for each thing seen, in order, or that there is nothing.

    >>> style = Style("{said}, {place}", is_numbered=True, alarm="call.", none="normal.",
    ...               urgent_first=True)
    >>> cyst, fracture = ("cyst", "liver", "9"), ("fracture", "left hip", "4")
    >>> write_impression(style, [InventedFinding(*cyst), InventedFinding(*fracture)])
    '1. fracture, left hip. 2. cyst, liver. call.'
    >>> write_impression(style, [])
    'normal.'
    """
    if not seen:
        return style.none
    urgent = set(vocabulary()["urgent"])
    if style.urgent_first:
        seen = sorted(seen, key=lambda finding: finding.said not in urgent)
    items = [style.item.format(**finding._asdict()) for finding in seen]
    items += [style.normal.format(place=body_part) for body_part in clear if style.normal]
    numbers = [f"{i}. " if style.is_numbered else "" for i in range(1, len(items) + 1)]
    parts = [f"{number}{item}." for number, item in zip(numbers, items, strict=True)]
    if style.alarm and any(finding.said in urgent for finding in seen):
        parts.append(style.alarm)
    return " ".join(parts)


def write_world(folder: Path, *, seed: int = 0, n_rows: int = N_ROWS) -> dict[str, Path]:
    """Write the file of every source into the folder, replacing what is there; its path by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for site in sites():
        paths[site.name] = folder / site.file
        rows = make_rows(site.name, seed=seed, n_rows=n_rows)
        paths[site.name].write_bytes(encode_file(site.file, site.columns, rows))
    return paths

"""The text demo's invented hospital: a pure generator of rows, and the files that it writes.

Sentences of clinical documents are to be filed under their section. Every word is made up from
`text/vocabulary.yaml`; no row describes a person, and identifiers occur in the planted rows only.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import yaml

from catalog.examples.files import Row, encode_file
from catalog.examples.phrases import capital, cases, expand, pick

OWN_SHARE = 0.3  # sentences in a habit of the site
ASIDE_SHARE = 0.6  # sentences with an aside that tells nothing of the section
SLIP_SHARE = 0.03  # rows that the writer filed under another section
UNLABELLED = ("endoscopy_letters",)
SPLIT_SHARES = {"train": 0.25, "validation": 0.25, "test": 0.5}

# Rows that the gate must catch: an invented identifier each, then a cell that is empty and one
# that is too long. Numbers with 555-01 are reserved for fiction.
PLANTED_SOURCE = "nursing_notes"
PLANTED_PHI = {
    17: "Daughter asks to be called back at (312) 555-0147 about the dressing.",
    101: "Fluid chart was filed under MRN 00482913 by mistake, moved today.",
    203: "Dressing last changed on 03/14/2021, clean and dry since then.",
}
PLANTED_BAD = {57: "", 149: "Walked to the bathroom with help and slept in short spells. " * 14}


@dataclass(frozen=True)
class TextSite:
    """One source of the demo: its file, its columns and the way its people write."""

    name: str
    file: str
    n_rows: int
    columns: tuple[str, ...]
    slices: tuple[str, ...]
    labels: Mapping[str, str]
    words: Mapping[str, Sequence[str]]
    asides: Sequence[str]
    frames: Mapping[str, Sequence[str]]
    own: Mapping[str, Sequence[str]]


@functools.cache
def sites() -> tuple[TextSite, ...]:
    """The sources of the demo in the order of the vocabulary file."""
    text = resources.files("catalog.examples").joinpath("text/vocabulary.yaml").read_text("utf-8")
    vocabulary = yaml.safe_load(text)
    return tuple(
        TextSite(
            name=name,
            file=site["file"],
            n_rows=site["n_rows"],
            columns=tuple(site["columns"]),
            slices=tuple(site["slices"]),
            labels=site["labels"],
            words={**vocabulary["common"], **site["words"]},
            asides=[
                *site["asides"],
                *(vocabulary["asides"] if site.get("is_clinical", True) else []),
            ],
            frames=vocabulary["roles"],
            own=site["own"],
        )
        for name, site in vocabulary["sites"].items()
    )


def make_rows(source: str, *, seed: int = 0) -> list[Row]:
    """The rows of a source, a function of its name and the seed.

    Raises:
        KeyError: the demo has no such source.
    """
    site = {site.name: site for site in sites()}[source]
    rng = np.random.default_rng([seed, *source.encode()])
    key, group, slice_, *split, text, label = site.columns
    rows: list[Row] = []
    for number, case in enumerate(cases(site.n_rows, rng)):
        chosen = pick(list(site.labels), rng)
        row: Row = {key: f"{source}-{number:04d}", group: f"{source}-case-{case:04d}"}
        row[slice_] = pick(site.slices, rng)
        row[text] = _sentence(site, site.labels[chosen], rng)
        slipped = rng.random() < SLIP_SHARE
        row[label] = pick(list(site.labels), rng) if slipped else chosen
        if split:
            # A case stands in one split; its label is known only where it is scored.
            row[split[0]] = _split(seed, source, case)
            row[label] = row[label] if row[split[0]] != "train" else None
        if source in UNLABELLED:
            row[label] = None
        rows.append({name: row[name] for name in site.columns})
    if source == PLANTED_SOURCE:
        for number, planted in {**PLANTED_PHI, **PLANTED_BAD}.items():
            rows[number][text] = planted
    return rows


def write_world(folder: Path, *, seed: int = 0) -> dict[str, Path]:
    """Write the file of every source into the folder, replacing what is there; its path by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for site in sites():
        paths[site.name] = folder / site.file
        paths[site.name].write_bytes(
            encode_file(site.file, site.columns, make_rows(site.name, seed=seed))
        )
    return paths


def _split(seed: int, source: str, case: int) -> str:
    draw = np.random.default_rng([seed, case, *source.encode()]).random()
    ends = np.cumsum(list(SPLIT_SHARES.values()))
    return list(SPLIT_SHARES)[int(np.searchsorted(ends[:-1], draw, side="right"))]


def _sentence(site: TextSite, role: str, rng: np.random.Generator) -> str:
    own, shared = site.own.get(role, ()), site.frames.get(role, ())
    is_own = bool(own) and (not shared or rng.random() < OWN_SHARE)
    sentence = expand(pick(own if is_own else shared, rng), site.words, rng) + "."
    if rng.random() >= ASIDE_SHARE:
        return capital(sentence)
    aside = expand(pick(site.asides, rng), site.words, rng)
    parts = (sentence, aside) if rng.random() < 0.7 else (aside, sentence)
    return " ".join(capital(part) for part in parts)

"""Images on a real lake: what becomes an item, what is set aside and why, and what is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.contracts.contract import SourceContract
from catalog.contracts.load import parse_contract
from catalog.deliveries import pending_files
from catalog.errors import ContractInvalid, ContractViolated, PhiFound, RecordConflict
from catalog.landing import IngestReport, ingest, read_rows
from catalog.readers.items import LazyItems, item_source
from catalog.stores.lake import Lake
from tests.catalog.lakes import RUN, fresh_lake
from tests.image_files import NAME, blob, picture, write_dicom, write_nifti, write_png

CONTRACT = """\
source: cells
title: Cells
owner: cells@example.org
license: CC0-1.0
files: {{path: "{root}/{path}", format: {format}{mask}}}
task: {{type: image-segmentation, labels: {{nucleus: 255}}{task}}}
deidentified: {{method: synthetic, attested_by: tests, attested_on: 2026-01-15{attested}}}
columns:
  {key}: {{type: string, key: true}}
{columns}
splits: {{train: 0.5, validation: 0.2, test: 0.3}}
on_violation: {{max_quarantined_ratio: 0.95, max_phi_ratio: 0.95}}
"""


class World:
    """A lake, a folder of images and the contract that reads it."""

    def __init__(self, lake: Lake, home: Path) -> None:
        self.lake, self.root = lake, home / "images"
        self.root.mkdir()

    def contract(self, **parts: str) -> SourceContract:
        told = {"path": "{case}.png", "format": "image", "key": "case", "root": str(self.root)}
        empty = dict.fromkeys(("mask", "task", "attested", "columns"), "")
        mask = parts.pop("mask", "{case}.mask.png")
        parts["mask"] = f', mask: "{parts.get("root", self.root)}/{mask}"' if mask else ""
        return parse_contract(CONTRACT.format(**{**empty, **told, **parts}), file="cells.yaml")

    def ingest(self, **parts: str) -> IngestReport:
        return ingest(self.lake, self.contract(**parts), run=RUN)

    def reasons(self) -> dict[str, str]:
        """Name of the image, or of a mask without one -> why its row was set aside."""
        rows = self.lake.rows("SELECT _reasons, _row_json FROM quarantine.cells")
        told = {r["_reasons"]: json.loads(r["_row_json"]) for r in rows}
        return {row["image"] or row["mask"]: why for why, row in told.items()}

    def items(self, version: str | None, **parts: str) -> tuple[Any, Any]:
        source = item_source(self.contract(**parts))
        rows = read_rows(self.lake, version or "", columns=[*source.columns])
        return source.inputs(rows), source.targets(rows)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with fresh_lake(tmp_path) as lake:
        yield World(lake, tmp_path)


def write_cells(root: Path, n: int, *, size: tuple[int, int] = (6, 8)) -> None:
    """n pictures with their masks."""
    for i in range(n):
        mask = blob(size, seed=i)
        write_png(root / f"c{i}.png", picture(mask, seed=i))
        write_png(root / f"c{i}.mask.png", mask)


def spoil_cells(root: Path) -> dict[str, str]:
    """One case of each kind of bad input, and what its row is set aside for."""
    mask = blob((6, 8))
    grey = picture(mask)

    def case(name: str, pixels: np.ndarray | None, of_mask: np.ndarray | None) -> None:
        for ending, array in ((".png", pixels), (".mask.png", of_mask)):
            if array is not None:
                write_png(root / f"{name}{ending}", array)

    case("alone", grey + 1, None)
    case("orphan", None, mask)
    case("size", grey + 2, mask[:5])
    case("label", grey + 3, np.where(mask > 0, 7, 0).astype(np.uint8))
    case("empty", grey + 4, np.zeros_like(mask))
    case("colours", grey + 5, np.stack([mask, mask, mask // 2], axis=-1))
    case("cut", grey + 6, mask)
    (root / "cut.png").write_bytes((root / "cut.png").read_bytes()[:40])
    case("words", None, mask)
    (root / "words.png").write_text(f"{NAME} is no picture")
    return {
        "alone.png": "null_not_allowed(mask)",
        "orphan.mask.png": "null_not_allowed(image)",
        "size.png": "mask_size(mask)",
        "label.png": "unknown_label(mask)",
        "empty.png": "empty_mask(mask)",
        "colours.png": "mask_colours(mask)",
        "cut.png": "unreadable_image(image)",
        "words.png": "unreadable_image(image)",
    }


def test_every_bad_image_costs_its_own_row_only(world):
    write_cells(world.root, 3)
    expected = spoil_cells(world.root)
    report = world.ingest()
    (batch,) = report.batches
    assert (batch.n_accepted, batch.n_quarantined) == (3, len(expected))
    rows = world.lake.rows("SELECT _reasons AS why, _row_json AS told FROM quarantine.cells")
    found = {}
    for row in rows:
        told = json.loads(row["told"])
        found[told["image"] or told["mask"]] = row["why"]
    assert found == expected
    assert NAME not in repr(report)

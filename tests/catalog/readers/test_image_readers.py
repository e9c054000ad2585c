"""Images on a real lake: what becomes an item, what is set aside and why, and what is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from catalog.contracts.contract import SourceContract
from catalog.contracts.load import parse_contract
from catalog.errors import ContractInvalid, ContractViolated, PhiFound, RecordConflict
from catalog.intake.deliveries import pending_files
from catalog.intake.landing import IngestReport, ingest, read_rows
from catalog.readers.items import LazyItems, item_source
from catalog.stores.lake.lake import Lake
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
        rows = self.lake.rows("SELECT _reasons AS why, _row_json AS told FROM quarantine.cells")
        told = [(json.loads(row["told"]), row["why"]) for row in rows]
        return {row["image"] or row["mask"]: why for row, why in told}

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
    assert world.reasons() == expected
    assert NAME not in repr(report)


def test_facts_land_once_and_a_moved_folder_is_the_same_version(world):
    parts = {"columns": "  mask: {nullable: true}", "task": ", empty_mask: accept"}
    write_cells(world.root, 4)
    (world.root / "c1.mask.png").unlink()
    write_png(world.root / "c2.mask.png", np.zeros((6, 8), np.uint8))
    first = world.ingest(**parts)
    snapshot = world.lake.snapshot_id
    (version,) = world.lake.rows("SELECT n_rows, n_labelled FROM core.dataset_versions")
    assert version == {"n_rows": 4, "n_labelled": 3}
    (row,) = world.lake.rows("SELECT * FROM raw.cells WHERE \"case\" = 'c0'")
    assert (row["image"], row["mask"]) == ("c0.png", "c0.mask.png")
    assert (row["width"], row["height"], row["n_slices"], row["n_channels"]) == (8, 6, 1, 1)
    assert row["n_bytes"] == (world.root / "c0.png").stat().st_size
    assert row["spacing_row"] is None
    assert str(world.root) not in repr(row)
    (batch,) = world.lake.rows("SELECT file_uri FROM core.batches")
    assert batch["file_uri"] == f"{world.root}/{{case}}.png"
    assert pending_files(world.lake, [world.contract(**parts)]) == {"cells": []}
    assert world.ingest(**parts).batches == ()
    assert world.lake.snapshot_id == snapshot
    moved = world.root.with_name("elsewhere")
    shutil.move(world.root, moved)
    parts["root"] = str(moved)
    report = world.ingest(**parts)
    assert [b.n_unchanged for b in report.batches] == [4]
    assert report.dataset_version_id == first.dataset_version_id
    images, targets = world.items(report.dataset_version_id, **parts)
    assert {image.shape for image in images} == {(1, 6, 8, 1)}
    assert sorted(target is None for target in targets) == [False, False, False, True]


def test_a_changed_image_is_noticed_and_refused_or_taken_in(world):
    write_cells(world.root, 4)
    first = world.ingest().dataset_version_id
    write_png(world.root / "c1.png", picture(blob((6, 8), seed=1), seed=99))
    images, targets = world.items(first)
    with pytest.raises(RecordConflict, match="1 of 4 image files were changed") as caught:
        list(images)
    assert "rpe ingest" in str(caught.value)
    assert "c1" not in str(caught.value)
    (world.root / "c3.mask.png").rename(world.root / "c3.gone")
    with pytest.raises(RecordConflict, match="1 of 4 image files were changed or removed"):
        list(targets)
    (world.root / "c3.gone").rename(world.root / "c3.mask.png")
    assert len(list(targets)) == 4
    with pytest.raises(ContractViolated, match="changed_row: 1 row"):
        world.ingest()
    text = CONTRACT.replace("max_phi_ratio: 0.95", "max_phi_ratio: 0.95, changed_row: supersede")
    changed = parse_contract(
        text.format(
            root=world.root, path="{case}.png", format="image", key="case", task="", attested="",
            columns="", mask=f', mask: "{world.root}/{{case}}.mask.png"',
        ),
        file="cells.yaml",
    )  # fmt: skip
    report = ingest(world.lake, changed, run=RUN)
    assert [(b.n_superseding, b.n_unchanged) for b in report.batches] == [(1, 3)]
    assert report.dataset_version_id != first
    assert len(list(world.items(report.dataset_version_id)[0])) == 4


def test_items_are_loaded_when_asked_and_kept_within_bytes():
    loaded: list[int] = []

    def load(entry: tuple[int, ...]) -> np.ndarray:
        loaded.append(entry[0])
        return np.full(10, entry[0], np.uint8)

    items = LazyItems([(i, str(i)) for i in range(1, 6)], load, lambda e: e[1], cache_bytes=20)
    chosen = items[1:4].take([2, 0])
    assert (len(chosen), loaded) == (2, [])
    assert [int(item[0]) for item in chosen] == [4, 2]
    assert [int(item[0]) for item in chosen] == [4, 2]
    assert loaded == [4, 2], "the second time from memory"
    assert [int(items[i][0]) for i in (0, 3)] == [1, 4]
    assert loaded == [4, 2, 1, 4], "4 was used longest ago"
    with pytest.raises(ValueError, match="read-only"):
        items[0][0] = 9


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{case}.png", "*.png", "files.path: names no placeholder"),
        ("{case}.png", "{site}/{case}.png", "columns.site: is missing"),
        ("{case}.png", "{case.png", "files.path: has a brace without its other half"),
        ("{case}.png", "**/{case}.png", "files.path: has ** or a bracket"),
        ("{case}.png", "{image}/{case}.png", "which is a fact of every image"),
        ("{case}.mask.png", "{where}.mask.png", "files.mask: has a placeholder where"),
        ("{case}.mask.png", "{case}.mask.dcm", "files.mask: has an ending of no known format"),
        ("format: image", "format: dicom", "files.path: has a placeholder after the last slash"),
        ("format: image", "format: csv", "files.mask: is for images only"),
        ("format: image", "format: csv", "files.format: holds no images"),
        ("key: true", "slice: true", "columns: 0 columns have `key: true`"),
        ("  case: {type: string", "  case: {type: integer", "columns.case.type: is a part of"),
        ("columns:", "columns:\n  note: {type: string}", "columns.note: has no value in any file"),
        ("columns:", "columns:\n  width: {type: string}", "columns.width.type: is a fact of"),
        ("nucleus: 255", "nucleus: 0", "task.labels.nucleus: must be at least 1"),
        ("nucleus: 255", "nucleus: 255, cell: 255", "task.labels: two labels have the same pixel"),
        ("{nucleus: 255}", "{nucleus: 255}, window: [9, 1]", "task.window: is empty"),
        ("{nucleus: 255}", "{nucleus: 255}, image: scan", "task.image: is no valid choice (image)"),
        ("{train: 0.5, validation: 0.2, test: 0.3}", "{train: a*}", "splits: names files"),
        ("image-segmentation, labels: {nucleus: 255}", "text-generation, input: image, target: m",
         "task.type: is no task for images"),
    ],
)  # fmt: skip
def test_every_fault_of_a_template_is_told(old, new, told):
    text = CONTRACT.format(
        root="/d", path="{case}.png", format="image", mask=', mask: "/d/{case}.mask.png"',
        task="", attested="", key="case", columns="",
    )  # fmt: skip
    assert old in text
    with pytest.raises(ContractInvalid) as caught:
        parse_contract(text.replace(old, new).replace("title: Cells", "titel: Cells"), file="c")
    assert told in str(caught.value)
    assert "unknown key 'titel'" in str(caught.value), "all faults come together"


def test_a_mask_that_lies_elsewhere_costs_its_own_row(world):
    parts = {"path": "{case}.nii.gz", "format": "nifti", "mask": "{case}.mask.nii.gz"}
    for i in range(4):
        mask = blob((3, 6, 8), seed=i)
        write_nifti(world.root / f"v{i}.nii.gz", picture(mask, seed=i))
        write_nifti(world.root / f"v{i}.mask.nii.gz", mask, axes="RAS")
    far = nib.load(world.root / "v3.mask.nii.gz")
    moved = far.affine + np.eye(4)[:, [3, 3, 3, 0]] * 0.5
    nib.save(nib.Nifti1Image(far.get_fdata().astype(np.uint8), moved), far.get_filename())
    (batch,) = world.ingest(**parts).batches
    assert (batch.n_accepted, batch.n_quarantined) == (3, 1)
    assert world.reasons() == {"v3.nii.gz": "mask_geometry(mask)"}


def test_endings_in_capitals_and_what_systems_leave_are_told_apart(world):
    write_cells(world.root, 6)
    for i in range(4):
        for name in (f"c{i}.png", f"c{i}.mask.png"):
            (world.root / name).rename((world.root / name).with_suffix(".PNG"))
    for name in ("._c0.png", "._c1.mask.PNG", ".DS_Store", "Thumbs.db"):
        (world.root / name).write_bytes(b"\0\5\x16\7" + NAME.encode())
    (batch,) = world.ingest().batches
    assert (batch.n_accepted, batch.n_quarantined) == (6, 0)


SERIES = {"path": "{case}/*.dcm", "format": "dicom", "mask": "{case}.nii.gz"}


def write_series(root: Path, name: str, *, seed: int, **elements: Any) -> Path:
    """A series of three slices with its mask as NIfTI."""
    mask = blob((3, 6, 8), seed=seed)
    for i, pixels in enumerate(picture(mask, seed=seed)):
        write_dicom(root / name / f"{i}.dcm", pixels, z=3.0 * i, **elements)
    write_nifti(root / f"{name}.nii.gz", mask)
    return root / name


def test_one_corrupt_file_costs_its_series_and_no_message_holds_a_value(world, caplog, capfd):
    for i in range(3):
        write_series(world.root, f"s{i}", seed=i)
    broken = write_series(world.root, "broken", seed=7)
    (broken / "1.dcm").write_bytes((broken / "1.dcm").read_bytes()[:-50])
    foreign = write_series(world.root, "foreign", seed=8)
    (foreign / "1.dcm").write_text(f"notes of {NAME}")
    named = write_series(world.root, "named", seed=9, PatientName=NAME, PatientBirthDate="19510203")
    for path in named.iterdir():  # a date that is none, which pydicom quotes in a warning
        path.write_bytes(path.read_bytes().replace(b"19510203", b"Quorvexi"))
    report = world.ingest(**SERIES)
    (batch,) = report.batches
    assert (batch.n_accepted, batch.n_quarantined, batch.n_phi) == (3, 3, 1)
    assert world.reasons() == {
        "broken": "unreadable_image(image)",
        "foreign": "unreadable_image(image)",
        "named": "phi:dicom_PatientBirthDate(image);phi:dicom_PatientName(image)",
    }
    told = [repr(report), caplog.text, *capfd.readouterr()]
    names = ["core.batches", "core.validations", "raw.cells", "quarantine.cells"]
    told += [repr(world.lake.rows(f"SELECT * FROM {name}")) for name in names]
    assert not any("Quorvexi" in text for text in told)


def test_too_many_identifying_headers_refuse_the_listing(world):
    write_series(world.root, "s0", seed=0)
    write_series(world.root, "s1", seed=1, PatientName=NAME)
    text = CONTRACT.replace("max_phi_ratio: 0.95", "max_phi_ratio: 0.1").format(
        root=world.root, key="case", task="", attested="", columns="",
        path=SERIES["path"], format="dicom", mask=f', mask: "{world.root}/{{case}}.nii.gz"',
    )  # fmt: skip
    with pytest.raises(PhiFound, match="max_phi_ratio: 1 of 2 rows") as caught:
        ingest(world.lake, parse_contract(text, file="cells.yaml"), run=RUN)
    assert "phi:dicom_PatientName(image) in 1 row (2)" in str(caught.value)
    assert "Quorvexil" not in str(caught.value)


def test_a_head_needs_the_word_of_its_owner_and_facts_may_be_constrained(world):
    for i, part in enumerate(("HEAD", "PROSTATE", "PROSTATE")):
        write_series(world.root, f"s{i}", seed=i, BodyPartExamined=part)
    write_series(world.root, "s3", seed=3, Modality="MR")
    columns = "  modality: {values: [CT]}"
    report = world.ingest(**SERIES, columns=columns)
    assert world.reasons() == {
        "s0": "phi:dicom_face(image)", "s3": "not_in_values(modality)",
    }  # fmt: skip
    assert [batch.n_accepted for batch in report.batches] == [2]
    (again,) = world.ingest(**SERIES, columns=columns, attested=", defaced: true").batches
    assert (again.n_accepted, again.n_unchanged, again.n_quarantined) == (1, 2, 1)
    (row,) = world.lake.rows("SELECT * FROM raw.cells WHERE body_part = 'HEAD'")
    assert (row["image"], row["n_slices"], row["spacing_slice"]) == ("s0", 3, 3.0)
    images, targets = world.items(report.dataset_version_id, **SERIES, columns=columns)
    assert images[0].shape == (3, 6, 8, 1)
    assert targets[0][0].shape == (3, 6, 8)
    assert targets[0][1] == (3.0, 2.0, 1.0)


def test_masks_may_lie_inside_an_npz(world):
    mask = blob((2, 6, 8))
    np.savez(world.root / "a.npz", image=picture(mask), mask=mask, spacing=[3, 2, 1])
    np.savez(world.root / "b.npz", image=picture(mask, seed=1))
    parts = {"path": "{case}.npz", "format": "npz", "mask": ""}
    report = world.ingest(**parts)
    assert [(b.n_accepted, b.n_quarantined) for b in report.batches] == [(2, 0)]
    images, targets = world.items(report.dataset_version_id, **parts)
    (target,) = [target for target in targets if target is not None]
    np.testing.assert_array_equal(target[0], mask // 255)
    assert target[1] == (3.0, 2.0, 1.0)
    assert [image.shape for image in images] == [(2, 6, 8, 1)] * 2

"""Why images were set aside, in words that a person can act on; nothing of the files is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1

from catalog.contracts.load import load_contract
from catalog.intake.landing import ingest
from catalog.readers.reasons import reason_text
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake
from tests.catalog.lakes import RUN
from tests.image_files import blob, picture, write_dicom, write_nifti

CONTRACT = """\
source: scans
title: Scans
owner: scans@example.org
license: CC0-1.0
files: {{path: "{root}/{{case}}/*.dcm", format: dicom, mask: "{root}/{{case}}.nii.gz"}}
task: {{type: image-segmentation, labels: {{organ: 255}}}}
deidentified: {{method: synthetic, attested_by: tests, attested_on: 2026-01-15}}
columns:
  case: {{type: string, key: true}}
splits: {{train: 0.5, validation: 0.2, test: 0.3}}
on_violation: {{max_quarantined_ratio: {limit}}}
"""
HAS_EXTRA = find_spec("gdcm") is not None or find_spec("pylibjpeg") is not None
PACKED = "compressed_pixels(image)" if HAS_EXTRA else "jpeg_lossless(image)"


@pytest.fixture
def contract_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three series with masks: one sound, one compressed, one whose mask lies elsewhere."""
    monkeypatch.setenv("RPE_HOME", str(tmp_path / "home"))
    root = tmp_path / "images"
    for i, name in enumerate(("sound", "packed", "moved")):
        mask = blob((3, 6, 8), seed=i)
        for k, pixels in enumerate(picture(mask, seed=i)):
            write_dicom(root / name / f"{k}.dcm", pixels, z=3.0 * k)
        write_nifti(root / f"{name}.nii.gz", mask, spacing=(4 if name == "moved" else 3, 2, 1))
    for path in (root / "packed").iterdir():
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        header.PixelData = encapsulate([np.zeros(9, np.uint8).tobytes()])
        header.save_as(path)
    folder = Settings().sources_folder
    folder.mkdir(parents=True)
    file = folder / "scans.yaml"
    file.write_text(CONTRACT.format(root=root, limit=0.9))
    return file


def test_findings_spell_out_what_the_codes_mean(
    contract_file: Path, rpe: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    lake = open_lake(Settings())
    lake.migrate()
    try:
        (batch,) = ingest(lake, load_contract(contract_file), run=RUN).batches
    finally:
        lake.close()
    assert (batch.n_accepted, batch.n_quarantined) == (1, 2)
    capsys.readouterr()
    assert rpe("source", "findings", "scans") == 0
    told = capsys.readouterr().err
    assert "mask_geometry(mask): the mask lies elsewhere than its image" in told
    assert f"{PACKED}: {reason_text(PACKED)}" in told
    assert rpe("source", "findings", "scans", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["reasons"] for row in rows} == {PACKED, "mask_geometry(mask)"}


def test_a_check_says_so_before_anything_lands(
    contract_file: Path, rpe: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    contract_file.write_text(contract_file.read_text().replace("0.9}", "0.1}"))
    lake = open_lake(Settings())
    lake.migrate()
    lake.close()
    assert rpe("source", "check", "scans", "--json") == 2
    told = capsys.readouterr().out
    assert reason_text(PACKED) in told
    assert "the mask lies elsewhere than its image" in told

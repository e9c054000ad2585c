"""A night of segmentation: volumes in, masks out, on the path that labels and texts take."""

import io
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from flows.nightly import run_night
from flows.predicting import predict_images, predict_texts
from flows.reading import read_rows_of
from flows.settings import Settings
from rpe_core.errors import InputError
from tests.pico import pico_cases, pico_sam

pytestmark = pytest.mark.slow

CASES = 30
SITES = ("site_a", "site_b", "site_c", "site_d")
CONTRACT = """\
source: {source}
title: Pico phantoms
owner: pico@example.org
license: CC0-1.0
files: {{path: "{data}/{source}-{{case}}.npz", format: npz}}
task: {{type: image-segmentation, labels: {labels}, transforms: [flip_rows, brightness]}}
deidentified: {{method: synthetic, attested_by: tests, attested_on: 2026-01-15}}
columns:
  case: {{type: string, key: true}}
splits: {{train: 0.5, validation: 0.2, test: 0.3}}
"""
PLAN = """\
bases:
  pico: {{family: sam, model: "{base}", pooling: grid}}
recipes:
  lora4: {{method: lora, r: 4, alpha: 8, epochs: 2, learning_rate: 2.0e-2, batch_size: 4, seed: 0,
          target_modules: [qkv], modules_to_save: [mask_decoder]}}
references:
  - {{sources: [site_a, site_b], base: pico, recipe: lora4}}
targets:
  - {{name: site-c, source: site_c, base: pico, k: 2, strategies: [average, nearest, linear_l1]}}
  - {{name: site-d, source: site_d, base: pico, k: 2, strategies: [average, nearest, auto]}}
gate: {{min_items: 4}}
"""


def _write(data: Path, source: str, *, seed: int) -> None:
    images, targets = pico_cases(np.random.default_rng(seed), CASES, n_slices=2)
    for i, (image, (mask, spacing)) in enumerate(zip(images, targets, strict=True)):
        if source == "site_b":  # a source of another class beside the shared one
            mask = mask * (mask == 1)
        arrays = {"image": image + np.uint16(300 * seed), "spacing": np.array(spacing)}
        if source != "site_d":
            arrays["mask"] = mask
        np.savez(data / f"{source}-{i}.npz", **arrays)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("segmentation")
    home, data = root / "home", root / "data"
    (home / "sources").mkdir(parents=True)
    data.mkdir()
    for number, source in enumerate(SITES):
        _write(data, source, seed=number)
        labels = "{core: 1}" if source == "site_b" else "{core: 1, rim: 2}"
        contract = CONTRACT.format(source=source, data=data, labels=labels)
        (home / "sources" / f"{source}.yaml").write_text(contract)
    (home / "plan.yaml").write_text(PLAN.format(base=pico_sam(root / "base")))
    settings = Settings(home=home)
    summary = run_night(settings)
    assert summary.outcome == "ok", [str(fault) for fault in summary.faults]
    return settings


def test_arms_are_scored_by_dice_and_hd95_per_class_too(night: Settings) -> None:
    rows = read_rows_of(
        night,
        "SELECT * FROM core.scores WHERE target_name = 'site-c' AND split = 'test'",
    )
    assert {r["arm"] for r in rows} == {"base", "average", "nearest", "linear_l1"}
    assert {(r["metric"], r["is_higher_better"]) for r in rows} == {("dice", True), ("hd95", False)}
    assert {r["slice"] for r in rows} == {"", "class=core", "class=rim"}
    items = read_rows_of(
        night, "SELECT DISTINCT metric FROM core.item_scores WHERE target_name = 'site-c'"
    )
    names = {f"{metric}{one}" for metric in ("dice", "hd95") for one in ("", ".core", ".rim")}
    assert {r["metric"] for r in items} == names
    (gate,) = read_rows_of(night, "SELECT * FROM core.comparisons WHERE target_name = 'site-c'")
    assert gate["metric"] == "dice"


def test_without_labels_the_references_stand_in(night: Settings) -> None:
    rows = read_rows_of(
        night,
        "SELECT * FROM core.scores WHERE target_name = 'site-d' AND split = 'leave_one_out'",
    )
    assert {"base", "auto"} <= {r["arm"] for r in rows}
    chosen = read_rows_of(night, "SELECT * FROM core.choices WHERE target_name = 'site-d'")
    assert {r["criterion"] for r in chosen} == {"leave_one_out"}


def test_attribution_counts_the_decoders(night: Settings) -> None:
    rows = read_rows_of(night, "SELECT * FROM core.attributions")
    assert rows
    assert all(r["delta_change_ratio"] >= 0 for r in rows)


def test_a_consumer_sends_and_gets_the_bytes_of_arrays(
    night: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.set_tracking_uri(night.tracking)
    model = mlflow.pyfunc.load_model("models:/site-c@challenger")
    image = pico_cases(np.random.default_rng(9), 1, n_slices=2)[0][0]
    file = io.BytesIO()
    np.save(file, image)
    answer = model.predict(pd.DataFrame({"image": [file.getvalue()]}))
    mask = np.load(io.BytesIO(answer.loc[0, "mask"]), allow_pickle=False)
    assert (mask.shape, mask.dtype) == ((2, 40, 48), np.uint8)


def test_images_are_predicted_into_a_folder_of_masks(night: Settings, tmp_path: Path) -> None:
    image = tmp_path / "scan.npz"
    np.savez(image, image=pico_cases(np.random.default_rng(9), 1, n_slices=2)[0][0])
    (row,), note = predict_images(night, "site-c", [image], tmp_path / "masks")
    assert Path(row["mask"]) == tmp_path / "masks" / "1-scan.mask.npy"
    assert np.load(row["mask"], allow_pickle=False).shape == (2, 40, 48)
    assert "site-c" in note
    with pytest.raises(InputError, match="--image"):
        predict_texts(night, "site-c", ["a text"])
    image.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"scan\.npz"):
        predict_images(night, "site-c", [image], tmp_path / "masks")


def test_the_next_night_changes_nothing(night: Settings) -> None:
    assert run_night(night).outcome == "unchanged"

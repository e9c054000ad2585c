"""A night of segmentation: images in, masks out, on the path that labels take."""

import io
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from flows.night.nightly import run_night
from flows.targets.predict import predict_images, predict_texts
from flows.workspace.settings import Settings
from rpe_core.errors import InputError
from tests.image_files import write_nifti, write_png
from tests.lake_rows import read_rows_of
from tests.pico import pico_cases, pico_sam
from tests.replays import ALL_SAME, outcomes

pytestmark = [pytest.mark.slow, pytest.mark.ci_slow]

# site -> cases, format, ending of the image and of the mask ('' where a mask is owed by nobody)
SITES = {
    "site_a": (24, "image", "tif", "png"),
    "site_b": (24, "npz", "npz", ""),
    "site_c": (60, "nifti", "nii", "nii.gz"),
    "site_d": (24, "image", "tif", ""),
}
CASES = {source: told[0] for source, told in SITES.items()}
CONTRACT = """\
source: {source}
title: Pico cases
owner: pico@example.org
license: CC0-1.0
files: {{path: "{data}/{source}/{{case}}.image.{ending}", format: {format}{mask}}}
task: {{type: image-segmentation, labels: {labels}, window: [200, 1100],
       transforms: [flip_rows, flip_columns]}}
deidentified: {{method: synthetic, attested_by: tests, attested_on: 2026-01-15}}
columns:
  case: {{type: string, key: true}}
splits: {{train: 0.4, validation: 0.2, test: 0.4}}
on_violation: {{max_quarantined_ratio: 0.05}}
"""
PLAN = """\
bases:
  pico: {{family: sam, model: "{base}", pooling: grid}}
recipes:
  lora4: {{method: lora, r: 4, alpha: 8, target_modules: [qkv], modules_to_save: [mask_decoder],
          epochs: 8, learning_rate: 2.0e-2, batch_size: 2, seed: 0}}
references:
  - {{sources: [site_a, site_b], base: pico, recipe: lora4}}
targets:
  - {{name: site-c, source: site_c, base: pico, k: 2, strategies: [average, nearest, linear_l1]}}
  - {{name: site-d, source: site_d, base: pico, k: 2, strategies: [average, nearest, auto]}}
  - {{name: site-far, source: site_c, base: pico, k: 2, strategies: [average],
     gate: {{metric: hd95, cap: 12, min_items: 5, max_loss: {{share: 0.3, size: 4}}}}}}
gate: {{min_items: 5}}
"""
VALUES = np.array([0, 100, 200], np.uint8)


def _write(folder: Path, source: str, *, seed: int) -> None:
    n, kind, ending, mask_ending = SITES[source]
    images, targets = pico_cases(np.random.default_rng(seed), n, n_slices=1)
    folder.mkdir()
    for i, (image, (mask, spacing)) in enumerate(zip(images, targets, strict=True)):
        if source == "site_b":  # a source of another class beside the shared one
            mask = mask * (mask == 1)
        stem, values = folder / f"{source}-{i}", VALUES[mask]
        if kind == "image":
            write_png(Path(f"{stem}.image.{ending}"), image[0, :, :, 0])
        elif kind == "npz":
            np.savez(f"{stem}.image.npz", image=image, mask=values, spacing=spacing)
        else:
            write_nifti(Path(f"{stem}.image.nii"), image[..., 0], axes="RAS", spacing=spacing)
            write_nifti(Path(f"{stem}.mask.nii.gz"), values, axes="LPI", spacing=spacing)
        if mask_ending == "png":
            write_png(Path(f"{stem}.mask.png"), values[0])


@pytest.fixture(scope="module")
def night(
    tmp_path_factory: pytest.TempPathFactory, lay_prefect_tables: Callable[[Settings], None]
) -> Settings:
    root = tmp_path_factory.mktemp("segmentation")
    home, data = root / "home", root / "data"
    (home / "sources").mkdir(parents=True)
    data.mkdir()
    base = pico_sam(root / "base")
    for number, (source, (_, kind, ending, mask_ending)) in enumerate(SITES.items()):
        _write(data / source, source, seed=number)
        mask = f', mask: "{data}/{source}/{{case}}.mask.{mask_ending}"' if mask_ending else ""
        labels = "{core: 100}" if source == "site_b" else "{core: 100, rim: 200}"
        contract = CONTRACT.format(
            labels=labels, source=source, data=data, format=kind, ending=ending, mask=mask
        )
        (home / "sources" / f"{source}.yaml").write_text(contract)
    (home / "plan.yaml").write_text(PLAN.format(base=base))
    settings = Settings(home=home)
    lay_prefect_tables(settings)
    summary = run_night(settings)
    assert summary.outcome == "ok", [str(fault) for fault in summary.faults]
    return settings


def test_images_land_as_facts_and_no_pixel_is_kept(night: Settings) -> None:
    rows = read_rows_of(night, "SELECT source, n_accepted, n_quarantined FROM core.batches")
    assert {row["source"]: row["n_accepted"] for row in rows} == CASES
    (row,) = read_rows_of(
        night, "SELECT DISTINCT n_slices, height, width, spacing_slice FROM raw.site_c"
    )
    assert row == {"n_slices": 1, "height": 40, "width": 48, "spacing_slice": 3.0}
    versions = read_rows_of(night, "SELECT source, n_labelled FROM core.dataset_versions")
    labelled = {row["source"]: row["n_labelled"] for row in versions}
    assert labelled == {**CASES, "site_d": 0}
    assert not list((night.root / "tmp").glob("train-*"))


def test_training_learns_the_masks(night: Settings) -> None:
    scores = read_rows_of(night, "SELECT source, validation_score FROM core.adapters")
    assert {row["source"] for row in scores} == {"site_a", "site_b"}
    assert all(row["validation_score"] > 0.3 for row in scores), "mean Dice"


def test_arms_are_scored_by_dice_and_hd95_per_class_too(night: Settings) -> None:
    rows = read_rows_of(
        night,
        "SELECT * FROM core.scores WHERE target_name = 'site-c' AND split = 'test'",
    )
    found = {(r["arm"], r["metric"]): r["value"] for r in rows if not r["slice"]}
    arms = ("base", "average", "nearest", "linear_l1")
    assert set(found) == {(arm, metric) for arm in arms for metric in ("dice", "hd95")}
    assert {(r["metric"], r["is_higher_better"]) for r in rows} == {("dice", True), ("hd95", False)}
    assert {r["slice"] for r in rows} == {"", "class=core", "class=rim"}
    items = read_rows_of(
        night, "SELECT DISTINCT metric FROM core.item_scores WHERE target_name = 'site-c'"
    )
    names = {f"{metric}{one}" for metric in ("dice", "hd95") for one in ("", ".core", ".rim")}
    assert {r["metric"] for r in items} == names
    assert found["average", "dice"] > found["base", "dice"] + 0.1
    assert found["average", "hd95"] < found["base", "hd95"]


def test_a_target_without_masks_is_chosen_for_by_its_references(night: Settings) -> None:
    rows = read_rows_of(
        night, "SELECT criterion, is_chosen FROM core.choices WHERE target_name = 'site-d'"
    )
    assert {row["criterion"] for row in rows} == {"leave_one_out"}
    assert sum(row["is_chosen"] for row in rows) == 1


def test_the_champion_draws_what_the_platform_scored(night: Settings) -> None:
    (verdict,) = read_rows_of(
        night, "SELECT action, ensemble_id FROM core.promotions WHERE target_name = 'site-c'"
    )
    assert verdict["action"] == "promoted"
    mlflow.set_tracking_uri(night.tracking)
    model = mlflow.pyfunc.load_model("models:/site-c@champion")
    rows = read_rows_of(
        night,
        'SELECT r."case" AS name, i.value FROM raw.site_c AS r JOIN core.item_scores AS i'
        " ON i.item_sha256 = r._item_sha256 WHERE i.metric = 'dice.core' AND i.split = 'test'"
        " AND i.ensemble_id = ? ORDER BY name",
        [verdict["ensemble_id"]],
    )
    assert rows
    images, targets = pico_cases(np.random.default_rng(2), CASES["site_c"], n_slices=1)
    for row in rows[:5]:
        number = int(row["name"].rpartition("-")[2])
        image, mask = images[number], targets[number][0]
        file = io.BytesIO()
        np.save(file, image)
        answer = model.predict(pd.DataFrame({"image": [file.getvalue()]}))
        drawn = np.load(io.BytesIO(answer["mask"][0]))
        assert drawn.shape == mask.shape
        both = np.sum((drawn == 1) & (mask == 1))
        dice = 2 * both / max(1, np.sum(drawn == 1) + np.sum(mask == 1))
        assert dice == pytest.approx(row["value"])


def test_a_target_is_gated_by_distances_up_to_the_cap_of_its_plan(night: Settings) -> None:
    """Against the mean of the distances that the lake keeps, cut there: each case is a group."""
    (row,) = read_rows_of(night, "FROM core.comparisons WHERE target_name = 'site-far'")
    (mean,) = read_rows_of(
        night,
        "SELECT avg(least(value, 12)) FILTER (arm = 'average')"
        " - avg(least(value, 12)) FILTER (arm = 'base') AS gap, count(DISTINCT group_sha256) AS n,"
        " max(value) AS far FROM core.item_scores"
        " WHERE target_name = 'site-far' AND metric = 'hd95' AND split = 'test'",
    )
    assert mean["far"] > 12, "there is something to cut"
    assert (row["metric"], row["cap"], row["mean_over"]) == ("hd95", 12.0, "groups")
    assert row["difference"] == pytest.approx(mean["gap"], abs=1e-9)
    assert row["item_difference"] == pytest.approx(mean["gap"], abs=1e-9)
    assert (row["n_groups"], row["loss_size"], row["loss_share"]) == (mean["n"], 4.0, 0.3)
    assert 0 < row["loss_upper"] <= 1
    (verdict,) = read_rows_of(
        night, "SELECT reasons FROM core.promotions WHERE target_name = 'site-far'"
    )
    assert f"of {mean['n']} groups lost more than 4: up to" in verdict["reasons"]


def test_attribution_counts_the_decoders(night: Settings) -> None:
    rows = read_rows_of(night, "SELECT * FROM core.attributions")
    assert rows
    assert all(r["delta_change_ratio"] >= 0 for r in rows)


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


def test_a_second_night_changes_nothing(night: Settings) -> None:
    assert run_night(night).outcome == "unchanged"


def test_every_ensemble_is_replayed_on_one_thread_and_on_two(night: Settings) -> None:
    for threads in (1, 2):
        found = outcomes(night, threads=threads)
        assert found == dict.fromkeys(found, ALL_SAME)
        assert len(found) == 6

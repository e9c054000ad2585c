"""A night of image classification: images in, labels out, on the path that all tasks take."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from flows.adapters.export_adapter import export_adapter
from flows.adapters.import_adapters import ImportSpec, import_adapters
from flows.experiments.method_protocol import method_protocol_of
from flows.night.nightly import run_night
from flows.targets.predict import predict_images, predict_texts
from flows.workspace.settings import Settings
from flows.workspace.workspace import load_declarations
from rpe_core.adapters.table import ADAPTER_METHODS, LEARNED_PROMPTS, UNMERGEABLE
from rpe_core.errors import DeclarationError, InputError
from tests.image_files import write_nifti, write_png
from tests.lake_rows import read_rows_of
from tests.pico import SHAPES, pico_clip, pico_pictures
from tests.replays import ALL_SAME, outcomes

pytestmark = [pytest.mark.slow, pytest.mark.ci_slow]

# site -> images, format, ending, and where the label stands ('' where there is none)
SITES = {
    "site_a": (36, "image", "png", "{kind}/"),
    "site_b": (36, "npz", "npz", "{kind}/"),
    "site_c": (80, "nifti", "nii", "{kind}/"),
    "site_d": (40, "image", "tif", ""),
}
N_UNKNOWN = 8  # images of site_b in a folder that says so
CONTRACT = """\
source: {source}
title: Pico pictures
owner: pico@example.org
license: CC0-1.0
files: {{path: "{data}/{source}/{folder}{{case}}.{ending}", format: {format}}}
task: {{type: image-classification, target: kind, labels: {labels}{unlabelled}}}
deidentified: {{method: synthetic, attested_by: tests, attested_on: 2026-01-15}}
columns:
  case: {{type: string, key: true}}
  kind: {{type: string, nullable: true}}
splits: {{train: 0.4, validation: 0.2, test: 0.4}}
"""
PLAN = """\
bases:
  pico: {{family: clip, model: "{base}"}}
recipes:
  lora4: {{method: lora, r: 4, alpha: 8, target_modules: [q_proj, v_proj, fc1],
          epochs: 6, learning_rate: 1.0e-2, batch_size: 4, seed: 0}}
  src4: {{method: promptsrc, r: 4, alpha: 8, target_modules: [q_proj, v_proj],
         epochs: 4, learning_rate: 1.0e-2, batch_size: 4, seed: 0}}
  prompts4: {{method: prompts, r: 4, alpha: 4, epochs: 6, learning_rate: 5.0e-2, batch_size: 4,
             seed: 0, options: {{depth: 2, text_weight: 1.0, feature_weight: 1.0}}}}
references:
  - {{sources: [site_a, site_b], base: pico, recipe: lora4}}
  - {{sources: [site_a], base: pico, recipe: src4}}
  - {{sources: [site_a, site_b, site_c], base: pico, recipe: prompts4}}
targets:
  - {{name: site-c-prompts, source: site_c, base: pico, k: 2, library: {{recipe: prompts4}},
     strategies: [average, nearest, linear_l1]}}
  - {{name: site-d-all, source: site_d, base: pico, k: 4, strategies: [average]}}
  - {{name: site-c, source: site_c, base: pico, k: 2, library: {{recipe: lora4}},
     strategies: [average, nearest, linear_l1]}}
  - {{name: site-d, source: site_d, base: pico, k: 2, library: {{recipe: lora4}},
     strategies: [average, nearest, auto]}}
gate: {{min_items: 20}}
"""


def _write(folder: Path, source: str, *, seed: int) -> None:
    n, kind, ending, place = SITES[source]
    images, shapes = pico_pictures(np.random.default_rng(seed), n, source)
    for i, (image, shape) in enumerate(zip(images, shapes, strict=True)):
        said = "unknown" if source == "site_b" and i < N_UNKNOWN else shape
        file = folder / (said if place else "") / f"{source}-{i}.{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if kind == "image":
            write_png(file, image[0, :, :, 0])
        elif kind == "npz":
            np.savez(file, image=image)
        else:
            write_nifti(file, image[..., 0], axes="RAS")


@pytest.fixture(scope="module")
def night(
    tmp_path_factory: pytest.TempPathFactory, lay_prefect_tables: Callable[[Settings], None]
) -> Settings:
    root = tmp_path_factory.mktemp("classification")
    home, data = root / "home", root / "data"
    (home / "sources").mkdir(parents=True)
    base = pico_clip(root / "base")
    (base / "preprocessor_config.json").write_text('{"size": 32, "image_mean": [0.4, 0.4, 0.4]}')
    for number, (source, (_, kind, ending, folder)) in enumerate(SITES.items()):
        _write(data / source, source, seed=number)
        contract = CONTRACT.format(
            source=source, data=data, folder=folder, ending=ending, format=kind,
            labels="{" + ", ".join(f"{name}: {said}" for name, said in SHAPES.items()) + "}",
            unlabelled=", unlabelled: unknown" if source == "site_b" else "",
        )  # fmt: skip
        (home / "sources" / f"{source}.yaml").write_text(contract)
    (home / "plan.yaml").write_text(PLAN.format(base=base))
    settings = Settings(home=home)
    lay_prefect_tables(settings)
    summary = run_night(settings)
    assert summary.outcome == "ok", [str(fault) for fault in summary.faults]
    return settings


def test_images_land_with_labels_and_without_masks(night: Settings) -> None:
    rows = read_rows_of(night, "SELECT source, n_accepted, n_quarantined FROM core.batches")
    assert {row["source"]: row["n_accepted"] for row in rows} == {
        source: told[0] for source, told in SITES.items()
    }
    versions = read_rows_of(night, "SELECT source, n_labelled FROM core.dataset_versions")
    labelled = {"site_a": 36, "site_b": 36 - N_UNKNOWN, "site_c": 80, "site_d": 0}
    assert {row["source"]: row["n_labelled"] for row in versions} == labelled
    (row,) = read_rows_of(night, "SELECT * FROM raw.site_c LIMIT 1")
    assert (row["n_slices"], row["height"], row["width"]) == (1, 40, 48)
    assert "mask" not in row


def test_training_learns_the_kinds_under_every_recipe(night: Settings) -> None:
    rows = read_rows_of(night, "SELECT source, validation_score FROM core.adapters")
    assert sorted(row["source"][-1] for row in rows) == [*"aaa", *"bb", "c"]
    assert all(row["validation_score"] > 0.6 for row in rows), "accuracy"


def test_arms_are_scored_by_what_classifiers_are_scored_by(night: Settings) -> None:
    rows = read_rows_of(
        night, "SELECT * FROM core.scores WHERE target_name = 'site-c' AND split = 'test'"
    )
    found = {(r["arm"], r["metric"]): r["value"] for r in rows}
    arms = ("base", "average", "nearest", "linear_l1")
    assert set(found) == {(arm, metric) for arm in arms for metric in ("accuracy", "macro_f1")}
    assert found["average", "accuracy"] > found["base", "accuracy"] + 0.2


def test_a_target_without_labels_is_chosen_for_by_mutual_information(night: Settings) -> None:
    rows = read_rows_of(
        night, "SELECT criterion, is_chosen FROM core.choices WHERE target_name = 'site-d'"
    )
    assert {row["criterion"] for row in rows} == {"mutual_information"}
    assert sum(row["is_chosen"] for row in rows) == 1


def test_learned_prompts_have_a_library_of_their_own(night: Settings) -> None:
    rows = read_rows_of(
        night,
        "SELECT e.target_name, json_extract_string(a.recipe_json, '$.method') AS method, a.source"
        " FROM core.ensembles AS e JOIN core.ensemble_members AS m USING (ensemble_id)"
        " JOIN core.adapters AS a USING (adapter_id) WHERE e.strategy = 'average'",
    )
    members = {
        target: sorted((r["method"], r["source"]) for r in rows if r["target_name"] == target)
        for target in ("site-c", "site-c-prompts", "site-d-all")
    }
    assert members["site-c"] == [("lora", "site_a"), ("lora", "site_b")]
    assert members["site-c-prompts"] == [("prompts", "site_a"), ("prompts", "site_b")]
    assert {method for method, _ in members["site-d-all"]} == {"lora", "promptsrc"}
    scores = read_rows_of(
        night,
        "SELECT arm, value FROM core.scores WHERE target_name = 'site-c-prompts'"
        " AND split = 'test' AND slice = '' AND metric = 'accuracy'",
    )
    found = {row["arm"]: row["value"] for row in scores}
    assert set(found) == {"base", "average", "nearest", "linear_l1", "sft"}
    assert found["sft"] > found["base"] + 0.2
    (count,) = read_rows_of(night, "SELECT count(*) AS n FROM core.attributions")
    assert count["n"] > 0


def test_prompts_travel_as_a_bundle(
    night: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the platform itself, which finds that it has them; and not as a folder without a card."""
    (row,) = read_rows_of(
        night,
        "SELECT adapter_id, artifact_sha256, source FROM core.adapters WHERE source = 'site_c'",
    )
    bundle = export_adapter(night, row["adapter_id"], tmp_path / "bundle")
    spec = ImportSpec()
    assert import_adapters(night, [str(bundle)], spec, is_dry_run=True) == [row["adapter_id"]]
    assert import_adapters(night, [str(bundle)], spec) == []
    spec = ImportSpec("pico", "elsewhere", "CC0-1.0", "site_a", sample=str(tmp_path))
    with pytest.raises(DeclarationError) as refused:
        import_adapters(night, [str(bundle / "adapter")], spec)
    (fault,) = refused.value.faults
    assert "as a bundle" in fault.what
    assert "rpe adapters export" in fault.expected


@pytest.mark.parametrize("target", ["site-c", "site-c-prompts"])
def test_the_champion_answers_what_the_platform_scored(night: Settings, target: str) -> None:
    (verdict,) = read_rows_of(
        night, "SELECT action, ensemble_id FROM core.promotions WHERE target_name = ?", [target]
    )
    assert verdict["action"] == "promoted"
    mlflow.set_tracking_uri(night.tracking)
    model = mlflow.pyfunc.load_model(f"models:/{target}@champion")
    rows = read_rows_of(
        night,
        'SELECT r."case" AS name, i.predicted FROM raw.site_c AS r JOIN core.item_scores AS i'
        " ON i.item_sha256 = r._item_sha256 WHERE i.metric = 'accuracy' AND i.split = 'test'"
        " AND i.ensemble_id = ? ORDER BY name",
        [verdict["ensemble_id"]],
    )
    assert len(rows) > 20
    images, _ = pico_pictures(np.random.default_rng(2), 80, "site_c")
    files = []
    for row in rows:
        file = io.BytesIO()
        np.save(file, images[int(row["name"].rpartition("-")[2])])
        files.append(file.getvalue())
    answer = model.predict(pd.DataFrame({"image": files}))
    assert answer["label"].tolist() == [list(SHAPES)[row["predicted"]] for row in rows]
    assert answer["score"].between(1 / 3, 1).all()


def test_images_are_predicted_into_rows_and_no_folder(night: Settings, tmp_path: Path) -> None:
    image = tmp_path / "picture.npz"
    np.savez(image, image=pico_pictures(np.random.default_rng(9), 1, "site_c")[0][0])
    for target in ("site-c", "site-d"):
        (row,), note = predict_images(night, target, [image], tmp_path / "masks")
        assert set(row) == {"input", "label", "score"}
        assert row["label"] in SHAPES
        assert target in note
    assert not (tmp_path / "masks").exists()
    with pytest.raises(InputError, match="--image"):
        predict_texts(night, "site-c", ["a text"])


def test_the_registered_base_has_its_preprocessing(night: Settings, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(night.tracking)
    folder = mlflow.artifacts.download_artifacts("models:/rpe-base-pico/1", dst_path=str(tmp_path))
    assert (Path(folder) / "model" / "preprocessor_config.json").is_file()


def test_prompts_are_compared_with_lora_where_they_are_asked_for(night: Settings) -> None:
    asked: dict[str, Any] = {
        "sources": ["site_a", "site_b", "site_c"], "base": "pico", "recipe": "lora4"
    }  # fmt: skip
    declared = load_declarations(night)
    found = method_protocol_of(night, declared, **asked)
    assert set(found.recipes) == {*ADAPTER_METHODS} - {*UNMERGEABLE, *LEARNED_PROMPTS}
    asked["methods"] = ["prompts"]
    with pytest.raises(InputError, match="no room for so many words"):
        method_protocol_of(night, declared, **asked)
    few = method_protocol_of(night, declared, **asked, n_parameters=1000).recipes
    assert set(few) == {"lora", "prompts"}
    assert few["prompts"]["r"] == round(1000 / (4 * 32)), "both encoders, two layers each"
    assert few["prompts"]["options"]["depth"] == 2


def test_a_second_night_changes_nothing(night: Settings) -> None:
    assert run_night(night).outcome == "unchanged"


def test_every_ensemble_is_replayed_on_one_thread_and_on_two(night: Settings) -> None:
    for threads in (1, 2):
        found = outcomes(night, threads=threads)
        assert found == dict.fromkeys(found, ALL_SAME)
        assert len(found) == 9

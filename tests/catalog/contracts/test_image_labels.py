"""Images with labels: the contract, what lands of a listing, and a version that answers."""

import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.models import Model

from catalog.contracts.contract import SourceContract
from catalog.contracts.load import parse_contract
from catalog.errors import ContractInvalid, ContractViolated
from catalog.intake.landing import ingest, read_rows
from catalog.readers.items import item_source
from catalog.records.model_card import ensemble_card
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.registry.model_code import ServedParts, write_served_model
from catalog.stores.registry.model_versions import ModelVersionRef, RegisteredBase
from rpe_core.delta import LowRankDelta
from rpe_core.families import attachment, clip
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.records import BaseModel, TaskSpec
from tests.catalog.lakes import RUN, fresh_lake
from tests.catalog.models import ensemble_facts
from tests.image_files import NAME, write_dicom, write_png
from tests.pico import SHAPES, pico_clip, pico_pictures

CONTRACT = """\
source: lesions
title: Lesions
owner: lesions@example.org
license: CC0-1.0
files: {{path: "{root}/{{kind}}/{{case}}.png", format: image}}
task: {{type: image-classification, target: kind,
       labels: {{disc: an image of a disc, bars: an image of bars}}, unlabelled: none}}
deidentified: {{method: synthetic, attested_by: tests, attested_on: 2026-01-15}}
columns:
  case: {{type: string, key: true}}
  kind: {{type: string, nullable: true}}
splits: {{train: 0.5, validation: 0.2, test: 0.3}}
on_violation: {{max_quarantined_ratio: 0.5}}
"""


def contract(root: Path, *changes: tuple[str, str]) -> SourceContract:
    text = CONTRACT.format(root=root)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_contract(text, file="lesions.yaml")


def write_lesions(root: Path, *kinds: str) -> None:
    """A picture in the folder of each kind, named by its number."""
    images, _ = pico_pictures(np.random.default_rng(0), len(kinds))
    for i, (kind, image) in enumerate(zip(kinds, images, strict=True)):
        write_png(root / kind / f"c{i}.png", image[0, :, :, 0])


def test_the_contract_is_the_tasks_and_has_no_mask(tmp_path: Path) -> None:
    found = contract(tmp_path, ("unlabelled: none", "window: [-160, 240]"))
    assert found.labels == ("disc", "bars")
    assert found.content_columns == ("image_sha256", "kind")
    assert not {"mask", "mask_sha256"} & set(found.columns)
    assert {"image", "image_sha256", "width"} <= set(found.columns)
    assert found.task_spec.declared == {
        "type": "image-classification",
        "input": "image",
        "target": "kind",
        "labels": {"disc": "an image of a disc", "bars": "an image of bars"},
        "window": (-160.0, 240.0),
    }
    assert item_source(found).columns == ["image", "image_sha256", "kind"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("format: image", "format: csv", "files.format: holds no images"),
        ("format: image", 'format: image, mask: "/d/{kind}/{case}.tif"', "files.mask: is of no"),
        ("target: kind", "target: kinds", "task.target: is no column of `columns`"),
        ("target: kind", "target: image", "task.target: is the input too"),
        ("target: kind", "target: width", "task.target: names a column that is not text"),
        ("target: kind", "target: mask", "task.target: is no column of `columns`"),
        ("/{kind}/", "/", "task.unlabelled: is a placeholder of no file's name"),
        ("unlabelled: none", "unlabelled: disc", "task.unlabelled: is one of task.labels"),
        ("string, nullable: true", "string", "columns.kind.nullable: is false"),
        ("unlabelled: none", "window: [9, 1]", "task.window: is empty"),
        ("unlabelled: none", "image: scan", "task: unknown key 'image'"),
        ("an image of bars", "an image of a disc", "task.labels: two labels have the same prompt"),
        (", bars: an image of bars", "", "task.labels: has too few entries"),
        ("columns:", "columns:\n  mask: {type: string}", "columns.mask: has no value in any file"),
        ("columns:", "columns:\n  note: {type: string, nullable: true}", "columns.note: has no"),
    ],
)  # fmt: skip
def test_every_fault_of_a_contract_is_told(old: str, new: str, told: str) -> None:
    with pytest.raises(ContractInvalid) as caught:
        contract(Path("/d"), (old, new), ("title: Lesions", "titel: Lesions"))
    assert told in str(caught.value)
    assert "unknown key 'titel'" in str(caught.value), "all faults come together"


def test_labels_come_from_the_path_and_a_word_says_that_there_is_none(tmp_path: Path) -> None:
    root = tmp_path / "images"
    write_lesions(root, *["disc", "bars", "none"] * 3, NAME)
    with fresh_lake(tmp_path) as lake:
        report = ingest(lake, contract(root), run=RUN)
        (batch,) = report.batches
        assert (batch.n_accepted, batch.n_quarantined) == (9, 1)
        (reason,) = lake.rows("SELECT _reasons AS why FROM quarantine.lesions")
        assert reason["why"] == "unknown_label(kind)"
        assert NAME not in repr(report)
        (version,) = lake.rows("SELECT n_labelled FROM core.dataset_versions")
        assert version["n_labelled"] == 6
        source = item_source(contract(root))
        rows = read_rows(lake, report.dataset_version_id or "", columns=[*source.columns])
        images, targets = source.inputs(rows), source.targets(rows)
        by_name = dict(zip(rows.column("image").to_pylist(), targets, strict=True))
        assert by_name["disc/c0.png"] == "disc"
        assert by_name["none/c2.png"] is None
        assert images[0].shape == (1, 40, 48, 1)


def test_a_picture_that_was_labelled_is_a_changed_row(tmp_path: Path) -> None:
    root = tmp_path / "images"
    write_lesions(root, "disc", "bars", "none")
    anew = ("on_violation: {", "on_violation: {changed_row: supersede, ")
    with fresh_lake(tmp_path) as lake:
        first = ingest(lake, contract(root, anew), run=RUN)
        (root / "none" / "c2.png").rename(root / "disc" / "c2.png")
        second = ingest(lake, contract(root, anew), run=RUN)
        assert first.dataset_version_id != second.dataset_version_id
        found = lake.rows("SELECT dataset_version_id AS id, n_labelled FROM core.dataset_versions")
        assert {row["id"]: row["n_labelled"] for row in found} == {
            first.dataset_version_id: 2,
            second.dataset_version_id: 3,
        }


def test_a_source_may_have_no_label_at_all_but_not_one_only(tmp_path: Path) -> None:
    root, one = tmp_path / "images", tmp_path / "one"
    write_lesions(root, *["x"] * 5)
    write_lesions(one, *["disc"] * 20)
    bare = (("/{kind}/", "/x/"), (", unlabelled: none", ""))
    with fresh_lake(tmp_path) as lake:
        report = ingest(lake, contract(root, *bare), run=RUN)
        rows = lake.rows("SELECT kind FROM raw.lesions")
        assert [row["kind"] for row in rows] == [None] * 5
        assert [batch.n_accepted for batch in report.batches] == [5]
    with (
        fresh_lake(tmp_path / "other") as lake,
        pytest.raises(ContractViolated, match="one_class_only"),
    ):
        ingest(lake, contract(one), run=RUN)


def test_a_fact_of_a_header_may_be_the_answer(tmp_path: Path) -> None:
    root = tmp_path / "series"
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 900, (6, 8)).astype(np.uint16)
        write_dicom(root / f"s{i}" / "0.dcm", pixels, Modality=("CT", "MR")[i % 2])
    changes = (
        ("/{kind}/{case}.png", "/{case}/*.dcm"), ("format: image", "format: dicom"),
        ("target: kind", "target: modality"), (", unlabelled: none", ""),
        ("disc: an image", "CT: a scan"), ("bars: an image", "MR: a picture"),
        ("  kind: {type: string, nullable: true}\n", ""),
    )  # fmt: skip
    with fresh_lake(tmp_path) as lake:
        found = contract(root, *changes)
        report = ingest(lake, found, run=RUN)
        source = item_source(found)
        rows = read_rows(lake, report.dataset_version_id or "", columns=[*source.columns])
        assert sorted(source.targets(rows)) == ["CT", "CT", "MR", "MR"]
        assert source.inputs(rows)[0].shape == (1, 6, 8, 1)


TASK = TaskSpec("image-classification", "image", "kind", dict(SHAPES), window=(0.0, 200.0))


def served(place: Path) -> Path:
    """A version with an adapter of both encoders, and its base."""
    base_folder = pico_clip(place / "base")
    (base_folder / clip.PREPROCESSING).write_text('{"size": 36, "crop_size": 32}')
    rng = torch.Generator().manual_seed(0)
    deltas = {
        f"{tower}_model.encoder.layers.0.self_attn.v_proj": LowRankDelta(
            torch.randn(2, 32, generator=rng), torch.randn(32, 2, generator=rng), 0.2
        )
        for tower in ("text", "vision")
    }
    write_adapter(place / "adapter", deltas, base_name="pico", task_type=None)
    digest = Artifacts.hash_files(sorted(base_folder.iterdir()))
    base = BaseModel("pico", "clip", str(base_folder), "main", "float32", 0, digest)
    card = ensemble_card(ensemble_facts("lesions", []), base, TASK)
    registered = RegisteredBase(ModelVersionRef("rpe-base-pico", "1"))
    parts = ServedParts(base, registered, TASK, place / "adapter", card)
    write_served_model(place / "version", parts)
    return place / "version"


def loaded(version: Path, base: Path, patch: pytest.MonkeyPatch) -> Any:
    """The version's own model.py; MLflow's part, the fetching, is left to the registry's tests."""
    module: Any = types.ModuleType("served")
    patch.setitem(sys.modules, "served", module)  # dataclasses look their module up
    exec(compile((version / "model.py").read_text(), "model.py", "exec"), module.__dict__)
    module.fetch_base = lambda told: base
    files = {"task": "task.json", "base": "base.json", "adapter": "adapter"}
    artifacts = {name: f"{version}/artifacts/{file}" for name, file in files.items()}
    model = module.ServedModel()
    model.load_context(types.SimpleNamespace(artifacts=artifacts, model_config={"batch_size": 2}))
    return model


def test_a_version_answers_with_label_and_score_as_the_platform_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = served(tmp_path)
    images, _ = pico_pictures(np.random.default_rng(0), 6)
    model, files = loaded(version, tmp_path / "base", monkeypatch), []
    for image in images:
        file = io.BytesIO()
        np.save(file, image)
        files.append(file.getvalue())
    found = model.predict(None, pd.DataFrame({"image": files}))
    base = clip.load(str(tmp_path / "base"))
    task = clip.prepare(base, TASK.declared)
    frozen = clip.predict(base, task, images)
    attachment.attach(base, str(version / "artifacts" / "adapter"))
    expected = clip.answers(task, clip.predict(base, task, images, batch_size=2))
    assert found["label"].tolist() == expected["label"].tolist()
    np.testing.assert_array_equal(found["score"], expected["score"])
    assert np.abs(frozen.max(axis=1) - found["score"]).max() > 0.01, "the adapter must matter"


def test_a_version_says_that_an_image_is_bytes_and_what_the_labels_are(tmp_path: Path) -> None:
    version = served(tmp_path)
    signature = Model.load(str(version)).signature
    kinds = [(c.name, c.type.name) for c in (*signature.inputs, *signature.outputs)]
    assert kinds == [("image", "binary"), ("label", "string"), ("score", "double")]
    told = json.loads((version / "artifacts" / "task.json").read_text())
    assert [one["name"] for one in told["labels"]] == list(SHAPES)
    card = (version / "model_card.md").read_text()
    assert "An image is the bytes of a .npy file. Labels: `disc`, `bars`, `plain`." in card
    assert "not calibrated" in card

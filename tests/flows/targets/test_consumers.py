"""What the registry tells a consumer of targets that a version serves, and of others."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file

from flows.night.nightly import run_night
from flows.steps.registered_models import UNJUDGED
from flows.targets.decisions import approve
from flows.workspace.settings import Settings
from flows.workspace.stores import open_registry, open_stores
from tests.flows.conftest import TARGET
from tests.lake_rows import read_rows_of

NEW = """
  - {name: site-x, source: site_a, base: pico, k: 2, strategies: [average],
     library: {recipe: lora4}}
gate:"""


def models(settings: Settings) -> dict[str, Any]:
    return open_registry(settings).models()


def test_every_registered_model_says_what_it_is(finished_night: Settings) -> None:
    found = models(finished_night)
    assert set(found) == {TARGET, "rpe-base-pico", "rpe-adapter-site_a", "rpe-adapter-site_b"}
    assert all(model.description for model in found.values())
    told = found[TARGET].description
    for part in (
        "text-classification",
        "column `text` in",
        "`label`",
        f"models:/{TARGET}@champion",
    ):
        assert part in told
    registry = open_registry(finished_night)
    for name in found:
        for version in registry.versions(name):
            assert version.description


def test_a_model_without_a_champion_says_why_until_one_serves(
    night_copy: Settings, rpe: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    why = models(night_copy)[TARGET].tags["rpe.no_champion"]
    assert why.startswith("A challenger waits for approval: Wins against base")
    assert rpe("lineage", f"models:/{TARGET}@champion") == 1
    told = capsys.readouterr().err
    assert "A challenger waits for approval" in told
    assert "`rpe predict` asks the base" in told
    assert rpe("predict", TARGET, "--text", "red flat a") == 0
    assert "A challenger waits for approval" in capsys.readouterr().err
    approve(night_copy, TARGET, actor="jane.roe")
    assert "rpe.no_champion" not in models(night_copy)[TARGET].tags


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_target_that_never_was_judged_has_a_model_that_says_so(
    night_copy: Settings,
) -> None:
    plan = night_copy.plan_file.read_text()
    recipe = "recipes:\n  lora4: {method: lora, r: 4, alpha: 4, target_modules: [query], epochs: 1,"
    recipe += " learning_rate: 1.0e-3, batch_size: 16, seed: 0}"
    plan = plan.replace("recipes:", recipe).replace("\ngate:", NEW)
    night_copy.plan_file.write_text(plan)
    assert run_night(night_copy, only=("promote",)).faults == ()
    model = models(night_copy)["site-x"]
    assert model.tags == {"rpe.no_champion": UNJUDGED}
    assert "models:/site-x@champion" in model.description
    registry = open_registry(night_copy)
    registry.describe("site-x", "What a person wrote.")
    assert run_night(night_copy, only=("promote",)).outcome == "unchanged"
    assert models(night_copy)["site-x"].description == "What a person wrote."
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(night_copy.tracking)
    try:
        with pytest.raises(MlflowException, match="alias champion not found"):
            mlflow.pyfunc.load_model("models:/site-x@champion")
    finally:
        mlflow.set_tracking_uri(before)


def test_ensemble_json_is_what_the_lake_says_and_sums_up_to_what_serves(
    finished_night: Settings,
) -> None:
    (row,) = read_rows_of(
        finished_night, "FROM core.model_versions WHERE kind = 'ensemble' AND model_name = 'site-d'"
    )
    stores = open_stores(finished_night)
    with closing(stores.lake):
        version = stores.registry.versions(TARGET)[0]
        told = json.loads(stores.registry.read(version.ref, "artifacts/ensemble.json"))
        members = stores.lake.rows(
            "SELECT adapter_id, weight, weights_sha256, artifact_sha256 FROM core.ensemble_members"
            " JOIN core.adapters USING (adapter_id) WHERE ensemble_id = ? ORDER BY adapter_id",
            [row["record_id"]],
        )
        folders = [stores.artifacts.folder(m["artifact_sha256"]) for m in members]
    assert told["served_sha256"] == row["served_sha256"] == version.tags["rpe.served_sha256"]
    (name,) = {
        r["served_name"]
        for r in read_rows_of(
            finished_night, "FROM mart.adapter_lineage WHERE model_name = 'site-d'"
        )
    }
    assert told["served_name"] == name == version.tags["rpe.served_name"]
    assert [(m["adapter_id"], m["weight"], m["weights_sha256"]) for m in told["members"]] == [
        (m["adapter_id"], m["weight"], m["weights_sha256"]) for m in members
    ]
    adapter = Path(version.source) / "artifacts" / "adapter" / "adapter_model.safetensors"
    merged = load_file(adapter)
    for name in [n for n in merged if "lora_A" in n]:
        expected = 0.0
        for member, folder in zip(told["members"], folders, strict=True):
            own = load_file(folder / "adapter_model.safetensors")
            delta = own[name.replace("lora_A", "lora_B")].double() @ own[name].double()
            expected = expected + member["weight"] * member["scale"] * delta
        found = merged[name.replace("lora_A", "lora_B")].double() @ merged[name].double()
        assert float((found - expected).norm() / expected.norm()) < 1e-6


def test_a_served_folder_is_filed_by_whoever_gets_it(
    night_copy: Settings, rpe: Callable[..., int], tmp_path: Path
) -> None:
    """The adapter folder of a version, ensemble.json beside it, as the config was in the store."""
    version = open_registry(night_copy).versions(TARGET)[0]
    folder = tmp_path / "lab"
    shutil.copytree(Path(version.source) / "artifacts" / "adapter", folder)
    shutil.copyfile(Path(version.source) / "artifacts" / "ensemble.json", folder / "ensemble.json")
    told = json.loads((folder / "adapter_config.json").read_text())
    assert told["auto_mapping"] == {
        "base_model_class": "AutoModel",
        "parent_library": "transformers",
    }
    (tmp_path / "inputs.txt").write_text("red flat a\nthe scan image shows\n")
    imported = rpe(
        "adapters", "import", str(folder), "--base", "pico", "--source", "lab", "--license", "mit",
        "--task-of", "site_a", "--sample", str(tmp_path / "inputs.txt"),
    )  # fmt: skip
    assert imported == 0
    rows = read_rows_of(night_copy, "FROM core.adapters WHERE source = 'lab'")
    assert [row["weights_sha256"] for row in rows] == [version.tags["rpe.weights_sha256"]]
    stores = open_stores(night_copy)
    with closing(stores.lake):
        kept = stores.artifacts.folder(rows[0]["artifact_sha256"]) / "adapter_config.json"
    assert json.loads(kept.read_text())["auto_mapping"] is None
    (own,) = read_rows_of(night_copy, "FROM core.adapters WHERE source = 'site_a'")
    assert rpe("adapters", "export", own["adapter_id"], "--out", str(tmp_path / "bundle")) == 0
    config = json.loads((tmp_path / "bundle" / "adapter" / "adapter_config.json").read_text())
    assert config["auto_mapping"] == told["auto_mapping"]

"""A version that answers with masks: its files, and its model.py where nothing of ours is."""

import io
import json
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.models import Model

from catalog.records.model_card import ensemble_card
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.registry.model_code import ServedParts, write_served_model
from catalog.stores.registry.model_versions import ModelVersionRef, RegisteredBase
from rpe_core.delta import LowRankDelta
from rpe_core.families import attachment, sam
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.records import BaseModel, TaskSpec
from tests.catalog.models import ensemble_facts
from tests.pico import pico_cases, pico_sam

REPOSITORY = Path(__file__).parents[4]
TASK = TaskSpec("image-segmentation", "scan", "outline", classes=("core", "rim"),
                window=(0.0, 1000.0), transforms=("flip_rows",))  # fmt: skip
# MLflow's own part, the fetching of the base, is left to the tests of the registry
CONSUMER = """
import sys, types, pandas
from pathlib import Path
version, base, image, answer = sys.argv[-4:]
module = types.ModuleType("served")
sys.modules["served"] = module
exec(compile(Path(version, "model.py").read_text(), "model.py", "exec"), module.__dict__)
module.fetch_base = lambda told: Path(base)
artifacts = {name: f"{version}/artifacts/{file}" for name, file in
             {"task": "task.json", "base": "base.json", "adapter": "adapter"}.items()}
model = module.ServedModel()
model.load_context(types.SimpleNamespace(artifacts=artifacts, model_config={"batch_size": 2}))
frame = pandas.DataFrame({"scan": [Path(image).read_bytes()]}, index=[7])
found = model.predict(None, frame)
Path(answer).write_bytes(found.loc[7, "mask"])
"""
ALONE = """
import sys
sys.path = [p for p in sys.path if "site-packages" in p or not p.startswith(sys.argv[1])]
for name in ("flows", "catalog", "rpe_core", "scipy"):
    sys.modules[name] = None  # an import of it fails
"""


def served(place):
    """A version with an adapter that trained its decoder, its base, and an image."""
    base_folder = pico_sam(place / "base")
    state = sam.load(str(base_folder)).model.mask_decoder.state_dict()
    rng = torch.Generator().manual_seed(0)
    noise = {f"mask_decoder.{name}": t + 0.1 * torch.randn(t.shape, generator=rng)
             for name, t in state.items()}  # fmt: skip
    delta = LowRankDelta(torch.randn(2, 32, generator=rng), torch.randn(96, 2, generator=rng), 0.1)
    write_adapter(
        place / "adapter",
        {"vision_encoder.layers.1.attn.qkv": delta},
        base_name="pico",
        task_type=None,
        whole=noise,
        modules_to_save=("mask_decoder",),
    )
    digest = Artifacts.hash_files(sorted(base_folder.iterdir()))
    base = BaseModel("pico", "sam", str(base_folder), "main", "float32", 0, digest)
    card = ensemble_card(ensemble_facts("organs", []), base, TASK)
    registered = RegisteredBase(ModelVersionRef("rpe-base-pico", "1"))
    parts = ServedParts(base, registered, TASK, place / "adapter", card)
    write_served_model(place / "version", parts)
    image = pico_cases(np.random.default_rng(0), 1)[0][0]
    np.save(place / "image.npy", image)
    return place / "version", image


@pytest.mark.parametrize("is_alone", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_model_code_answers_as_the_platform_does(tmp_path, monkeypatch, is_alone):
    version, image = served(tmp_path)
    files = [str(tmp_path / name) for name in ("version", "base", "image.npy", "out")]
    if is_alone:
        subprocess.run(
            [sys.executable, "-I", "-c", ALONE + CONSUMER, str(REPOSITORY), *files],
            cwd=tmp_path,
            env={"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            check=True,
        )
    else:
        monkeypatch.setattr(sys, "argv", ["consumer", *files])
        monkeypatch.setitem(sys.modules, "served", None)  # taken out again afterwards
        exec(CONSUMER, {})
    base = sam.load(str(tmp_path / "base"))
    task = sam.prepare(base, TASK.declared)
    frozen = sam.predict(base, task, [image])[0]
    attachment.attach(base, str(version / "artifacts" / "adapter"))
    expected = sam.predict(base, task, [image])[0]
    found = np.load(tmp_path / "out", allow_pickle=False)
    np.testing.assert_array_equal(found, expected)
    assert (found != frozen).any(), "the adapter must matter for this test to tell"


def test_a_version_says_that_images_and_masks_are_bytes(tmp_path):
    version, _ = served(tmp_path)
    model = Model.load(str(version))
    kinds = [(c.name, c.type.name) for c in (*model.signature.inputs, *model.signature.outputs)]
    assert kinds == [("scan", "binary"), ("mask", "binary")]
    example = model.load_input_example(str(version))
    assert np.load(io.BytesIO(example["scan"][0])).shape == (8, 8)
    assert mlflow.models.utils._enforce_schema(example, model.signature.inputs) is not None
    told = json.loads((version / "artifacts" / "task.json").read_text())
    assert told["classes"] == ["core", "rim"]
    assert (told["max_tokens"], told["window"]) == (0, [0.0, 1000.0])
    card = (version / "model_card.md").read_text()
    assert "0 for background, 1 `core`, 2 `rim`" in card
    assert "tokens" not in card

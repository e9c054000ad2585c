"""A workspace of many targets on the pico encoder: what the night's own overhead is measured on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from catalog.records import registration
from catalog.records.registration import AdapterCard
from flows.runs.run_record import open_run
from flows.steps.train import register_base_of
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.delta import LowRankDelta
from rpe_core.fingerprint import fingerprint, make_id
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.records import Representation
from rpe_core.representation import mean_feature
from tests.pico import pico_encoder, pico_texts
from tests.pico_world import write_contract, write_rows

WIDTH, LAYERS, RANK = 32, 2, 4
ROWS = 60  # of each target
STRATEGIES = ("similarity", "linear_l1")
PLAN = """\
bases:
  pico: {{family: text-encoder, model: "{base}", max_tokens: 32}}
recipes:
  lora4: {{method: lora, r: 4, alpha: 8, target_modules: [query, value], epochs: 1,
          learning_rate: 5.0e-3, batch_size: 16, seed: 0}}
references:
  - {{sources: [site_a], base: pico, recipe: lora4}}
targets:
{targets}
gate: {{min_items: 10}}
"""


def make_night_world(root: Path, *, n_targets: int, n_adapters: int) -> Settings:
    """Write base, data, contracts and plan, and file `n_adapters` generated adapters."""
    home = root / "home"
    base, data = pico_encoder(root / "base"), root / "data"
    data.mkdir(parents=True)
    (home / "sources").mkdir(parents=True)
    names = [f"site_{number:04d}" for number in range(n_targets)]
    for number, source in enumerate(("site_a", *names)):
        write_rows(data / f"{source}.jsonl", source, seed=number, n=ROWS)
        write_contract(home / "sources", data, source)
    lines = [
        f"  - {{name: target-{name[5:]}, source: {name}, base: pico, k: 8,"
        f" strategies: {json.dumps(STRATEGIES)}}}"
        for name in names
    ]
    (home / "plan.yaml").write_text(PLAN.format(base=base, targets="\n".join(lines)))
    settings = Settings(home=home)
    _file_adapters(settings, root / "adapters", n_adapters)
    return settings


def _file_adapters(settings: Settings, folder: Path, n: int) -> None:
    folder.mkdir()
    declared = load_declarations(settings)
    stores = open_stores(settings)
    workspace = Workspace(
        settings, declared.plan, declared.contracts, stores, open_run("benchmark")
    )
    register_base_of(workspace, "pico")
    for number in range(n):
        _file_adapter(workspace, folder / f"{number:04d}", number)
    stores.lake.close()


def _file_adapter(workspace: Workspace, folder: Path, number: int) -> None:
    source = f"donor_{number:04d}"
    rng = np.random.default_rng(number)
    texts, _ = pico_texts(rng, 50, source)
    family, base = workspace.family("pico"), workspace.bases["pico"]
    mean = mean_feature(family.encode(workspace.loaded("pico"), texts))
    sha256 = fingerprint(source)
    representation = Representation(
        make_id("representation", source, sha256),
        make_id("dataset", source, sha256),
        workspace.encoder("pico"),
        "reference",
        mean.n,
        tuple(mean.mean.tolist()),
        tuple(mean.variance.tolist()),
    )
    registration.keep_representations(workspace.stores, [representation], run=workspace.run)
    weights = write_adapter(folder, _deltas(number), base_name="pico", task_type=None)
    card = AdapterCard(
        adapter_id=make_id("adapter", source, sha256),
        source=source,
        dataset_version_id=representation.dataset_version_id,
        base=base,
        task=workspace.contracts["site_a"].task_spec,
        recipe_id=workspace.plan.recipe("lora4").recipe_id,
        recipe={},
        representation_id=representation.representation_id,
        license="CC0-1.0",
        weights_sha256=weights,
        rank=RANK,
        n_parameters=0,
        n_steps=0,
        validation_score=None,
        threads=1,
    )
    registration.register_adapter(workspace.stores, card, folder, run=workspace.run)


def _deltas(number: int) -> dict[str, LowRankDelta]:
    generator = torch.Generator().manual_seed(number)
    modules = [
        f"encoder.layer.{layer}.attention.self.{name}"
        for layer in range(LAYERS)
        for name in ("query", "value")
    ]
    return {
        module: LowRankDelta(
            0.1 * torch.randn(RANK, WIDTH, generator=generator),
            0.1 * torch.randn(WIDTH, RANK, generator=generator),
        )
        for module in modules
    }

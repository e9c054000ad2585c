"""Pico models to register: a base with its files, random adapters, the values of their cards."""

from pathlib import Path

import torch

from catalog.records.cards import AdapterCard
from catalog.records.model_card import EnsembleFacts, MemberLine, ScoreLine
from catalog.stores.artifacts.artifacts import Artifacts
from rpe_core.delta import LowRankDelta
from rpe_core.fingerprint import make_id
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.records import BaseModel, TaskSpec
from tests.pico import LABELS, pico_encoder

TASK = TaskSpec("text-classification", "question", "kind", dict(LABELS))
TEXTS = ["drug tablet dose", "gene infection cause of pain", "the scan image shows", "red flat a"]
WIDTH, RANK = 32, 4


def pico_base(folder: Path) -> tuple[BaseModel, list[Path]]:
    """A pico encoder with the hash of its files."""
    files = sorted(path for path in pico_encoder(folder).iterdir() if path.is_file())
    digest = Artifacts.hash_files(files)
    base = BaseModel("pico", "text-encoder", str(folder), "main", "float32", 32, digest)
    return base, files


def pico_adapter(folder: Path, *, seed: int, base_id: str) -> str:
    """A random adapter on query and value of both layers; returns the sha256 of its weights."""
    rng = torch.Generator().manual_seed(seed)
    deltas = {
        f"encoder.layer.{layer}.attention.self.{module}": LowRankDelta(
            torch.randn(RANK, WIDTH, generator=rng), torch.randn(WIDTH, RANK, generator=rng), 0.2
        )
        for layer in range(2)
        for module in ("query", "value")
    }
    return write_adapter(folder, deltas, base_name=base_id, task_type=None)


def adapter_card(base: BaseModel, *, source: str, seed: int, weights_sha256: str) -> AdapterCard:
    """The card of a pico adapter; equal seeds, equal ids."""
    sha = f"{seed:064x}"[::-1]
    return AdapterCard(
        adapter_id=make_id("adapter", source, sha),
        source=source,
        dataset_version_id=make_id("dataset", source, sha),
        base=base,
        task=TASK,
        recipe_id="recipe000001",
        recipe={"method": "lora", "r": RANK},
        representation_id=make_id("representation", source, sha),
        license="internal",
        weights_sha256=weights_sha256,
        rank=RANK,
        n_parameters=4 * 2 * RANK * WIDTH,
        n_steps=3,
        validation_score=0.75,
        threads=1,
        versions={"torch": "2"},
    )


def ensemble_facts(target: str, members: list[tuple[AdapterCard, float]]) -> EnsembleFacts:
    """An ensemble of these members, as its model card tells it."""
    return EnsembleFacts(
        make_id("ensemble", target, "e" * 64),
        target,
        make_id("dataset", "site_t", "d" * 64),
        "linear",
        "concat",
        "labels",
        "internal",
        "",
        RANK * len(members),
        tuple(
            MemberLine(c.adapter_id, c.dataset_version_id, w, 0.5, c.license, c.weights_sha256)
            for c, w in members
        ),
        (ScoreLine("base", "test", "accuracy", 0.5, 0.4, 0.6, 100),),
    )

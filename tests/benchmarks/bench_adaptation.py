"""Adaptation of one new target against fine-tuning the same adapter on its 2,000 training rows.

Ours: encode a 500-row sample, state the error of z, search LoRA-VecDB, weigh, merge eight adapters
of the same shape, save. Theirs: PEFT and the Hugging Face Trainer, 3 epochs. The base is loaded
before either is timed; both have the same threads. Fine-tuning is timed over one epoch of three.
"""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catalog.stores.vectors.vectors import Vectors
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.ensemble import draft_ensemble
from rpe_core.families import text_encoder
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.records import Representation, StrategySpec
from rpe_core.representation import MeanFeature, mean_feature
from rpe_core.weighting.calibration import LibraryCalibration, calibrate_library
from rpe_core.weighting.guards import check_domain
from tests.benchmarks.peer_training import encoder, sft
from tests.benchmarks.texts import answers, minilm

RECIPE = Recipe("lora", 8, 16.0, 3, 2e-3, 32, seed=0, target_modules=("query", "value"))
MAX_TOKENS = 96
N_ROWS, N_SAMPLE = 2_000, 500
TIMED_EPOCHS = 1
N_LIBRARY, K, LAYERS, WIDTH = 1_000, 8, 6, 384
ENCODER = "encoder:bench@0123456789ab"
RUNS = 5


def row_adaptation(workdir: Path) -> list[dict[str, Any]]:
    """Two ratios of one run: with the embedding of the sample, and without."""
    (texts, labels), origin = answers(N_ROWS, of="gard")
    base = text_encoder.load(minilm(), max_tokens=MAX_TOKENS)
    names = list(dict.fromkeys(labels))
    task = text_encoder.prepare(base, {"labels": {name: name for name in names}})
    text_encoder.sizes(base, texts[:32])
    embedding, z = _embedded(base, texts[:N_SAMPLE])
    vectors, calibration, folders = _library(workdir, z)
    rest = _timed_rest(workdir, vectors, calibration, folders, z)
    truth = [names.index(label) for label in labels]
    whole, epoch = _fine_tuned(task.anchors, (texts, truth), workdir / "sft")
    error = float(np.sqrt(z.variance.sum() / (z.n - 1)) / np.linalg.norm(z.mean))
    extra = {
        "texts": origin,
        "threads": torch.get_num_threads(),
        "embedding_seconds": embedding,
        "rest_seconds": rest,
        "timed_sft_seconds": epoch,
        "timed_sft_share": f"{TIMED_EPOCHS} of {RECIPE.epochs} epochs, scaled",
        "standard_error_of_z_to_its_norm_ratio": error,
        "library": N_LIBRARY,
        "k": K,
    }
    peer = f"PEFT and Trainer, {N_ROWS:,} rows, {TIMED_EPOCHS} of {RECIPE.epochs} epochs scaled"
    sample = f"{N_SAMPLE}-row sample, z to {error:.1%} of its norm"
    return [
        _row(f"adaptation of a new target, {sample}", peer, embedding + rest, whole, 25, extra),
        _row("adaptation of a new target, z given", peer, rest, whole, 500, extra),
    ]


def _row(
    work: str, peer: str, ours: float, theirs: float, target: int, extra: dict[str, Any]
) -> dict[str, Any]:
    return {
        "work": work,
        "peer": peer,
        "ours_seconds": ours,
        "peer_seconds": theirs,
        "ratio": theirs / ours,
        "target": f">= {target}",
        "extra": extra,
    }


def _embedded(base: Any, texts: list[str]) -> tuple[float, MeanFeature]:
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        z = mean_feature(text_encoder.encode(base, texts))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), z


def _library(workdir: Path, z: MeanFeature) -> tuple[Vectors, LibraryCalibration, dict[str, Path]]:
    """References around the target, and a folder for each adapter that may be a member."""
    rng = np.random.default_rng(0)
    around = z.mean + rng.normal(size=(N_LIBRARY, WIDTH)) * np.linalg.norm(z.mean) / WIDTH
    vectors = Vectors.open(str(workdir / "vectors"), lock_path=workdir / "writer.lock")
    ids = [f"{number:012d}" for number in range(N_LIBRARY)]
    vectors.put_many(
        [
            (
                Representation(
                    f"representation:s@{i}", f"dataset:s@{i}", ENCODER, "reference", 500,
                    tuple(row.tolist()), tuple(z.variance.tolist()),
                ),
                f"adapter:s@{i}",
            )
            for i, row in zip(ids, around, strict=True)
        ]
    )  # fmt: skip
    library = vectors.library(ENCODER, allow=[f"adapter:s@{i}" for i in ids])
    folders = {}
    for candidate in library.search(z.mean, k=K):
        folder = workdir / candidate.adapter_id[-12:]
        write_adapter(folder, _deltas(len(folders)), base_name="minilm", task_type=None)
        folders[candidate.adapter_id] = folder
    return vectors, calibrate_library(around, [f"source_{i}" for i in ids]), folders


def _deltas(seed: int) -> dict[str, LowRankDelta]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"encoder.layer.{layer}.attention.self.{name}": LowRankDelta(
            torch.randn(RECIPE.r, WIDTH, generator=generator) / WIDTH**0.5,
            torch.randn(WIDTH, RECIPE.r, generator=generator) / WIDTH**0.5,
        )
        for layer in range(LAYERS)
        for name in RECIPE.target_modules
    }


def _timed_rest(
    workdir: Path,
    vectors: Vectors,
    calibration: LibraryCalibration,
    folders: dict[str, Path],
    z: MeanFeature,
) -> float:
    """Search, weigh, merge, save: the median of several runs, each into a new folder."""
    allow = [f"adapter:s@{number:012d}" for number in range(N_LIBRARY)]
    strategy = StrategySpec("linear_l1", "linear_l1")
    seconds = []
    for run in range(RUNS):
        start = time.perf_counter()
        candidates = vectors.library(ENCODER, allow=allow).search(z.mean, k=K)
        domain = check_domain(candidates[0].distance, calibration)
        draft = draft_ensemble(z.mean, candidates, strategy, domain=domain)
        members = [(folders[m.adapter_id], m.weight) for m in draft.members if m.weight]
        report = merge(members, workdir / f"merged_{run}")
        seconds.append(time.perf_counter() - start)
        assert report.weights_sha256
        shutil.rmtree(workdir / f"merged_{run}")
    return statistics.median(seconds)


def _fine_tuned(
    anchors: torch.Tensor, rows: tuple[list[str], list[int]], out: Path
) -> tuple[float, float]:
    """Seconds of all epochs and of those timed: rows in a random order, batches padded."""
    model = encoder(minilm(), RECIPE, anchors)
    orders = [
        np.random.default_rng((0, e)).permutation(N_ROWS).tolist() for e in range(TIMED_EPOCHS)
    ]
    n_steps = RECIPE.epochs * -(-N_ROWS // RECIPE.batch_size)
    start = time.perf_counter()
    sft(model, minilm(), rows, RECIPE, orders, max_tokens=MAX_TOKENS, n_steps=n_steps, out=out)
    seconds = time.perf_counter() - start
    return seconds * RECIPE.epochs / TIMED_EPOCHS, seconds

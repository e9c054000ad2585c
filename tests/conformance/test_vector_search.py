"""LanceDB search must equal rpe_core.retrieval.nearest_references: order, distances, ties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalog.stores.vectors import Vectors
from rpe_core.records import Representation
from rpe_core.retrieval import nearest_references

ENCODER = "encoder:pico@0123456789ab"


def fill(home: Path, references: np.ndarray) -> tuple[Vectors, list[str]]:
    """A store with one adapter per row; ids sort like the rows."""
    store = Vectors.open(str(home / "vectors"), lock_path=home / "writer.lock")
    names = [f"adapter:s@{i:012d}" for i in range(len(references))]
    for name, z in zip(names, references, strict=True):
        representation = Representation(
            f"representation:{name}", f"dataset:{name}", ENCODER, "reference", 3,
            tuple(z.tolist()), tuple(np.zeros_like(z).tolist()),
        )  # fmt: skip
        store.put(representation, adapter_id=name)
    return store, names


def agree(store: Vectors, names: list[str], target: np.ndarray, references: np.ndarray) -> None:
    for k in (1, 3, len(names), len(names) + 5):
        indices, distances = nearest_references(target, references, k=k)
        found = store.search(target, encoder_id=ENCODER, k=k, allow=names)
        assert [c.adapter_id for c in found] == [names[i] for i in indices]
        np.testing.assert_allclose([c.distance for c in found], distances, rtol=1e-12, atol=0)
        np.testing.assert_array_equal([c.z for c in found], references[indices])


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1e6, 1e-3), (0.0, 1e-12), (0.0, 1e150)])
def test_search_is_exact_at_every_scale(tmp_path: Path, offset: float, scale: float) -> None:
    # an offset far above the spread is what single precision cannot resolve
    rng = np.random.default_rng(1)
    references = offset + scale * rng.normal(size=(60, 16))
    store, names = fill(tmp_path, references)
    for _ in range(3):
        agree(store, names, offset + scale * rng.normal(size=16), references)


def test_ties_are_ordered_like_the_oracle(tmp_path: Path) -> None:
    # more equal vectors than a preselection holds
    references = np.concatenate([np.ones((50, 4)), np.zeros((3, 4)), np.ones((20, 4))])
    store, names = fill(tmp_path, references)
    agree(store, names, np.zeros(4), references)
    agree(store, names, np.ones(4), references)


def test_distances_a_float_cannot_tell_apart_are_told_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    direction = rng.normal(size=8)
    direction /= np.linalg.norm(direction)
    steps = rng.permutation(60)
    references = (1.0 + 1e-10 * steps)[:, None] * direction
    store, names = fill(tmp_path, references)
    agree(store, names, np.zeros(8), references)


def test_hidden_adapters_do_not_crowd_out_visible_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    references = rng.normal(size=(80, 6))
    store, names = fill(tmp_path, references)
    target = rng.normal(size=6)
    order, _ = nearest_references(target, references, k=80)
    visible = sorted(order[60:].tolist())
    indices, _ = nearest_references(target, references[visible], k=5)
    found = store.search(target, encoder_id=ENCODER, k=5, allow=[names[i] for i in visible])
    assert [c.adapter_id for c in found] == [names[visible[i]] for i in indices]

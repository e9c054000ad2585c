"""Left out: a reference retrieves what a target at its place would, without its own source."""

import numpy as np
import pytest

from rpe_core.records import Candidate
from rpe_core.retrieval.left_out import nearest_to_reference


def library(rng: np.random.Generator, n: int) -> list[Candidate]:
    """References of three sources, each with the distance to some target as retrieval told it."""
    return [
        Candidate(f"adapter-{i:02d}", f"source-{i % 3}", "version", float(i), tuple(z))
        for i, z in enumerate(rng.normal(size=(n, 5)))
    ]


def test_the_nearest_are_those_of_brute_force_with_distances_of_their_own() -> None:
    references = library(np.random.default_rng(0), 30)
    reference = references[7]
    others = [c for c in references if c.source != reference.source]
    far = np.linalg.norm(np.array([c.z for c in others]) - np.array(reference.z), axis=1)
    found = nearest_to_reference(reference, references, k=4)
    assert [c.adapter_id for c in found] == [others[i].adapter_id for i in np.argsort(far)[:4]]
    assert [c.distance for c in found] == pytest.approx(np.sort(far)[:4])
    assert all(c.z == references[int(c.adapter_id[-2:])].z for c in found)


def test_equal_distances_are_told_by_adapter_id() -> None:
    places = {"b": 1.0, "a": -1.0, "c": 2.0}
    references = [Candidate(name, name, "", 0.0, (z,)) for name, z in places.items()]
    reference = Candidate("r", "r", "", 0.0, (0.0,))
    found = nearest_to_reference(reference, references, k=3)
    assert [c.adapter_id for c in found] == ["a", "b", "c"]


def test_a_library_of_one_source_holds_nobody_else() -> None:
    references = [Candidate(name, "one", "", 0.0, (1.0,)) for name in "ab"]
    assert nearest_to_reference(references[0], references, k=2) == []

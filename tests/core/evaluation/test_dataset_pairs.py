"""Dataset pairs: every dataset as target and as reference, and never its own neighbour."""

import numpy as np
import pytest

from rpe_core.distance import mean_distance, nearest_neighbour_distance
from rpe_core.errors import ShapeMismatch
from rpe_core.evaluation.dataset_pairs import distance_matrix, nearest_others


def features(seed: int, n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(loc=rng.normal(), size=(6, 3)) for _ in range(n)]


def test_a_row_is_a_target_and_a_column_a_reference() -> None:
    sets = features(0, 4)
    found = distance_matrix(sets, nearest_neighbour_distance)
    assert found[1, 2] == nearest_neighbour_distance(sets[1], sets[2])
    assert found[2, 1] == nearest_neighbour_distance(sets[2], sets[1])
    assert found[1, 2] != found[2, 1], "else it would not tell rows from columns"
    assert (np.diag(found) == 0.0).all()


def test_equal_datasets_are_measured_and_a_dataset_is_not_measured_against_itself() -> None:
    asked: list[tuple[int, int]] = []
    same = np.ones((2, 3))

    def measure(a: np.ndarray, b: np.ndarray) -> float:
        asked.append((len(a), len(b)))
        return mean_distance(a, b)

    assert (distance_matrix([same, same], measure) == 0.0).all()
    assert len(asked) == 2


def test_the_nearest_other_is_found_for_each_and_the_first_of_equals() -> None:
    found = distance_matrix(features(1, 6), mean_distance)
    expected = [min((j for j in range(6) if j != i), key=lambda j: found[i, j]) for i in range(6)]
    assert nearest_others(found) == expected
    assert nearest_others(np.ones((3, 3))) == [1, 0, 0]


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (0, 0)])
def test_without_another_dataset_none_is_nearest(shape: tuple[int, int]) -> None:
    with pytest.raises(ShapeMismatch):
        nearest_others(np.zeros(shape))

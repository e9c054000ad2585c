import numpy as np
import pytest

from rpe_core.errors import InputError
from rpe_core.retrieval.exact import nearest_references


def test_the_nearest_come_first_with_euclidean_distances():
    references = np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    indices, distances = nearest_references(np.zeros(2), references, k=2)
    assert indices.tolist() == [2, 1]
    assert distances.tolist() == [0.0, 1.0]


def test_equal_distances_are_ordered_by_index():
    references = np.array([[1.0], [-1.0], [1.0], [-1.0], [0.5]])
    indices, _ = nearest_references(np.zeros(1), references, k=4)
    assert indices.tolist() == [4, 0, 1, 2]


def test_asking_for_more_than_there_are_gives_all():
    indices, distances = nearest_references(np.zeros(1), np.array([[2.0], [1.0]]), k=10)
    assert indices.tolist() == [1, 0]
    assert len(distances) == 2


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k):
    with pytest.raises(InputError, match="k must"):
        nearest_references(np.zeros(1), np.zeros((1, 1)), k=k)

"""A night that is cut off after any call on a store ends, started again, as an undisturbed one."""

from pathlib import Path

import pytest

from tests.kill_matrix import World, told, try_copies

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path, prefect_api: str) -> World:
    return World(tmp_path, {"PREFECT_API_URL": prefect_api, "OMP_NUM_THREADS": "1"})


def test_every_tenth_call(world: World) -> None:
    n_tried, n_survived = told(try_copies(world, every=10))
    assert n_survived == n_tried >= 5


def test_every_call(world: World) -> None:
    n_tried, n_survived = told(try_copies(world))
    assert n_survived == n_tried >= 50

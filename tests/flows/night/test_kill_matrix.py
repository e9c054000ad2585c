"""What is cut off after any call on a store ends, started again, as an undisturbed one."""

from pathlib import Path

import pytest

from tests.kill_matrix import World, told, try_copies
from tests.kill_operations import NIGHT, OPERATIONS

pytestmark = pytest.mark.slow
# every so many calls, so that each operation is cut off once or twice
FEW = {"import": 17, "backup": 60, "migration": 16, "repair": 9, "repair-of-a-lost-registry": 17}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> World:
    environment = {"PREFECT_API_URL": prefect_api, "OMP_NUM_THREADS": "1"}
    return World(tmp_path_factory.mktemp("kills"), environment)


@pytest.mark.ci_slow
def test_some_calls_of_a_night(world: World) -> None:
    """The undisturbed night is that from which the operations begin."""
    n_tried, n_survived = told(try_copies(world, every=20))
    assert n_survived == n_tried >= 3


@pytest.mark.ci_slow
@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - {NIGHT.name}))
def test_some_calls_of_an_operation_after_a_night(world: World, name: str) -> None:
    n_tried, n_survived = told(try_copies(world, OPERATIONS[name], every=FEW[name]), name)
    assert n_survived == n_tried >= 1


def test_every_call(tmp_path: Path, world: World) -> None:
    n_tried, n_survived = told(try_copies(World(tmp_path, world.environment)))
    assert n_survived == n_tried >= 50

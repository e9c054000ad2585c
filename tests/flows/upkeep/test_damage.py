"""Damage on embedded stores, by the real commands: seen, said, mended or given to a backup."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.workspace.settings import Settings
from tests.damage import WAYS, Damaged, World, damage, make_world, try_damage
from tests.damage_files import FolderFiles
from tests.damage_table import CASES, mend, notice, passes_a_night


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[World]:
    with make_world(tmp_path_factory.mktemp("damage"), prefect_api) as made:
        yield made


@pytest.mark.slow
@pytest.mark.ci_slow
@pytest.mark.parametrize("name", CASES)
def test_a_row_of_the_table(world: World, name: str) -> None:
    case, home = CASES[name], world.copy(name.replace(" ", "-"))
    case.spoil(Settings(home=home), FolderFiles(home))
    look, hand, _ = world.workers
    assert notice(look, home, case) == []
    assert not Path("ran").exists(), "code that nobody kept was run"
    assert mend(hand, home, case) == []


@pytest.mark.slow
@pytest.mark.ci_slow
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.by_night])
def test_a_night_finds_what_serves_damaged(world: World, name: str) -> None:
    case, home = CASES[name], world.copy(f"{name.replace(' ', '-')}-night")
    case.spoil(Settings(home=home), FolderFiles(home))
    assert passes_a_night(world.workers[2], home, case) == []


@pytest.mark.slow
@pytest.mark.ci_slow
@pytest.mark.parametrize("seed", range(3))
def test_random_damage(world: World, seed: int) -> None:
    spoilt, *faults = try_damage(world, seed)
    assert faults == [], spoilt


def test_every_way_spoils(tmp_path: Path) -> None:
    for name, way in WAYS.items():
        folder = tmp_path / name / "store" / "folder"
        folder.mkdir(parents=True)
        for number in range(2):
            (folder / f"{number}.bin").write_bytes(bytes([number]) * 9)
        before = {path: path.read_bytes() for path in folder.iterdir()}
        way(random.Random(1), folder / "0.bin", folder)
        files = [path for path in tmp_path.joinpath(name).rglob("*") if path.is_file()]
        assert {path: path.read_bytes() for path in files} != before


def test_a_lock_that_is_no_file_must_be_noticed() -> None:
    for way in ("file_to_folder", "file_to_pipe"):
        spoilt = Damaged(0, "night.lock", way, "")
        assert (spoilt.stops, spoilt.free) == (True, "")
    assert Damaged(0, "night.lock", "empty", "").free


def test_equal_seeds_spoil_alike(tmp_path: Path) -> None:
    told = set()
    for number in range(2):
        home = tmp_path / str(number)
        for name in ("lake/data/a.parquet", "artifacts/x/b.bin", "mlflow.db"):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(name.encode())
        told.add(tuple(str(damage(home, seed)) for seed in range(3)))
    assert len(told) == 1

"""A night that is killed at any moment, then started again, ends as an undisturbed one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from flows.maintain import maintain
from flows.settings import Settings
from tests.end_state import end_state
from tests.pico_world import make_pico_workspace

pytestmark = pytest.mark.slow

NIGHT = [sys.executable, "-m", "flows.cli", "nightly", "--json"]


def start(settings: Settings) -> subprocess.Popen[bytes]:
    """A night in a process group of its own, with a Prefect server of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    return subprocess.Popen(
        NIGHT,
        env={**environment, "RPE_HOME": str(settings.root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(settings: Settings) -> dict:
    """A whole night; its JSON."""
    done = start(settings)
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err.decode()
    assert b"Traceback" not in err
    return json.loads(out)


def left_behind(settings: Settings) -> list[str]:
    """Processes of this workspace that are still there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RPE_HOME") == str(settings.root):
                found.append(" ".join(process.cmdline()))
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def gone(settings: Settings) -> bool:
    """Whether all processes of this workspace end within five seconds, none being asked to."""
    deadline = time.monotonic() + 5.0
    while left_behind(settings) and time.monotonic() < deadline:
        psutil.wait_procs([], timeout=0.05)
    return not left_behind(settings)


def kill_and_restart(root: Path, name: str, *, after: float, whole_group: bool) -> Settings:
    """Copy the fresh workspace, kill its night after some seconds, start it again to the end."""
    settings = Settings(home=root / name)
    shutil.copytree(root / "home", settings.root)
    night = start(settings)
    try:
        night.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        if whole_group:
            os.killpg(night.pid, signal.SIGKILL)
        else:
            night.kill()
        night.communicate()
    assert gone(settings), left_behind(settings)
    finish(settings)
    assert gone(settings), left_behind(settings)
    maintain(settings)
    return settings


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, float]:
    """A fresh workspace, the end state of its undisturbed night, and how long that took."""
    root = tmp_path_factory.mktemp("crash")
    make_pico_workspace(root)
    calm = Settings(home=root / "calm")
    shutil.copytree(root / "home", calm.root)
    began = time.monotonic()
    finish(calm)
    return root, end_state(calm), time.monotonic() - began


def test_killed_while_it_works(world: tuple[Path, dict, float]) -> None:
    root, calm, seconds = world
    settings = kill_and_restart(root, "one", after=0.6 * seconds, whole_group=False)
    assert end_state(settings) == calm


@pytest.mark.parametrize("number", range(10))
def test_killed_at_a_random_moment(world: tuple[Path, dict, float], number: int) -> None:
    root, calm, seconds = world
    after = float(np.random.default_rng(number).uniform(0.05, 1.0)) * seconds
    settings = kill_and_restart(root, f"kill{number}", after=after, whole_group=bool(number % 2))
    assert end_state(settings) == calm


def test_two_nights_at_once_one_runs_the_other_leaves(world: tuple[Path, dict, float]) -> None:
    root, calm, _ = world
    settings = Settings(home=root / "two")
    shutil.copytree(root / "home", settings.root)
    nights = [start(settings), start(settings)]
    readers = [
        subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "sql", "SELECT 1 AS one", "--json"],
            env={**os.environ, "RPE_HOME": str(root / "calm")},
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    ended = [(night.communicate(timeout=300)[1].decode(), night.returncode) for night in nights]
    assert sorted(code for _, code in ended) == [0, 1]
    assert any("Another run holds this workspace" in err for err, code in ended if code == 1)
    assert all(json.loads(reader.communicate()[0]) == [{"one": 1}] for reader in readers)
    assert end_state(settings) == calm

"""A night that is killed at any moment, then started again, ends as an undisturbed one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from flows.upkeep.maintain import maintain
from flows.workspace.settings import Settings
from tests.end_state import end_state
from tests.faults import KILL, KILL_GROUP
from tests.pico_world import make_pico_workspace

pytestmark = pytest.mark.slow

NIGHT = ("nightly", "--json")


def start(settings: Settings, *options: object) -> subprocess.Popen[bytes]:
    """A night in a process group of its own, with a Prefect server of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    program = ["tests.faults", *map(str, options), "--"] if options else ["flows.cli"]
    return subprocess.Popen(
        [sys.executable, "-m", *program, *NIGHT],
        env={**environment, "RPE_HOME": str(settings.root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(settings: Settings, *options: object) -> dict:
    """A whole night; its JSON."""
    done = start(settings, *options)
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


def kill_and_restart(root: Path, name: str, *options: object) -> Settings:
    """Copy the fresh workspace, kill its night at a call on a store, start it again to the end."""
    settings = Settings(home=root / name)
    shutil.copytree(root / "home", settings.root)
    night = start(settings, *options)
    _, err = night.communicate(timeout=300)
    assert night.returncode == -signal.SIGKILL, err.decode()
    assert gone(settings), left_behind(settings)
    finish(settings)
    assert gone(settings), left_behind(settings)
    maintain(settings)
    return settings


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, lay_prefect_tables: Callable[[Settings], None]
) -> tuple[Path, dict, int]:
    """A fresh workspace, the end state of its undisturbed night, and how many calls it made."""
    root = tmp_path_factory.mktemp("crash")
    lay_prefect_tables(make_pico_workspace(root))
    calm = Settings(home=root / "calm")
    shutil.copytree(root / "home", calm.root)
    finish(calm, "--log", root / "calls")
    n_calls = len((root / "calls").read_text().splitlines())
    return root, end_state(calm), n_calls


@pytest.mark.ci_slow
def test_killed_while_it_works(world: tuple[Path, dict, int]) -> None:
    """Its trainings and its server are not asked to end: they see that the night is gone."""
    root, calm, _ = world
    settings = kill_and_restart(root, "one", "--at", "process start", "--do", KILL)
    assert end_state(settings) == calm


@pytest.mark.parametrize("number", range(10))
def test_killed_after_a_random_call(world: tuple[Path, dict, int], number: int) -> None:
    root, calm, n_calls = world
    call = int(np.random.default_rng(number).integers(1, n_calls + 1))
    line = KILL_GROUP if number % 2 else KILL
    settings = kill_and_restart(root, f"kill{number}", "--at", call, "--do", line)
    assert end_state(settings) == calm


@pytest.mark.ci_slow
def test_two_nights_at_once_one_runs_the_other_leaves(world: tuple[Path, dict, int]) -> None:
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

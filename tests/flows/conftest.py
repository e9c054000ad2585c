"""Fixtures of the flow tests: one finished night a session, and `rpe` in this process."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import cli
from flows.night.nightly import run_night
from flows.workspace.settings import Settings
from tests.pico_world import make_pico_workspace

TARGET = "site-d"


@pytest.fixture(scope="session")
def finished_night(make_once: Callable[..., Path], prefect_api: str) -> Settings:
    """A workspace after one night, to be read only; `night_copy` is one to write to."""
    folder = make_once("finished", lambda root: _run_a_night(root, prefect_api))
    return Settings(home=folder / "home")


def _run_a_night(root: Path, prefect_api: str) -> None:
    """Its target has the name that the examples use, learns enough to win, waits for approval."""
    settings = make_pico_workspace(root)
    plan = settings.plan_file.read_text()
    plan = plan.replace("name: site-c", f"name: {TARGET}").replace("epochs: 1", "epochs: 6")
    plan = plan.replace("learning_rate: 5.0e-3", "learning_rate: 2.0e-2")
    plan = plan.replace("gate: {min_items: 20", "gate: {approval: required, min_items: 20")
    settings.plan_file.write_text(plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", prefect_api)
        patch.setenv("RPE_HOME", str(settings.root))
        summary = run_night(settings)
    assert summary.faults == ()


@pytest.fixture
def night_copy(
    finished_night: Settings, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A copy of the finished workspace to write to; its base and its data stay where they are."""
    return enter_copy(finished_night, tmp_path / "copy", prefect_api, monkeypatch)


def enter_copy(
    settings: Settings, root: Path, prefect_api: str, patch: pytest.MonkeyPatch
) -> Settings:
    """Copy a workspace and name the copy in the environment."""
    shutil.copytree(settings.root, root)
    patch.setenv("PREFECT_API_URL", prefect_api)
    patch.setenv("RPE_HOME", str(root))
    return Settings(home=root)


@pytest.fixture
def rpe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`rpe` in this process: arguments in, exit code out."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["rpe", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run

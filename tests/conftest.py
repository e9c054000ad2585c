"""Fixtures that several parts share: a pico workspace, one Prefect server a session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.server import prefect_server
from flows.settings import Settings
from tests.pico_world import make_pico_workspace


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Where the session's Prefect server keeps its records."""
    return Settings(home=tmp_path_factory.mktemp("prefect"))


@pytest.fixture(scope="session")
def prefect_api(prefect_home: Settings) -> Iterator[str]:
    """A real Prefect server for every night of the session."""
    with prefect_server(prefect_home) as url:
        yield url


@pytest.fixture
def pico_workspace(tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A workspace of its own with data and plan, nothing ingested yet."""
    settings = make_pico_workspace(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    monkeypatch.setenv("RPE_HOME", str(settings.root))
    return settings


@pytest.fixture(autouse=True)
def _no_foreign_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the workspace or the settings of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("RPE_")]:
        if name != "RPE_TEST_DATA":
            monkeypatch.delenv(name)

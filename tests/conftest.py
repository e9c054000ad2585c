"""Fixtures that several parts share: a pico workspace, one Prefect server a session."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from flows.runs.prefect_server import prefect_server
from flows.workspace.settings import Settings
from tests.pico_world import make_pico_workspace

# the tests on servers need the extras `servers` and `cluster`: `make test-cluster` brings them
collect_ignore = [] if find_spec("boto3") and find_spec("ray") else ["cluster"]
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file that needs the finished night comes first: no worker waits while another makes it."""
    needy = [item.path for item in items if "finished_night" in getattr(item, "fixturenames", ())]
    items.sort(key=lambda item: item.path not in needy[:1])


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a named folder for all workers of a test run: whichever asks first makes it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder = shared / name
        with FileLock(f"{folder}.lock"):
            if not (folder / "is_made").exists():
                fill(folder)
                (folder / "is_made").touch()
        return folder

    return make


@pytest.fixture(scope="session")
def lay_prefect_tables(make_once: Callable[..., Path]) -> Callable[[Settings], None]:
    """Gives a new workspace Prefect's tables: to migrate an empty database takes 14 s of CPU."""

    def migrate(folder: Path) -> None:
        settings = Settings(home=folder)
        with prefect_server(settings):
            pass
        with closing(sqlite3.connect(settings.prefect_home / "prefect.db")) as connection:
            connection.execute("VACUUM INTO ?", (str(folder / "migrated.db"),))

    def lay(settings: Settings) -> None:
        tables = make_once("prefect", migrate) / "migrated.db"
        settings.prefect_home.mkdir(parents=True)
        shutil.copyfile(tables, settings.prefect_home / "prefect.db")

    return lay


@pytest.fixture(scope="session")
def prefect_home(
    tmp_path_factory: pytest.TempPathFactory, lay_prefect_tables: Callable[[Settings], None]
) -> Settings:
    """Where the session's Prefect server keeps its records."""
    settings = Settings(home=tmp_path_factory.mktemp("prefect"))
    lay_prefect_tables(settings)
    return settings


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

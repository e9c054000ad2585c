"""A workspace that is only read: what reads it works, and what writes says what it may not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.runs.system_faults import system_fault
from flows.workspace.settings import Settings
from tests.flows.conftest import TARGET

NOBODY = 65534


@pytest.fixture
def of_another(night_copy: Settings) -> Iterator[Path]:
    """A finished workspace in a place where everybody may read, and this test's child not write."""
    place = Path(tempfile.mkdtemp(prefix="rpe-read-only-"))
    shutil.copytree(night_copy.root, place / "home", symlinks=True)
    for path in [place, *place.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield place / "home"
    for path in [place, *place.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(place)


def rpe(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command by a user who owns nothing; a test that root does not run is one itself."""
    user = NOBODY if os.geteuid() == 0 else None
    environment = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
    environment |= {"RPE_HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        env=environment, user=user, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_what_only_reads_works_and_what_writes_says_why_not(of_another: Path) -> None:
    for command in (
        ("sql", "SELECT 1 AS one"),
        ("predict", TARGET, "--text", "a text"),
        ("nearest", TARGET),
        ("history", TARGET),
        ("report", "--no-write"),
        ("nightly", "--dry-run"),
        ("source", "findings", "site_a"),
    ):
        done = rpe(of_another, *command)
        assert done.returncode == 0, (command, done.stderr)
    for command in (("nightly",), ("report",), ("maintain",)):
        done = rpe(of_another, *command)
        assert done.returncode == 1
        assert "may not use" in done.stderr
        assert "withheld" not in done.stderr


def test_what_the_system_refuses_is_told_by_place_and_not_by_file(tmp_path: Path) -> None:
    home = Settings().root
    for number, words in ((13, "may not use"), (30, "may not use"), (28, "No space is left")):
        error = OSError(number, "in the words of a driver", str(home / "report" / "secret.html"))
        fault = system_fault(error)
        assert fault is not None
        assert words in str(fault)
        assert "folder of reports" in str(fault)
        assert "secret" not in str(fault)
    wrapped = RuntimeError("of a library")
    wrapped.__cause__ = PermissionError(13, "no", str(home / "prefect" / "prefect.db"))
    assert "Prefect's server" in str(system_fault(wrapped))
    no_scratch = FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")
    assert "set TMPDIR" in str(system_fault(no_scratch))
    assert system_fault(ValueError("x")) is None
    assert system_fault(FileNotFoundError(2, "gone", "x")) is None

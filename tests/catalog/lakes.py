"""What the tests of the lake share: a migrated lake made once, tiny contracts, scripts."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from catalog.contracts.contract import SourceContract
from catalog.stores.lake.lake import Lake
from rpe_core.records import RunRef

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = RunRef("run:night@0123456789ab", "night", NOON)
EDGE = {"child_id": "dataset:a@1", "parent_id": "batch:a@1", "role": "batch"}
SECRET = "Zebulon Quux"


def uri_of(home: Path) -> str:
    return f"ducklake:sqlite:{home}/lake/catalog.sqlite"


def open_lake(
    home: Path,
    *,
    read_only: bool = False,
    timeout: float = 30.0,
    clock: Callable[[], datetime] = lambda: NOON,
) -> Lake:
    return Lake.open(
        uri=uri_of(home),
        data_uri=f"{home}/lake/data",
        lock_path=home / "writer.lock",
        clock=clock,
        read_only=read_only,
        lock_timeout_seconds=timeout,
    )


@contextmanager
def fresh_lake(home: Path) -> Iterator[Lake]:
    """An empty lake of the newest version under `home`, copied from one that was made once."""
    shutil.copytree(_template() / "lake", home / "lake")
    with open_lake(home) as opened:
        yield opened


@functools.cache
def _template() -> Path:
    home = Path(tempfile.mkdtemp(prefix="rpe-lake-"))
    with open_lake(home) as opened:
        opened.migrate()
    return home


def contract(**columns: str) -> SourceContract:
    rules = {
        "note_id": {"type": "string", "key": True},
        "text": {"type": "string"},
        "label": {"type": "string", "nullable": True},
        **{name: {"type": kind} for name, kind in columns.items()},
    }
    return SourceContract.model_validate(
        {
            "source": "site_a",
            "title": "Notes of site A",
            "owner": "owner@example.org",
            "license": "internal",
            "files": {"path": "/data/*.parquet", "format": "parquet"},
            "task": {
                "type": "text-classification",
                "input": "text",
                "target": "label",
                "labels": {"yes": "a yes", "no": "a no"},
            },
            "deidentified": {
                "method": "synthetic",
                "attested_by": "jane.roe",
                "attested_on": "2026-01-01",
            },
            "columns": rules,
        }
    )


def n_files(home: Path) -> int:
    # SQLite's log and its index come and go with the last connection
    passing = ("-wal", "-shm")
    found = (home / "lake").rglob("*")
    return sum(1 for path in found if path.is_file() and not path.name.endswith(passing))


def run_script(script: str, home: Path) -> str:
    command = [sys.executable, "-c", textwrap.dedent(script), str(home)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def start_script(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )

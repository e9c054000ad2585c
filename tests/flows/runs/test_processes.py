"""Processes of ours: what a child ended with, whoever else starts one at that moment."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from flows.runs.processes import run_child


def test_children_of_many_threads_end_with_their_own_status(tmp_path: Path) -> None:
    (tmp_path / "idle").touch()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: run_child("tests.busy", tmp_path), range(150)))
    assert set(found) == {0}


STARTS = """
import sys
from pathlib import Path
from flows.runs.processes import run_child
run_child("tests.busy", Path(sys.argv[1]), preload=["tests.slow_to_import"])
"""


def test_the_server_of_a_killed_parent_ends_with_it_though_it_imports(tmp_path: Path) -> None:
    """It is killed while its fork server imports what takes longer than this test waits."""
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTS, str(tmp_path)], env={**os.environ, "BEGUN": str(tmp_path)}
    )
    begun = tmp_path / "importing"
    while parent.poll() is None and not begun.exists():
        pass
    family = psutil.Process(parent.pid).children(recursive=True)
    assert any("forkserver" in " ".join(one.cmdline()) for one in family)
    parent.kill()
    parent.wait()
    _, left = psutil.wait_procs(family, timeout=2.0)
    assert left == []

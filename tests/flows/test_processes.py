"""Processes of ours: what a child ended with, whoever else starts one at that moment."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flows.processes import run_child


def test_children_of_many_threads_end_with_their_own_status(tmp_path: Path) -> None:
    (tmp_path / "idle").touch()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: run_child("tests.busy", tmp_path), range(150)))
    assert set(found) == {0}

"""One writer, many readers: nothing lost, nobody misled, a dead writer forgotten."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalog.errors import StoreError, StoreUnavailable
from catalog.stores.lake.lake import Lake
from catalog.stores.locks import WriterLock
from tests.catalog.lakes import (
    EDGE,
    fresh_lake,
    open_lake,
    start_script,
)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with fresh_lake(tmp_path) as opened:
        yield opened


HOLDER = """
    import sys
    from pathlib import Path
    from tests.catalog.lakes import EDGE, open_lake
    with open_lake(Path(sys.argv[1])) as lake:
        with lake.transaction(message="held", run=None) as tx:
            tx.insert_new("lineage", [EDGE])
            print("held", flush=True)
            sys.stdin.readline()
"""


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_nobody_can_hold_is_told_by_its_name(
    tmp_path: Path, make: Callable[..., None]
) -> None:
    """Nobody waits for a FIFO, nor is told that another run holds what is none."""
    make(tmp_path / "a.lock")
    lock = WriterLock(tmp_path / "a.lock")
    for ask in (lock.is_free, lock.hold().__enter__):
        with pytest.raises(StoreError, match="nobody can hold it") as raised:
            ask()
        assert not isinstance(raised.value, StoreUnavailable)
        assert raised.value.where.endswith("a.lock")


def test_a_reader_works_while_a_writer_writes(lake: Lake, tmp_path: Path) -> None:
    holder = start_script(HOLDER, tmp_path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        with open_lake(tmp_path, read_only=True) as reader:
            assert reader.rows("SELECT count(*) AS n FROM core.lineage") == [{"n": 0}]
            with pytest.raises(StoreError, match="reading only"):
                begin(reader)
            holder.communicate("\n")
            assert reader.rows("SELECT count(*) AS n FROM core.lineage") == [{"n": 1}]
    finally:
        holder.kill()
        holder.communicate()


def begin(lake: Lake) -> None:
    with lake.transaction(message="x", run=None):
        pass


def test_a_second_writer_is_told_who_holds_the_lock(lake: Lake, tmp_path: Path) -> None:
    holder = start_script(HOLDER, tmp_path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        with open_lake(tmp_path, timeout=0.2) as waiting:
            with pytest.raises(StoreUnavailable, match=f"process {holder.pid}"):
                begin(waiting)
            assert waiting.rows("SELECT * FROM core.lineage") == []
    finally:
        holder.communicate("\n")
    begin(lake)
    assert lake.rows("SELECT count(*) AS n FROM core.lineage") == [{"n": 1}]


def test_a_killed_writer_leaves_nothing_and_frees_the_lock(lake: Lake, tmp_path: Path) -> None:
    at = lake.snapshot_id
    holder = start_script(HOLDER, tmp_path)
    assert holder.stdout is not None
    holder.stdout.readline()
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with lake.transaction(message="after", run=None) as tx:
        assert tx.insert_new("lineage", [EDGE]) == 1
    assert lake.snapshot_id == at + 1


def test_concurrent_writers_lose_nothing(lake: Lake, tmp_path: Path) -> None:
    script = """
        import os, sys
        from pathlib import Path
        from tests.catalog.lakes import EDGE, open_lake
        with open_lake(Path(sys.argv[1])) as lake:
            for i in range(8):
                with lake.transaction(message="one", run=None) as tx:
                    tx.insert_new("lineage", [EDGE | {"parent_id": f"{os.getpid()} {i}"}])
    """
    writers = [start_script(script, tmp_path) for _ in range(3)]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert lake.rows("SELECT count(*) AS n FROM core.lineage") == [{"n": 24}]
    assert lake.snapshot_id == 1 + 24


def test_threads_take_turns_and_each_reads_for_itself(lake: Lake) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for i in range(4):
                with lake.transaction(message="one", run=None) as tx:
                    tx.insert_new("lineage", [EDGE | {"parent_id": f"{name} {i}"}])
                assert lake.rows("SELECT 1 AS one FROM core.lineage")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert lake.rows("SELECT count(*) AS n FROM core.lineage") == [{"n": 12}]


def test_a_transaction_inside_a_transaction_is_refused(lake: Lake) -> None:
    with pytest.raises(StoreError, match="open already"), lake.transaction(message="x", run=None):
        begin(lake)
    begin(lake)


def test_the_lock_may_be_taken_again_by_its_holder(tmp_path: Path) -> None:
    first, second = (WriterLock(tmp_path / "l", timeout_seconds=0.1) for _ in range(2))
    with first.hold(), second.hold():
        assert first.holder_pid() == os.getpid()
    other: list[BaseException] = []

    def wait() -> None:
        try:
            with second.hold():
                pass
        except StoreUnavailable as error:
            other.append(error)

    with first.hold():
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert "another thread" in str(other[0])


def test_a_moved_workspace_opens(lake: Lake, tmp_path: Path) -> None:
    with lake.transaction(message="edge", run=None) as tx:
        tx.insert_new("lineage", [EDGE])
    lake.close()
    (tmp_path / "moved").mkdir()
    (tmp_path / "lake").rename(tmp_path / "moved/lake")
    with open_lake(tmp_path / "moved") as moved:
        assert moved.rows("SELECT role FROM core.lineage") == [{"role": "batch"}]

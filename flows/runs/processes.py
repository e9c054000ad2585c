"""Processes of ours: children end with their parent; one left behind is found by its pid."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Lock, Thread

import psutil

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Usage:
    """What processes have used since they began; of memory, the most that one of them held."""

    cpu_seconds: float
    peak_memory_bytes: int
    read_bytes: int
    written_bytes: int

    def since(self, earlier: Usage) -> Usage:
        """What was used after an earlier look."""
        return Usage(
            self.cpu_seconds - earlier.cpu_seconds,
            self.peak_memory_bytes,
            self.read_bytes - earlier.read_bytes,
            self.written_bytes - earlier.written_bytes,
        )


_STATUS = Lock()  # a start asks all children for their status, and a status can be read only once
_ended: list[Usage] = []  # of the children that we called; one that was killed could not tell


def usage_so_far() -> Usage:
    """What we and the children that have ended used."""
    all_of_us = [_used_here(), *_ended]
    return Usage(
        sum(process.cpu_seconds for process in all_of_us),
        max(process.peak_memory_bytes for process in all_of_us),
        sum(process.read_bytes for process in all_of_us),
        sum(process.written_bytes for process in all_of_us),
    )


def count(usage: Usage) -> None:
    """Count as ours what a process on another machine used for us."""
    _ended.append(usage)


def _used_here() -> Usage:
    own = resource.getrusage(resource.RUSAGE_SELF)
    moved = psutil.Process().io_counters()
    cpu_seconds = own.ru_utime + own.ru_stime
    return Usage(cpu_seconds, own.ru_maxrss * 1024, moved.read_bytes, moved.write_bytes)


def run_child(
    module: str, folder: Path, *, log: Path | None = None, preload: Sequence[str] = ()
) -> int:
    """Call `main(folder)` of a module in a process of its own that ends with us; its exit status.

    Children are forked from one server that has imported the module and what else is to be
    preloaded, once for all of them. What they print is added to `log`, or goes where ours goes.
    What a child used is part of `usage_so_far` from then on.
    """
    context = multiprocessing.get_context("forkserver")
    # heeded once: the server stays
    context.set_forkserver_preload(
        ["flows.runs.fork_server", module, *preload, "flows.runs.fork_server_ready"]
    )
    receiver, telling = context.Pipe(duplex=False)
    child = context.Process(target=_call_main, args=(module, folder, log, telling))
    with _STATUS:
        child.start()
    telling.close()
    wait([child.sentinel])
    with _STATUS:
        child.join()
    try:
        _ended.append(receiver.recv())
    except EOFError:  # it was killed
        pass
    finally:
        receiver.close()
    return child.exitcode or 0


def _call_main(module: str, folder: Path, log: Path | None, telling: Connection) -> None:
    Thread(target=_leave_after_parent, daemon=True).start()
    if log is not None:
        with log.open("ab") as file:
            for stream in (sys.stdout, sys.stderr):
                os.dup2(file.fileno(), stream.fileno())
    try:
        import_module(module).main(folder)
    finally:
        telling.send(_used_here())


def _leave_after_parent() -> None:
    """Wait for the end of who asked for this process: its parent is the server that forked it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def end_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent ends (Linux; elsewhere a no-op).

    A parent that ended before we asked would never be noticed: then we leave at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(1)


def started_at(pid: int) -> float | None:
    """When the process with this pid started (seconds since the epoch), or None if it is gone."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def this_process() -> str:
    """What tells this process from every other of this machine, before and after it."""
    return f"{os.getpid()}@{started_at(os.getpid())}"


def is_same_process(pid: int, started: float) -> bool:
    """Whether the pid still belongs to the process that started then (pids are used again)."""
    start = started_at(pid)
    return start is not None and abs(start - started) < 1.0


def end_process(pid: int, *, patience_seconds: float = 5.0) -> None:
    """End a process and its children: ask first, then insist."""
    try:
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for process in family:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=patience_seconds)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=patience_seconds)


def _signal(process: psutil.Process, number: int) -> None:
    if process.pid != os.getpid():
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            return

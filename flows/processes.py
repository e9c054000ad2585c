"""Processes of ours: children end with their parent; one left behind is found by its pid."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import psutil

_PR_SET_PDEATHSIG = 1


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


def is_same_process(pid: int, started: float) -> bool:
    """Whether the pid still belongs to the process that started then (pids are used again)."""
    found = started_at(pid)
    return found is not None and abs(found - started) < 1.0


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

"""How a merge is measured: in turns with its peer; its hashes, memory and disk traffic."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rpe_core.merging.files.reading import TensorFile
from rpe_core.merging.merge import hash_files

ROOT = Path(__file__).parents[2]


def take_turns(out: Path, *, runs: int, **works: Callable[[], Any]) -> dict[str, list[float]]:
    """The wall seconds of each work, run by run, `out` removed after each."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            times[name].append(timed(work))
            shutil.rmtree(out)
    return times


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def copy_files(files: Sequence[Path], out: Path) -> None:
    out.mkdir()
    copies = [out / f"{i}-{file.name}" for i, file in enumerate(files)]
    for file, copy in zip(files, copies, strict=True):
        subprocess.run(["cp", file, copy], check=True)
    subprocess.run(["sync", *copies], check=True)


def hash_all(files: Sequence[Path]) -> None:
    hash_files([TensorFile(file, what="A file") for file in files])


def peak_memory(code: str, *arguments: str) -> int:
    """The highest resident memory of a child, mapped files counted."""
    code += "\nprint([x for x in open('/proc/self/status') if x.startswith('VmHWM')][0].split()[1])"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return int(done.stdout) << 10


def disk_traffic(command: Sequence[str], inputs: Sequence[Path]) -> dict[str, float]:
    """Wall seconds of a command whose inputs are on the disk alone, and its traffic with the disk.

    What it writes and reads again comes from the page cache and is not counted.
    """
    for path in inputs:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    read, written = usage.ru_inblock * 512, usage.ru_oublock * 512
    found = {"seconds": seconds, "n_bytes": read + written}
    return {**found, "read_bytes": read, "written_bytes": written}

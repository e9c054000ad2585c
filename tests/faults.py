"""Faults at counted moments: `rpe` with every state-changing call on its stores in one list.

    python -m tests.faults [OPTIONS] -- nightly --json -- maintain

runs the commands in this process, one after the other, and, by the options, lists the calls, copies
the workspace after each, lets something be done after one (by KILL this process ends there), or
lets one fail. A call is counted when it returns. A moment is the number of a call, from 1, or how
its line in the list begins.
"""

from __future__ import annotations

import argparse
import errno
import functools
import json
import multiprocessing.process
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from flows.workspace.settings import (
    Settings,  # first: it switches telemetry off before Prefect is imported
)

# isort: split
from catalog.stores.disk import disk_errors

KILL, KILL_GROUP = "kill -s KILL $PPID", "kill -s KILL -- -$PPID"  # for `--do`
ERRORS = {"disk_full": errno.ENOSPC, "time_out": errno.ETIMEDOUT}
# Of each driver what changes something: MLflow's client and Lance's tables have no other door.
_MLFLOW = (
    *("create_experiment", "create_run", "log_artifacts", "log_inputs", "set_terminated"),
    *("create_registered_model", "create_model_version", "set_registered_model_alias"),
    *("set_registered_model_tag", "delete_registered_model_tag", "update_registered_model"),
    *("delete_registered_model_alias", "delete_registered_model", "delete_model_version"),
    "delete_run",
)


@dataclass
class Faults:
    """What is to happen at which call. Calls wait for each other, so that a copy is one state."""

    log: Path | None = None
    copies: Path | None = None
    every: int = 1
    also: str = ""
    at: str = ""
    do: str = ""
    fail: str = ""
    error: str = "disk_full"
    is_lasting: bool = False  # every call fails from that one on
    n_calls: int = 0
    lock: Any = field(default_factory=threading.RLock)

    def begins(self, told: str) -> None:
        """Raise what is to be raised instead of a call."""
        if self.fail == "all" or is_at(self.fail, self.n_calls + 1, told):
            self.fail = "all" if self.is_lasting else ""
            number = ERRORS[self.error]
            raise OSError(number, os.strerror(number))

    def returned(self, told: str) -> None:
        """Count a call; list it, copy what it left, or do what is to be done after it."""
        self.n_calls += 1
        if self.log:
            with self.log.open("a") as log:
                log.write(f"{self.n_calls} {told}\n")
        if self.copies and self.n_calls % self.every == 0:
            place = self.copies / f"{self.n_calls:03d}"
            copy_workspace(Settings().root, place)
            if self.also:
                run_line(self.also, COPY=str(place))
        if is_at(self.at, self.n_calls, told):
            self.at = ""  # once
            run_line(self.do)

    def door(self, owner: Any, name: str, told: str, *, is_translated: bool = True) -> None:
        """Count the calls of a method; where its own door to errors lies outside, wear ours."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def counted(*arguments: Any, **named: Any) -> Any:
            with self.lock:
                with ExitStack() as errors:
                    if not is_translated:
                        errors.enter_context(disk_errors(told, "a test"))
                    self.begins(told)
                answer = original(*arguments, **named)
                self.returned(told)
                return answer

        setattr(owner, name, counted)


def is_at(moment: str, number: int, told: str) -> bool:
    """Whether a call is the one that a moment names.

    >>> is_at("3", 3, "lake erase"), is_at("lake", 4, "lake erase"), is_at("", 1, "lake erase")
    (True, True, False)
    """
    return int(moment) == number if moment.isdecimal() else bool(moment) and told.startswith(moment)


def run_line(line: str, **variables: str) -> None:
    """Run a line of shell to its end."""
    subprocess.run(["sh", "-c", line], check=True, env={**os.environ, **variables})


def copy_workspace(home: Path, place: Path) -> None:
    """Copy a workspace; a training that runs meanwhile may take files away under our hands."""

    def copy(origin: str, goal: str) -> None:
        with suppress(FileNotFoundError):
            shutil.copy2(origin, goal)

    shutil.copytree(home, place, copy_function=copy, ignore=shutil.ignore_patterns("*.lock"))


def install(faults: Faults) -> None:
    """Put a counter at the door of every store, and at what a retraction erases beside them."""
    # the drivers take seconds to import, and a training imports this module for nothing
    from lancedb.db import LanceDBConnection
    from lancedb.table import LanceTable
    from mlflow import MlflowClient

    from catalog.stores.artifacts.artifacts import Artifacts
    from catalog.stores.lake.lake import Lake
    from catalog.stores.registry.registry import Registry
    from catalog.stores.set_aside import Aside
    from catalog.tables import migrate
    from flows.upkeep import backup, retraction_steps

    _count_commits(faults, Lake)
    for name in ("forget_history", "expire_snapshots", "remove_replaced_files"):
        faults.door(Lake, name, f"lake {name}", is_translated=False)
    for name in ("add", "delete", "optimize"):
        faults.door(LanceTable, name, f"vectors {name}")
    faults.door(LanceDBConnection, "create_table", "vectors create_table")
    for name in _MLFLOW:
        faults.door(MlflowClient, name, f"registry {name}")
    faults.door(Registry, "erase_deleted", "registry erase_deleted", is_translated=False)
    faults.door(Artifacts, "_publish", "artifacts publish")
    for name in ("delete", "remove_leftovers"):
        faults.door(Artifacts, name, f"artifacts {name}", is_translated=False)
    for name in ("_remember", "_erase_files", "erase_prefect_records"):
        faults.door(retraction_steps, name, f"files {name.strip('_')}", is_translated=False)
    faults.door(Aside, "put", "aside put", is_translated=False)
    for name in ("copy_file", "publish"):
        faults.door(backup, name, f"backup {name}", is_translated=False)
    for name in ("_make_tables", "_comment_tables", "_make_view"):
        faults.door(migrate, name, f"migration {name.strip('_')}", is_translated=False)
    faults.door(multiprocessing.process.BaseProcess, "start", "process start")


def _count_commits(faults: Faults, lake: Any) -> None:
    """From COMMIT on nothing else goes on; before it, others are not to wait for two locks."""
    original = lake._begun

    @contextmanager
    def begun(self: Any, *, message: str, run: Any) -> Iterator[Any]:
        told = f"lake {message}"
        with ExitStack() as held:
            with original(self, message=message, run=run) as cursor:
                yield cursor
                held.enter_context(faults.lock)
                with disk_errors("the lake", "a test"):
                    faults.begins(told)
            faults.returned(told)

    lake._begun = begun


def commands_of(words: Sequence[str]) -> list[list[str]]:
    """What stands between the lines `--`.

    >>> commands_of(["--", "nightly", "--json", "--", "maintain"])
    [['nightly', '--json'], ['maintain']]
    """
    commands: list[list[str]] = []
    for word in words:
        if word == "--":
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


def main() -> None:
    """Run commands with the faults that the options name; exit as the first that failed did."""
    words = sys.argv[1:]
    first = words.index("--")
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--log", type=Path, help="file to list the calls in")
    parser.add_argument("--copies", type=Path, help="folder for a copy after each call")
    parser.add_argument("--every", type=int, default=1, help="copy after every n-th call only")
    parser.add_argument("--also", default="", help="line of shell for each copy, in $COPY")
    parser.add_argument("--end-state", type=Path, help="file for the end state, as JSON")
    parser.add_argument("--of", type=Path, help="another workspace whose end state it is")
    parser.add_argument("--at", default="", help="moment after which to do something")
    parser.add_argument("--do", default="", help="line of shell for that moment")
    parser.add_argument("--fail", default="", help="moment at which a call fails")
    parser.add_argument("--error", choices=ERRORS, default="disk_full", help="what it fails with")
    parser.add_argument("--lasting", dest="is_lasting", action="store_true", help="and all after")
    options = vars(parser.parse_args(words[:first]))
    end_file, home = options.pop("end_state"), options.pop("of")
    install(Faults(**options))
    from flows import cli  # after its stores have their counters

    code = 0
    for command in commands_of(words[first:]):
        sys.argv = ["rpe", *command]
        try:
            cli.main()
        except SystemExit as ended:
            code = code or int(ended.code or 0)
    if end_file:
        end_file.write_text(json.dumps(ended_state(home)))
    sys.exit(code)


@contextmanager
def told_apart(answer: dict[str, Any]) -> Iterator[None]:
    """Add to an answer what is written meanwhile, whoever in this process writes it."""
    streams = {"out": 1, "err": 2}
    with ExitStack() as held:
        kept = {name: os.dup(number) for name, number in streams.items()}
        files = {name: held.enter_context(TemporaryFile()) for name in streams}
        for name, number in streams.items():
            os.dup2(files[name].fileno(), number)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for name, number in streams.items():
                os.dup2(kept[name], number)
                os.close(kept[name])
                files[name].seek(0)
                answer[name] = files[name].read().decode(errors="replace")


def ended_state(home: Path | None = None) -> dict[str, Any]:
    """The end state of a workspace, with what is wrong with its chain."""
    settings = Settings(home=home) if home else Settings()
    from catalog.integrity.rows import read_chain
    from flows.workspace.stores import open_lake
    from tests.end_state import end_state

    with open_lake(settings, read_only=True) as lake:
        findings = [str(finding) for finding in read_chain(lake).findings]
    return {**end_state(settings), "findings": findings}


if __name__ == "__main__":
    main()

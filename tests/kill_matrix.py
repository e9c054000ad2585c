"""The kill matrix: a night is cut off after a call on a store and goes on from there; every call.

    python -m tests.kill_matrix [--every N] [--only CALL ...] [--error disk_full | time_out]

runs a small night once, and copies the workspace after every n-th call that changes a store. Then,
for each copy, it puts the copy where the workspace was, runs the night again and `rpe maintain`, in
a process of their own, and holds the end state against that of the undisturbed night. Each outcome
is printed, and how many were tried and how many survived.

With `--error` no night is cut off: from that call on the disk is full, or that call alone times
out. The night must go on or say so, and the next must end as the undisturbed one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.server import prefect_server
from flows.settings import Settings
from tests.faults import ERRORS, run_line
from tests.pico_world import make_pico_workspace

NIGHT = ("--", "nightly", "--json")
AGAIN = (*NIGHT, "--", "maintain", "--json")
NONE = 10**6  # no night has so many calls: no copy


@dataclass(frozen=True)
class Ended:
    """What a program left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}: {self.out[-400:]} {self.err[-400:]}"

    @property
    def is_clear(self) -> bool:
        """Whether a night went on, or failed with faults that are told in our words."""
        if self.code != 1:
            return self.code == 0
        said = " ".join(fault["what"] for fault in json.loads(self.out)["faults"])
        return bool(said) and "withheld" not in said and "Traceback" not in self.err


@dataclass(frozen=True)
class World:
    """A workspace, always at one place. Its nights share a Prefect server.

    Where stores lie on servers, `also` is a line of shell that adds them to the copy in the folder
    $COPY, and `restore` puts them back.
    """

    root: Path
    environment: Mapping[str, str]
    also: str = ""
    restore: Callable[[Path], None] = lambda copy: None

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def fresh(self) -> Path:
        return self.root / "fresh"

    @property
    def copies(self) -> Path:
        return self.root / "copies"

    def start(self, *words: object) -> subprocess.Popen[str]:
        """`tests.faults` on the workspace."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults", *map(str, words)],
            env={**os.environ, **self.environment, "RPE_HOME": str(self.home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: object) -> Ended:
        """The same to its end."""
        return ended(self.start(*words))


@dataclass(frozen=True)
class Outcome:
    """What became of a night in which something happened at a call."""

    call: str
    differs: tuple[str, ...]  # parts of the end state, or what a command said that failed

    def __str__(self) -> str:
        return f"{self.call}: {', '.join(self.differs) or 'as undisturbed'}"


def ended(program: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a program."""
    out, err = program.communicate()
    return Ended(program.returncode, out, err)


def run_undisturbed(world: World, *, every: int = NONE) -> tuple[dict[str, Any], list[str]]:
    """A night with its copies; the state in which it ended, and its calls in their order."""
    make_pico_workspace(world.root)
    shutil.copytree(world.home, world.fresh)
    if world.also:
        run_line(world.also, COPY=str(world.fresh))
    world.copies.mkdir()
    calls, state = world.root / "calls", world.root / "calm.json"
    done = world.run(
        *("--log", calls, "--copies", world.copies, "--every", every, "--also", world.also),
        *("--end-state", state, *NIGHT),
    )
    if done.code:
        raise RuntimeError(str(done))
    return json.loads(state.read_text()), calls.read_text().splitlines()


def try_copies(world: World, *, every: int = 1, only: Collection[int] = ()) -> Iterator[Outcome]:
    """Go on from each copy, or from `only` those after some calls."""
    calm, calls = run_undisturbed(world, every=every)
    for copy in sorted(world.copies.iterdir()):
        number = int(copy.name)
        if not only or number in only:
            put_back(world, copy)
            yield Outcome(f"after {calls[number - 1]}", go_on(world, calm))


def try_errors(
    world: World, error: str, *, every: int = 1, only: Collection[int] = ()
) -> Iterator[Outcome]:
    """Let each call fail in a night of its own, or `only` some; then go on without the fault."""
    calm, calls = run_undisturbed(world)
    is_lasting = ("--lasting",) if error == "disk_full" else ()
    for number in only or range(every, len(calls) + 1, every):
        put_back(world, world.fresh)
        done = world.run("--fail", number, "--error", error, *is_lasting, *NIGHT)
        unclear = () if done.is_clear else (str(done),)
        told = f"{error} at {calls[number - 1]}, exit code {done.code}"
        yield Outcome(told, (*unclear, *go_on(world, calm)))


def put_back(world: World, copy: Path) -> None:
    """Let the workspace be what a copy holds."""
    shutil.rmtree(world.home)
    shutil.copytree(copy, world.home)
    world.restore(copy)


def go_on(world: World, calm: Mapping[str, Any]) -> tuple[str, ...]:
    """A night and maintenance; the parts of the end state that are not what they should be."""
    state = world.root / "state.json"
    state.unlink(missing_ok=True)
    done = world.run("--end-state", state, *AGAIN)
    if done.code:
        return (str(done),)
    found = json.loads(state.read_text())
    return tuple(part for part in calm if found[part] != calm[part])


def told(outcomes: Iterator[Outcome]) -> tuple[int, int]:
    """Print each outcome as it comes; how many were tried, and how many survived."""
    n_tried = n_survived = 0
    for outcome in outcomes:
        n_tried, n_survived = n_tried + 1, n_survived + (not outcome.differs)
        print(outcome, flush=True)
    print(f"kill matrix: {n_tried} tried, {n_survived} survived", flush=True)
    return n_tried, n_survived


def main() -> None:
    """Try calls in a folder of their own; exit code 1 where one did not survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill_matrix", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="try every n-th call only")
    parser.add_argument("--only", type=int, nargs="+", default=(), help="try these alone")
    parser.add_argument("--error", choices=ERRORS, help="what fails, where nothing is cut off")
    asked = parser.parse_args()
    chosen = {"every": asked.every, "only": asked.only}
    with tempfile.TemporaryDirectory(prefix="rpe-kills-") as folder:
        root = Path(folder)
        with prefect_server(Settings(home=root / "prefect")) as url:
            world = World(root, {"PREFECT_API_URL": url, "OMP_NUM_THREADS": "1"})
            if asked.error:
                n_tried, n_survived = told(try_errors(world, asked.error, **chosen))
            else:
                n_tried, n_survived = told(try_copies(world, **chosen))
    sys.exit(n_tried != n_survived)


if __name__ == "__main__":
    main()

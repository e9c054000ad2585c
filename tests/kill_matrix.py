"""The kill matrix: what changes a workspace is cut off after a call on a store; every call.

    python -m tests.kill_matrix [OPERATION ...] [--every N] [--only CALL ...]
        [--error disk_full | time_out]

runs a small night once, and copies the workspace after every n-th call that changes a store. Then,
for each copy, it puts the copy where the workspace was, runs the night again and `rpe maintain`, in
a process of their own, and holds the end state against that of the undisturbed night. The same is
done with each operation of `tests.kill_operations`, which begins where the night ended: an import,
a backup (after every file that it copies), a migration of an earlier release's lake, a repair. Each
outcome is printed, and how many of how many survived.

With `--error` nothing is cut off: from that call on the disk is full, or that call alone times out.
The operation must go on or say so, and the next must end as the undisturbed one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catalog.stores.registry.connection import let_go
from flows.runs.prefect_server import prefect_server
from flows.workspace.settings import Settings
from tests.faults import ERRORS, run_line
from tests.kill_operations import NIGHT, OPERATIONS, Operation, remove_beside

HANGS_AFTER = 600.0  # seconds
NONE = 10**6  # nothing has so many calls: no copy


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

    def folder(self, operation: Operation) -> Path:
        """Where copies, calls and states of an operation lie."""
        return self.root / f"{operation.name}-runs"

    def fresh(self, operation: Operation = NIGHT) -> Path:
        """The workspace from which an operation begins."""
        return self.folder(operation) / "fresh"

    def start(self, *words: object) -> subprocess.Popen[str]:
        """`tests.faults` on the workspace."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults", *map(str, words)],
            env={**os.environ, "RPE_HOME": str(self.home), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: object) -> Ended:
        """`tests.faults` on the workspace, to its end."""
        return ended(self.start(*words))

    def run_in(self, home: Path, *words: object) -> Ended:
        """`tests.faults` on another workspace, to its end."""
        return replace(self, environment={**self.environment, "RPE_HOME": str(home)}).run(*words)

    def lacks(self, copy: Path) -> list[str]:
        """Files of the stores that a copy of the workspace has not."""
        stores = ("lake", "vectors", "artifacts", "mlartifacts", "mlflow.db")
        files = [path for store in stores for path in (self.home / store).rglob("*")]
        names = [path.relative_to(self.home) for path in files if path.is_file()]
        return [str(name) for name in names if not (copy / name).exists()]


@dataclass(frozen=True)
class Outcome:
    """What became of a night in which something happened at a call."""

    call: str
    differs: tuple[str, ...]  # parts of the end state, or what a command said that failed

    def __str__(self) -> str:
        return f"{self.call}: {', '.join(self.differs) or 'as undisturbed'}"


def ended(program: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a program; one that hangs is killed."""
    try:
        out, err = program.communicate(timeout=HANGS_AFTER)
    except subprocess.TimeoutExpired:
        program.kill()
        out, err = program.communicate()
        err += f"\nkilled: it had not ended after {HANGS_AFTER:.0f} s"
    return Ended(program.returncode, out, err)


def run_undisturbed(
    world: World, operation: Operation = NIGHT, *, every: int = NONE
) -> tuple[dict[str, Any], list[str]]:
    """An operation with its copies; the state in which it ended, and its calls in their order."""
    begin(world, operation)
    folder, fresh = world.folder(operation), world.fresh(operation)
    (folder / "copies").mkdir(parents=True)
    keep(world, fresh)
    calls, state, also = folder / "calls", folder / "calm.json", [world.also] if world.also else []
    if operation.beside:
        part = world.root / f"{operation.beside}.part"
        also.append(f'[ ! -e "{part}" ] || cp -a "{part}" "$COPY/{part.name}"')
    done = world.run(
        *("--log", calls, "--copies", folder / "copies", "--every", every),
        *("--also", " && ".join(also), *_whose(world, operation), "--end-state", state),
        *operation.at(world.root, operation.words),
    )
    if done.code:
        raise RuntimeError(str(done))
    if operation.is_first:
        keep(world, world.root / "finished")
    return json.loads(state.read_text()), calls.read_text().splitlines()


def begin(world: World, operation: Operation) -> None:
    """Let the workspace be what an operation begins with."""
    if not operation.is_first:
        if not (world.root / "finished").exists():
            run_undisturbed(world)
        put_back(world, world.root / "finished")
    operation.prepare(world.root)


def keep(world: World, place: Path) -> None:
    """Copy the workspace, and what of it lies on servers."""
    shutil.copytree(world.home, place)
    if world.also:
        run_line(world.also, COPY=str(place))


def _whose(world: World, operation: Operation) -> tuple[object, ...]:
    return ("--of", world.root / operation.beside) if operation.beside else ()


def try_copies(
    world: World,
    operation: Operation = NIGHT,
    *,
    every: int = 1,
    only: Collection[int] = (),
) -> Iterator[Outcome]:
    """Go on from each copy, or from `only` those after some calls, in every way there is."""
    calm, calls = run_undisturbed(world, operation, every=every)
    for copy in sorted((world.folder(operation) / "copies").iterdir()):
        number = int(copy.name)
        if only and number not in only:
            continue
        for way in operation.ways:
            put_back(world, copy, operation)
            seems = looks_whole(world, operation)
            then = f", then {way[1]}" if len(operation.ways) > 1 else ""
            differs = (*seems, *go_on(world, calm, operation, way=way))
            yield Outcome(f"after {calls[number - 1]}{then}", differs)


def try_errors(
    world: World,
    error: str,
    operation: Operation = NIGHT,
    *,
    every: int = 1,
    only: Collection[int] = (),
) -> Iterator[Outcome]:
    """Let each call fail in a run of its own, or `only` some; then go on without the fault."""
    calm, calls = run_undisturbed(world, operation)
    is_lasting = ("--lasting",) if error == "disk_full" else ()
    words = operation.at(world.root, operation.words)
    for number in only or range(every, len(calls) + 1, every):
        put_back(world, world.fresh(operation), operation)
        done = world.run("--fail", number, "--error", error, *is_lasting, *words)
        unclear = () if done.is_clear else (str(done),)
        told = f"{error} at {calls[number - 1]}, exit code {done.code}"
        seems = looks_whole(world, operation)
        yield Outcome(told, (*unclear, *seems, *go_on(world, calm, operation)))


def put_back(world: World, copy: Path, operation: Operation = NIGHT) -> None:
    """Let the workspace be what a copy holds, and what lay beside it."""
    let_go(Settings(home=world.home).tracking)
    shutil.rmtree(world.home, ignore_errors=True)
    shutil.copytree(copy, world.home)
    world.restore(copy)
    remove_beside(world.root, operation)
    part = world.home / f"{operation.beside}.part"
    if operation.beside and part.exists():
        part.rename(world.root / part.name)


def looks_whole(world: World, operation: Operation) -> tuple[str, ...]:
    """What of a half-made thing would be taken for a whole one."""
    if not operation.beside:
        return ()
    place = world.root / operation.beside
    found = (f"{place.name} is there",) if place.exists() else ()
    part = place.with_name(f"{place.name}.part")
    if part.exists() and not world.run_in(part, "--", "doctor", "--deep", "--json").code:
        found += tuple(
            f"{file} is missing where doctor finds nothing" for file in world.lacks(part)
        )
    return found


def go_on(
    world: World,
    calm: Mapping[str, Any],
    operation: Operation = NIGHT,
    *,
    way: Sequence[str] = (),
) -> tuple[str, ...]:
    """The operation again, and maintenance; the parts of the end state that are as they should not.

    What is to be there beside the workspace is looked over as a workspace, too.
    """
    state = world.folder(operation) / "state.json"
    state.unlink(missing_ok=True)
    words = operation.at(world.root, tuple(way) or operation.ways[0])
    done = world.run(*_whose(world, operation), "--end-state", state, *words)
    if done.code:
        return (str(done),)
    found = json.loads(state.read_text())
    return tuple(part for part in calm if found[part] != calm[part])


def told(outcomes: Iterator[Outcome], name: str = "night") -> tuple[int, int]:
    """Print each outcome as it comes; how many were tried, and how many survived."""
    n_tried = n_survived = 0
    for outcome in outcomes:
        n_tried, n_survived = n_tried + 1, n_survived + (not outcome.differs)
        print(f"{name}: {outcome}", flush=True)
    print(f"{name}: {n_survived} of {n_tried} survived", flush=True)
    return n_tried, n_survived


def main() -> None:
    """Try calls in a folder of their own; exit code 1 where one did not survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill_matrix", description=__doc__)
    parser.add_argument("operations", nargs="*", metavar="OPERATION", help="of these alone")
    parser.add_argument("--every", type=int, default=1, help="try every n-th call only")
    parser.add_argument("--only", type=int, nargs="+", default=(), help="try these alone")
    parser.add_argument("--error", choices=ERRORS, help="what fails, where nothing is cut off")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.operations) - set(OPERATIONS)):
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(OPERATIONS)}")
    chosen = {"every": asked.every, "only": asked.only}
    counts = {}
    with tempfile.TemporaryDirectory(prefix="rpe-kills-") as folder:
        root = Path(folder)
        with prefect_server(Settings(home=root / "prefect")) as url:
            world = World(root, {"PREFECT_API_URL": url, "OMP_NUM_THREADS": "1"})
            for name in asked.operations or OPERATIONS:
                one = OPERATIONS[name]
                if asked.error:
                    counts[name] = told(try_errors(world, asked.error, one, **chosen), name)
                else:
                    counts[name] = told(try_copies(world, one, **chosen), name)
    for name, (n_tried, n_survived) in counts.items():
        print(f"{name}: {n_survived} of {n_tried} survived")
    sys.exit(any(n_tried != n_survived for n_tried, n_survived in counts.values()))


if __name__ == "__main__":
    main()

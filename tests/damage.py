"""Random damage: one file of a workspace is spoilt; is it seen, is it said, and is it mended?

    python -m tests.damage --runs N [--seed S] [--only WORD] [--keep FOLDER]

makes a small workspace, runs two nights in it, and for each run spoils one file of a copy in one of
the ways of `WAYS`. Then, in processes of their own, `doctor`, `doctor --deep`, `predict` and
`repair` run on it, then a night and `maintain`. A run is good where a doctor noticed the damage,
or the file need not be noticed (`FREE`, each with its reason), where no command answered with a
traceback or withheld what went wrong, and where the end state is the undisturbed one, or `repair`
has named the backup. Each run that is not good is printed with its seed, and how many were.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.runs.prefect_server import prefect_server
from flows.workspace.settings import Settings
from tests.pico_world import make_pico_workspace, write_rows
from tests.rpe_worker import Worker, workers

TARGET = "site-c"
QUICK, DEEP, NIGHTLY = (
    ("doctor", "--json"),
    ("doctor", "--deep", "--json"),
    ("nightly", "--json"),
)
PREDICT, MEND = (
    ("predict", TARGET, "--text", "round red drug treated", "--json"),
    ("repair", "--json"),
)
LOOK, AFTER = (QUICK, DEEP, PREDICT), (NIGHTLY, ("maintain", "--json"), DEEP)
# Files whose loss costs nothing that anybody was promised.
FREE = {
    r"(prefect|tmp|cache|shelves)/": "made again by whoever needs it, or Prefect's own record",
    r"report/": "a page about rows that the lake holds; the next night writes it",
    r"[^/]*\.lock$": "held by the kernel; what is written in it only says by whom",
    r".*-(wal|shm)$": "SQLite's log of what may be in the file already",
    r".*/_versions/latest_version_hint\.json$": "a hint by which Lance saves a look at the folder",
    r"workspace\.id$": "tells the workspace's intents from those of others; a new one is drawn",
    r"aside/": "what a repair has replaced",
    r"lake/data/.*\.(?!parquet)[^/]*$": "nothing that the lake's catalog names",
}


# In a database a bit may lie where nothing is read: what it does is told by the end state alone.
DATABASES = ("lake/catalog.sqlite", "mlflow.db")


def flip(rng: random.Random, path: Path, store: Path) -> str:
    """One bit of one byte."""
    content = bytearray(path.read_bytes())
    if not content:
        return extra(rng, path, store)
    at = rng.randrange(len(content))
    content[at] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f"byte {at} of {len(content)}"


def cut(rng: random.Random, path: Path, store: Path) -> str:
    """What comes after some byte is gone."""
    content = path.read_bytes()
    n = rng.randrange(max(len(content), 1))
    path.write_bytes(content[:n])
    return f"to {n} of {len(content)} bytes" if content else "it was empty"


def empty(rng: random.Random, path: Path, store: Path) -> str:
    """The file is there, and holds nothing."""
    path.write_bytes(b"")
    return ""


def delete(rng: random.Random, path: Path, store: Path) -> str:
    """The file is gone."""
    path.unlink()
    return ""


def swap(rng: random.Random, path: Path, store: Path) -> str:
    """Two files of one kind in one store have each other's content."""
    others = [p for p in store.rglob(f"*{path.suffix}") if p.is_file() and p != path]
    if not others:
        return flip(rng, path, store)
    other = rng.choice(sorted(others))
    mine, its = path.read_bytes(), other.read_bytes()
    path.write_bytes(its)
    other.write_bytes(mine)
    return f"with {other.parent.name}/{other.name}"


def extra(rng: random.Random, path: Path, store: Path) -> str:
    """A file more lies beside it."""
    path.with_name("extra" + path.suffix).write_bytes(rng.randbytes(64))
    return ""


def folder_to_file(rng: random.Random, path: Path, store: Path) -> str:
    """Its folder is a file."""
    folder = path.parent
    shutil.rmtree(folder)
    folder.write_bytes(b"none")
    return folder.name


def file_to_folder(rng: random.Random, path: Path, store: Path) -> str:
    """A folder has its name: whoever opens it is refused, as of a file that may not be read."""
    path.unlink()
    path.mkdir()
    return ""


def file_to_pipe(rng: random.Random, path: Path, store: Path) -> str:
    """A pipe has its name: whoever opens it waits for ever."""
    path.unlink()
    os.mkfifo(path)
    return ""


WAYS: Mapping[str, Callable[[random.Random, Path, Path], str]] = {
    way.__name__: way
    for way in (flip, cut, empty, delete, swap, extra, folder_to_file, file_to_folder, file_to_pipe)
}


@dataclass(frozen=True)
class Damaged:
    """What was spoilt, in words, and why nobody need notice it."""

    seed: int
    file: str
    way: str
    detail: str

    @property
    def free(self) -> str:
        """Why it need not be noticed, or ''."""
        if self.way == "extra" and not self.file.startswith(("artifacts/", "mlartifacts/")):
            return "what nobody put there, nobody reads"
        if self.stops:
            return ""
        return next((why for pattern, why in FREE.items() if re.match(pattern, self.file)), "")

    @property
    def may_be_idle(self) -> bool:
        """Whether it may have changed nothing that is read."""
        return self.way == "flip" and self.file in DATABASES

    @property
    def stops(self) -> bool:
        """Whether only who put it there can take it away: a doctor sees it, all writers name it."""
        is_held_by_writers = self.file in ("night.lock", "writer.lock")
        return is_held_by_writers and self.way in ("file_to_folder", "file_to_pipe")

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.way} {self.file} {self.detail}".rstrip()


def damage(home: Path, seed: int, *, only: str = "") -> Damaged:
    """Spoil one file of a workspace; equal seeds spoil equal workspaces in one way.

    Every store is as likely as another, whatever it has of files; names that are drawn by chance
    are told by their place in order.
    """
    rng = random.Random(seed)
    files = [p for p in sorted(home.rglob("*")) if p.is_file() and not p.is_symlink()]
    stores: dict[str, list[Path]] = {}
    for path in files:
        name = str(path.relative_to(home))
        if only in name and not name.startswith(("prefect/", "sources/", "plan.yaml")):
            stores.setdefault(name.partition("/")[0], []).append(path)
    path = rng.choice(stores[rng.choice(sorted(stores))])
    ways = [w for w in WAYS if w != "folder_to_file" or path.parent != home]
    way = rng.choice(ways)
    name = str(path.relative_to(home))
    return Damaged(seed, name, way, WAYS[way](rng, path, home / name.partition("/")[0]))


@dataclass(frozen=True)
class World:
    """A workspace in `kept`, and the workers that look at copies, mend them and go on with them.

    No copy lies where another lay: a driver may keep files of it open.
    """

    root: Path
    workers: Sequence[Worker]

    @property
    def kept(self) -> Path:
        """The workspace as its nights left it."""
        return self.root / "kept"

    def copy(self, name: str) -> Path:
        """A new copy."""
        home = self.root / "copies" / name
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self.kept, home)
        return home


@contextmanager
def make_world(root: Path, url: str, *, nights: int = 2) -> Iterator[World]:
    """A workspace after some nights with a champion."""
    settings = make_pico_workspace(root)
    settings.root.chmod(0o700)  # as `rpe init` makes it: doctor has nothing to say of it
    plan = settings.plan_file.read_text().replace("epochs: 1", "epochs: 6")
    settings.plan_file.write_text(plan.replace("learning_rate: 5.0e-3", "learning_rate: 2.0e-2"))
    with workers(3, {"PREFECT_API_URL": url, "OMP_NUM_THREADS": "1"}) as hands:
        for number in range(nights):
            if number:
                for source in ("site_a", "site_c"):
                    more = root / "data" / f"{source}-2.jsonl"
                    write_rows(more, source, seed=7, first=200, n=40)
            (night,) = hands[0].ask(settings.root, NIGHTLY)
            if night.code:
                raise RuntimeError(str(night))
        settings.root.rename(root / "kept")
        yield World(root, hands)


def undisturbed(world: World) -> dict[str, Any]:
    """The state in which one more night leaves the workspace; found once."""
    state = world.root / "calm.json"
    if not state.exists():
        home, worker = world.copy("calm"), world.workers[2]
        for answer in worker.ask(home, *AFTER):
            if answer.code:
                raise RuntimeError(str(answer))
        state.write_text(json.dumps(worker.end_state(home)))
    found: dict[str, Any] = json.loads(state.read_text())
    return found


def try_damage(world: World, seed: int, *, only: str = "") -> Iterator[str]:
    """Spoil a copy; what was not as it should be, after one line that says what was spoilt."""
    calm, home = undisturbed(world), world.copy(str(seed))
    spoilt = damage(home, seed, only=only)
    yield str(spoilt)
    look, mend, after = world.workers
    looks = look.ask(home, *LOOK)
    is_noticed = any(one.code for one in looks[:2])
    if not spoilt.free and not is_noticed and not spoilt.may_be_idle:
        yield "no doctor noticed it"
    (mended,) = mend.ask(home, MEND)
    names_backup = bool(mended.code and re.search(r"back-?up", mended.said))
    nights = [] if names_backup else after.ask(home, *AFTER)
    for answer in (*looks, mended, *nights):
        if not answer.is_clear:
            yield f"not clear: {answer}"
    if spoilt.stops:
        for answer in (mended, *nights[:2]):
            if not answer.code or Path(spoilt.file).name not in answer.said:
                yield f"went on, or did not name {spoilt.file}: {answer}"
        return
    if names_backup:
        return
    for answer in (mended, *nights):
        if answer.code:
            yield f"not mended: {answer}"
    found = after.end_state(home)
    differs = [part for part in calm if found.get(part) != calm[part]]
    if differs:
        yield f"differs: {', '.join(differs)}"
    shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    """Spoil as many copies as asked for; exit code 1 where one was not good."""
    parser = argparse.ArgumentParser(prog="python -m tests.damage", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="how many copies are spoilt")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the others follow it")
    parser.add_argument("--only", default="", help="files with this in their name")
    asked = parser.parse_args()
    n_good = 0
    with ExitStack() as held:
        root = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="rpe-damage-")))
        url = held.enter_context(prefect_server(Settings(home=root / "prefect")))
        world = held.enter_context(make_world(root, url))
        for seed in range(asked.seed, asked.seed + asked.runs):
            spoilt, *faults = try_damage(world, seed, only=asked.only)
            n_good += not faults
            print("\n    ".join([f"{spoilt}: {'' if faults else 'good'}", *faults]), flush=True)
    print(f"random damage: {n_good} of {asked.runs} good")
    sys.exit(n_good != asked.runs)


if __name__ == "__main__":
    main()

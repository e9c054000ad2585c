"""Thirty nights of a pico workspace: what grows, by how much, and whether it is bounded.

    python -m tests.experiments.soak FOLDER [--nights 30]

Of every three nights one brings new rows of a reference, one of the target, one nothing; one night
brings a file that is refused, which is gone the night after; each week ends with `rpe
maintain`. The platform's clock goes on by a day a night. No alert may be raised but for that file,
and for the source that falls silent. FOLDER gets the workspace, soak.csv and soak.png. Exit code 1:
a bound does not hold.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from flows.night.nightly import run_night
from flows.runs.prefect_server import prefect_server
from flows.upkeep.maintain import maintain
from flows.workspace import stores
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake
from tests.pico_world import make_pico_workspace, write_rows

WEEK, BAD_NIGHT = 7, 11
ROWS = 12  # that come in a night
QUIET = ("unchanged", "alert")  # the source that only ever delivered once falls silent
EXPECTED = {"refused site_b": 1, "silent site_b": 1}  # alerts, and how often each is raised
STORES = ("lake", "vectors", "artifacts", "mlartifacts", "mlflow.db", "prefect")
# the bounds, as the docstring of `broken_bounds` states them
IDLE_BYTES, RISE, SPREAD = 256 << 10, 2.0, 5


@dataclass(frozen=True)
class Night:
    """What there is after one night, and what it cost; bytes by store."""

    number: int
    kind: str  # idle, reference, target, refused
    outcome: str
    exit_code: int
    raised: str  # kind and subject of each alert that it raised
    wall_seconds: float
    cpu_seconds: float
    lake: int
    vectors: int
    artifacts: int
    mlartifacts: int
    mlflow: int
    prefect: int
    n_rows: int  # of all tables of core
    n_versions: int
    n_snapshots: int
    n_lake_files: int

    @property
    def n_bytes(self) -> int:
        """Of all stores but Prefect's records, which have a retention of their own."""
        return self.lake + self.vectors + self.artifacts + self.mlartifacts + self.mlflow


def soak(folder: Path, nights: int, on_night: Callable[[Night], None]) -> list[Night]:
    """Run the nights on a new workspace under `folder`."""
    settings = make_pico_workspace(folder)
    seen = []
    with prefect_server(settings):
        for number in range(1, nights + 1):
            set_clock(timedelta(days=number - 1))
            kind = deliver(folder / "data", number)
            summary = run_night(settings)
            if number % WEEK == 0:
                maintain(settings)
            raised = [f"{a.kind} {a.subject}" for a in summary.alerts if a.is_raised]
            told = (summary.outcome, summary.exit_code, "; ".join(raised))
            seen.append(measure(settings, number, kind, *told))
            on_night(seen[-1])
        set_clock(timedelta(days=nights + 31))
        maintain(settings)
        seen.append(measure(settings, nights + 1, "maintain", "", 0, ""))
        on_night(seen[-1])
    return seen


def set_clock(ahead: timedelta) -> None:
    """Put the platform's clock ahead, wherever it was handed to."""
    known = {_real_clock, *_clocks}

    def clock() -> datetime:
        return _real_clock() + ahead

    _clocks.append(clock)
    for module in list(sys.modules.values()):
        if getattr(module, "utc_now", None) in known:
            module.utc_now = clock


_real_clock, _clocks = stores.utc_now, list[Callable[[], datetime]]()


def deliver(data: Path, number: int) -> str:
    """Lay the night's files where the sources deliver them; what kind of night it is then."""
    if number == 1:
        return "first"
    (data / f"site_b_{BAD_NIGHT}.jsonl").unlink(missing_ok=True)
    if number == BAD_NIGHT:
        (data / f"site_b_{number}.jsonl").write_bytes(b"\xff\xfe no rows")
        return "refused"
    kind, source = (("idle", ""), ("reference", "site_a"), ("target", "site_c"))[number % 3]
    if source:
        path = data / f"{source}_{number}.jsonl"
        write_rows(path, source, seed=1000 + number, first=number * 1000, n=ROWS)
    return kind


def measure(
    settings: Settings, number: int, kind: str, outcome: str, exit_code: int, raised: str
) -> Night:
    """Look at the stores, and at what the newest night says of its costs."""
    with open_lake(settings, read_only=True) as lake:
        (cost,) = lake.rows("SELECT wall_seconds, cpu_seconds FROM mart.nights LIMIT 1")
        (counted,) = lake.rows(
            "SELECT (SELECT count(*) FROM core.model_versions) AS n_versions,"
            " (SELECT count(*) FROM lake.snapshots()) AS n_snapshots"
        )
        tables = lake.rows("SELECT table_name AS name FROM duckdb_tables()"
                           " WHERE database_name = 'lake' AND schema_name = 'core'")  # fmt: skip
        n_rows = sum(
            lake.rows(f"SELECT count(*) AS n FROM core.{row['name']}")[0]["n"] for row in tables
        )
    sizes = {name.removesuffix(".db"): size_of(settings.root / name) for name in STORES}
    files = sum(1 for path in (settings.root / "lake").rglob("*.parquet"))
    told = (number, kind, outcome, exit_code, raised)
    return Night(*told, **cost, **sizes, n_rows=n_rows, **counted, n_lake_files=files)


def size_of(place: Path) -> int:
    """Bytes of a file or of all files of a folder."""
    paths = [place] if place.is_file() else place.rglob("*")
    return sum(path.stat().st_size for path in paths if path.is_file())


def broken_bounds(seen: Sequence[Night]) -> list[str]:
    """What does not hold of the bounds.

    Alerts are raised for the refused file and the silent source, once each, and for nothing else.

    An idle night adds one row and at most 256 KiB. Of the nights of one kind the last five take at
    most twice the CPU seconds, and twice the bytes, of the first five.
    """
    raised = Counter(name for night in seen for name in night.raised.split("; ") if name)
    expected = Counter(EXPECTED if len(seen) > BAD_NIGHT else {})
    broken = [f"alert {name}: raised, and nothing was wrong" for name in raised - expected]
    broken += [f"alert {name}: not raised" for name in expected - raised]
    plain = [(before, now) for before, now in pairwise(seen) if now.number % WEEK]
    for before, now in plain:
        if now.kind != "idle":
            continue
        if now.outcome not in QUIET or now.n_rows != before.n_rows + 1:
            broken.append(f"night {now.number}: {now.n_rows - before.n_rows} rows, {now.outcome}")
        if now.n_bytes - before.n_bytes > IDLE_BYTES:
            broken.append(f"night {now.number}: idle, {now.n_bytes - before.n_bytes:,} bytes")
    for kind in ("idle", "reference", "target"):
        costs = [now.cpu_seconds for _, now in plain if now.kind == kind]
        grown = [now.n_bytes - before.n_bytes for before, now in plain if now.kind == kind]
        for name, values in (("CPU seconds", costs), ("bytes", grown)):
            first, last = np.mean(values[:SPREAD]), np.mean(values[-SPREAD:])
            if last > RISE * first:
                broken.append(f"{kind} nights: {name} rose from {first:,.1f} to {last:,.1f}")
    return broken


def draw(seen: Sequence[Night], place: Path) -> None:
    """Four charts over the nights: disk by store, rows, versions with snapshots, CPU seconds."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    disk, rows, versions, cost = figure.subplots(2, 2).flat
    numbers = [night.number for night in seen]
    names = [name.removesuffix(".db") for name in STORES]
    disk.stackplot(numbers, [[getattr(n, name) / 2**20 for n in seen] for name in names],
                   labels=names)  # fmt: skip
    disk.set_title("disk, MiB")
    disk.legend(loc="upper left", fontsize=8)
    rows.plot(numbers, [night.n_rows for night in seen])
    rows.set_title("rows of core")
    for name in ("n_versions", "n_snapshots", "n_lake_files"):
        versions.plot(numbers, [getattr(night, name) for night in seen], label=name[2:])
    versions.set_title("model versions, snapshots and Parquet files of the lake")
    versions.legend(fontsize=8)
    colors = matplotlib.colormaps["tab10"]
    for i, kind in enumerate(("first", "idle", "reference", "target", "refused")):
        nights = [night for night in seen if night.kind == kind]
        cost.plot([n.number for n in nights], [n.cpu_seconds for n in nights], "o", label=kind,
                  color=colors(i))  # fmt: skip
    cost.set_title("CPU seconds of a night")
    cost.legend(fontsize=8)
    for axes in (disk, rows, versions, cost):
        axes.set_xlabel("night")
        axes.set_ylim(bottom=0)
    figure.savefig(place, dpi=120)


def main(arguments: Sequence[str]) -> int:
    """Run, write what was seen, and say which bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.experiments.soak")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nights", type=int, default=30)
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    seen = soak(asked.folder / "world", asked.nights, lambda night: print(night, flush=True))
    with (asked.folder / "soak.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(seen[0])))
        writer.writeheader()
        writer.writerows(asdict(night) for night in seen)
    draw(seen, asked.folder / "soak.png")
    broken = broken_bounds(seen)
    print("\n".join(broken or ["every bound holds"]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

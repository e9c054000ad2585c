"""The benchmarks in one command: each row in a process of its own, one table, JSON lines.

    python -m tests.benchmarks [ROW ...] [--list] [--out FILE]
    python -m tests.benchmarks --table FILE

A row is a function `row_*(workdir) -> dict` (or a list of them) of a file bench_*.py beside this
one: work, peer, ours_seconds, peer_seconds, ratio, target, extra, and is_met where the target asks
for more than a ratio.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from tests.benchmarks.table import Entry, markdown, newest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGES = (
    *("numpy", "scipy", "torch", "transformers", "peft", "safetensors", "lancedb", "duckdb"),
    *("mlflow", "prefect", "faiss-cpu", "cvxpy", "clarabel", "osqp", "sentence-transformers"),
    *("mergekit", "accelerate"),
)
CHILD = "import sys; from tests.benchmarks.__main__ import measure; measure(*sys.argv[1:])"


def main(arguments: Sequence[str] | None = None, *, folder: Path = HERE) -> int:
    """Run, list or print; 1 if a row failed. A target that is not met is no failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names of rows; all without any")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--out", type=Path, help="append a JSON line per row to this file")
    parser.add_argument("--table", type=Path, help="print the newest result of each row in a file")
    asked = parser.parse_args(arguments)
    if asked.table:
        print(markdown(newest(map(json.loads, asked.table.read_text().splitlines()))))
        return 0
    known = discover(folder)
    if unknown := [row for row in asked.rows if row not in known]:
        parser.error(f"no row has the name {', '.join(unknown)}; --list shows them all")
    if asked.list:
        print("\n".join(f"{row}  ({path.stem})" for row, path in known.items()))
        return 0
    entries = []
    for row in asked.rows or known:
        print(f"{row} ...", file=sys.stderr, flush=True)
        entries.append(run(row, known[row]))
        if "error" in entries[-1]:
            print(f"{row} failed: {entries[-1]['error']}", file=sys.stderr)
        if asked.out:
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            with asked.out.open("a") as file:
                file.write(json.dumps(entries[-1]) + "\n")
    print(markdown(entries))
    return int(any("error" in entry for entry in entries))


def discover(folder: Path) -> Mapping[str, Path]:
    """The file of each row by name; nothing is imported, so a missing peer hides no row."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("bench_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("row_"):
                if node.name in found:
                    raise SystemExit(f"{node.name} stands in {found[node.name]} and in {path}")
                found[node.name] = path
    return found


def run(row: str, path: Path) -> Entry:
    """Measure one row in a fresh process; what went wrong in it is an entry too."""
    start, where = time.perf_counter(), machine()
    with tempfile.TemporaryDirectory(prefix="rpe-bench-") as workdir:
        answer = Path(workdir) / "answer.json"
        command = [sys.executable, "-c", CHILD, row, str(path), workdir, str(answer)]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if answer.is_file():
            outcome = json.loads(answer.read_text())
        else:
            outcome = {"error": f"ProcessEnded: with exit status {done.returncode}"}
    return {
        "row": row,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": time.perf_counter() - start,
        "machine": where,
        "versions": versions(),
        **outcome,
    }


def measure(row: str, path: str, workdir: str, answer: str) -> None:
    """In the process of the row: call it, and leave its results or its error in `answer`."""
    spec = importlib.util.spec_from_file_location(f"tests.benchmarks.{Path(path).stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look it up by name
    try:
        spec.loader.exec_module(module)
        found = getattr(module, row)(Path(workdir))
        outcome = {"results": found if isinstance(found, list) else [found]}
    except ModuleNotFoundError as error:
        outcome = {"error": f"{type(error).__name__}: {error}; run: pip install '.[bench]'"}
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        outcome = {"error": f"{type(error).__name__}: {error}"}
    Path(answer).write_text(json.dumps(outcome))


def machine() -> dict[str, str | int | float | None]:
    """What decides a time, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "load_average": os.getloadavg()[0],  # above what the row itself takes: others were at work
    }


def versions() -> dict[str, str]:
    """The installed versions of the packages that matter to a time."""
    present = {found.metadata["Name"].lower() for found in metadata.distributions()}
    return {name: metadata.version(name) for name in PACKAGES if name in present}


if __name__ == "__main__":
    sys.exit(main())

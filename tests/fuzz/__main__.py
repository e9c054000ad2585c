"""Fuzz what takes bytes of strangers: `python -m tests.fuzz [TARGET ...] [--runs N] [--seed S]`.

Each target runs in a process of its own: first N inputs that Hypothesis makes of sound ones, then N
that libFuzzer (atheris) finds by coverage. More than 2 GiB or 20 s for one input is a finding too.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

MAX_MIB, MAX_SECONDS = 2048, 20
INSTRUMENTED = [
    "catalog",
    "flows",
    "nibabel",
    "numpy.lib",
    "pydicom",
    "rpe_core",
    "tifffile",
    "yaml",
]
ENGINES = ("hypothesis", "atheris")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--runs", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"))
    asked = parser.parse_args()
    if asked.engine:  # one target, in a process that this program has started
        run = _with_atheris if asked.engine == "atheris" else _with_hypothesis
        return run(asked.targets[0], asked.runs, asked.seed, asked.findings)
    from tests.fuzz.targets import TARGETS

    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()},")
    print(", ".join(f"{name} {version(name)}" for name in ("atheris", "hypothesis", "pyarrow")))
    failed = 0
    for name in asked.targets or TARGETS:
        for engine in ENGINES:
            failed += _told(name, engine, asked)
    return 1 if failed else 0


def _told(name: str, engine: str, asked: argparse.Namespace) -> int:
    """Run one engine on one target, say how it went, and keep the log where it failed."""
    asked.findings.mkdir(parents=True, exist_ok=True)
    log = asked.findings / f"{name}-{engine}.log"
    own = ["--runs", str(asked.runs), "--seed", str(asked.seed), "--findings", str(asked.findings)]
    began = time.monotonic()
    with log.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", name, "--engine", engine, *own],
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    seconds = time.monotonic() - began
    told = "no finding" if done.returncode == 0 else f"FAILED, see {log}"
    counted = [line for line in log.read_text(errors="replace").splitlines() if "inputs" in line]
    print(f"{name:<9} {engine:<10} {counted[-1] if counted else '':<40} {seconds:6.0f} s  {told}")
    if done.returncode == 0:
        log.unlink()
    return int(done.returncode != 0)


def _with_hypothesis(name: str, runs: int, seed: int, findings: Path) -> int:
    import resource

    import hypothesis

    from tests.fuzz.mutations import mutated
    from tests.fuzz.targets import TARGETS

    target, counts = TARGETS[name], Counter[bool]()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=runs,
        deadline=MAX_SECONDS * 1000,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(mutated(target.seeds()))
    def check(raw: bytes) -> None:
        counts[target.try_input(raw)] += 1

    check()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{counts.total()} inputs, {counts[True]} accepted")
    return int(peak > MAX_MIB)


def _with_atheris(name: str, runs: int, seed: int, findings: Path) -> int:
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    target, counts = TARGETS[name], Counter[bool]()

    def check(raw: bytes) -> None:
        counts[target.try_input(raw)] += 1
        if counts.total() == runs:
            print(f"{counts.total()} inputs, {counts[True]} accepted", flush=True)

    with TemporaryDirectory() as corpus:
        for number, raw in enumerate(target.seeds()):
            (Path(corpus) / str(number)).write_bytes(raw)
        options = [
            f"-runs={runs}",
            f"-seed={seed}",
            f"-timeout={MAX_SECONDS}",
            f"-rss_limit_mb={MAX_MIB}",
            f"-artifact_prefix={findings}/{name}-",
            "-max_len=8192",
            corpus,
        ]
        atheris.Setup([sys.argv[0], *options], check)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())

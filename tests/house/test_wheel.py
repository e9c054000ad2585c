"""The wheel runs by itself: built from the checkout, a night of it outside of any checkout."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from flows.upkeep.doctor import PYTHONS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements_and_lock() -> tuple[dict[str, str], dict[str, str]]:
    """Package -> what the wheel asks of it, and package -> the version that the lock holds."""
    asked = [re.fullmatch(r"([\w-]+)(.*)", line) for line in PROJECT["dependencies"]]
    lines = (ROOT / "infra" / "constraints.txt").read_text().splitlines()
    locked = [line.split("==") for line in lines if "==" in line]
    return (
        {match[1]: match[2] for match in asked if match},
        {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in locked},
    )


def test_every_requirement_is_bounded_by_what_the_lock_holds() -> None:
    """What is below or above was not tried: a plain install of the wheel is not left to luck."""
    asked, locked = requirements_and_lock()
    for name, bounds in asked.items():
        version = re.escape(locked[name])
        assert re.fullmatch(rf"=={version}|>={version},<[\d.]+", bounds), f"{name}{bounds}"


def test_doctor_knows_the_pythons_that_the_wheel_allows() -> None:
    first, last = PYTHONS[0], PYTHONS[-1]
    allowed = f">={first[0]}.{first[1]},<{last[0]}.{last[1] + 1}"
    assert PROJECT["requires-python"] == allowed


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_wheel_runs_a_night_outside_the_checkout(tmp_path: Path) -> None:
    def run(*command: str | Path, cwd: Path = tmp_path, **also: str) -> str:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            command, cwd=cwd, env={**environment, **also}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    python, installed = sys.executable, tmp_path / "installed"
    source = tmp_path / "source"
    run("git", "clone", "--quiet", "--depth=1", f"file://{ROOT}", source)
    run(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", installed, wheel)
    empty, also = tmp_path / "empty", {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    empty.mkdir()
    where = "import flows.cli, catalog, rpe_core; print(flows.cli.__file__, catalog.__file__)"
    places = run(python, "-c", where, cwd=empty, **also).split()
    assert all(Path(place).is_relative_to(installed) for place in places)
    run(installed / "bin" / "rpe", "init", "--demo", "text", cwd=empty, **also)
    answer = run(installed / "bin" / "rpe", "nightly", "--json", cwd=empty, **also)
    assert json.loads(answer)["status"] == "ok"
    assert (empty / ".rpe" / "report" / "index.html").is_file()

"""A strategy, a metric, a reader and a step are added by exactly the files that CONTRIBUTING names.

All are added to one copy of the repository. Of each the files that changed are held against its row
of the table "to add a"; then the copy writes its pages, uses the new names and runs their tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house.additions import ADDITIONS, Addition
from tests.house.test_readme import CONTRIBUTING, ROOT, paths_in, rows_of

PARTS = ("rpe_core", "catalog", "flows", "tests", "infra")
FILES = ("README.md", "CONTRIBUTING.md", "pyproject.toml")
PAGES = ("infra/docs/methods.md", "infra/docs/commands.md")
UNLIKE = ("__pycache__", ".pytest_cache", ".hypothesis")
NIGHT = """
import sys
from pathlib import Path
from flows.night.nightly import run_night
from tests.pico_world import make_pico_workspace
summary = run_night(make_pico_workspace(Path(sys.argv[1])), only=("census",))
assert summary.outcome == "ok", summary
assert [step["done"] for step in summary.steps if step["name"] == "census"] == [["site-c"]], summary
"""


@dataclass(frozen=True)
class Copy:
    """The copy of the repository, and the files that each addition changed in it, by its kind."""

    folder: Path
    changed: dict[str, set[str]]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The repository in another folder, with everything added and its pages written."""
    folder = tmp_path_factory.mktemp("house")
    without = shutil.ignore_patterns(*UNLIKE, "*.egg-info", "*.pyc")
    for name in PARTS:
        shutil.copytree(ROOT / name, folder / name, ignore=without)
    for name in FILES:
        shutil.copy2(ROOT / name, folder / name)
    changed = {}
    for addition in ADDITIONS:
        before = files_of(folder)
        add(addition, folder)
        changed[addition.kind] = changes(before, files_of(folder))
    before = files_of(folder)
    run(folder, "-m", "tests.house.write_docs", *PAGES)
    changed["pages"] = changes(before, files_of(folder))
    return Copy(folder, changed)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file with its bytes, but for byte code and caches."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if not set(UNLIKE) & set(path.parts)
    }


def changes(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    """The files that came, went or differ."""
    return {name for name in before | after if before.get(name) != after.get(name)}


def add(addition: Addition, folder: Path) -> None:
    """Write the files and the lines of the tables."""
    for name, text in addition.files.items():
        assert not (folder / name).exists(), name
        (folder / name).write_text(text)
    for name, there, before in addition.lines:
        place = folder / name
        text = place.read_text()
        assert text.count(there) == 1, (name, there)
        place.write_text(text.replace(there, before + there))


def run(folder: Path, *words: str) -> None:
    """Run Python in the copy, on the code of the copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def named_in(addition: Addition) -> set[str]:
    """The files of the addition's row, with its name in place of x."""
    row = next(row for row in rows_of(CONTRIBUTING, "to add a") if row[0] == addition.kind)
    mark = re.compile(r"(^|/)(test_)?x(?=\.)")
    return {mark.sub(rf"\1\2{addition.name}", name) for name in paths_in(" ".join(row))}


@pytest.mark.parametrize("addition", ADDITIONS, ids=lambda addition: addition.kind)
def test_an_addition_touches_the_files_that_contributing_names(
    addition: Addition, copy: Copy
) -> None:
    assert copy.changed[addition.kind] | set(addition.written) == named_in(addition)


def test_the_pages_tell_of_what_was_added(copy: Copy) -> None:
    assert copy.changed["pages"] == {page for addition in ADDITIONS for page in addition.written}
    for addition in ADDITIONS:
        for page in addition.written:
            assert f"\n| `{addition.name}` | " in (copy.folder / page).read_text()


def test_what_was_added_is_used_by_its_name(copy: Copy) -> None:
    run(copy.folder, "-c", "".join(addition.check for addition in ADDITIONS))


@pytest.mark.slow
@pytest.mark.ci_slow
def test_what_was_added_passes_its_tests_and_those_of_the_house(copy: Copy) -> None:
    added = [name for addition in ADDITIONS for name in addition.files]
    house = ["tests/house/test_infra.py", "tests/house/test_readme.py"]
    run(copy.folder, "-m", "pytest", "-p", "no:cacheprovider", *added, *house)


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_added_step_runs_in_a_night(copy: Copy, tmp_path: Path) -> None:
    run(copy.folder, "-c", NIGHT, str(tmp_path / "workspace"))

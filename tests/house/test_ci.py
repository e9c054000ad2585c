"""The house itself: what CI runs of the slow tests is a marker, and no list of files or words."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SLOW = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "-m ci_slow" in line]


def test_ci_chooses_slow_tests_by_marker_in_a_few_processes() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert not re.search(r" -k |-m .?slow", text)
    assert 1 <= len(SLOW) <= 3
    # the last takes what the others leave: a new folder of tests is not forgotten
    others = {name for line in SLOW[:-1] for name in re.findall(r"tests/[\w/]+", line)}
    assert re.search(r"-m ci_slow tests( |$)", SLOW[-1])
    assert set(re.findall(r"--ignore=([\w/]+)", text)) == others
    assert all((ROOT / name).is_dir() for name in others)


def test_whatever_ci_runs_of_them_is_slow() -> None:
    """Else the default tests would run it as well."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        if "pytest.mark.ci_slow" in text and path != Path(__file__):
            whole = re.search(r"^pytestmark = .*?(\]|\n)", text, re.MULTILINE | re.DOTALL)
            if whole and "mark.slow" in whole[0]:
                continue
            near = re.findall(r"mark\.slow\b.{0,40}?mark\.ci_slow\b", text, re.DOTALL)
            assert len(near) == text.count("pytest.mark.ci_slow"), path.name

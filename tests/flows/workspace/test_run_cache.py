"""Run cache: a value is found once, sections of one name stay apart, a failure leaves nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.workspace.run_cache import CacheSection, RunCache


def test_a_value_is_found_once_even_where_it_is_nothing() -> None:
    cache, asked = RunCache(), []
    section = CacheSection[str, None]("side effects")
    for _ in range(2):
        assert cache.get(section, "a", lambda: asked.append("a")) is None
    assert asked == ["a"]


def test_two_sections_of_one_name_do_not_see_each_others_values() -> None:
    cache = RunCache()
    first, second = CacheSection[str, int]("lengths"), CacheSection[str, int]("lengths")
    cache.known(first)["a"] = 1
    assert cache.get(second, "a", lambda: 2) == 2
    assert cache.known(first) == {"a": 1}


def test_two_runs_do_not_see_each_others_values() -> None:
    section = CacheSection[str, int]("lengths")
    RunCache().known(section)["a"] = 1
    assert RunCache().known(section) == {}


def test_what_cannot_be_found_is_looked_for_again() -> None:
    cache, section = RunCache(), CacheSection[str, int]("lengths")
    with pytest.raises(ZeroDivisionError):
        cache.get(section, "a", lambda: 1 // 0)
    assert cache.get(section, "a", lambda: 1) == 1


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_type_checker_refuses_a_key_or_a_value_of_another_type(tmp_path: Path) -> None:
    right = 'length: int = cache.get(LENGTHS, "a", lambda: 1)'
    for line, is_right in (
        (right, True),
        (right.replace('"a"', "1"), False),
        (right.replace("lambda: 1", 'lambda: "1"'), False),
        (right.replace(": int", ": str"), False),
    ):
        file = tmp_path / "ask.py"
        file.write_text(
            "from flows.workspace.run_cache import CacheSection, RunCache\n"
            'LENGTHS, cache = CacheSection[str, int]("lengths"), RunCache()\n'
            f"{line}\n"
        )
        checked = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(file)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert (checked.returncode == 0) is is_right, checked.stdout

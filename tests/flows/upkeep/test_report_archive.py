"""Reports of nights: each is kept, a night without news keeps none, a killed one's is made up."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.workspace.settings import Settings


def reports_of(settings: Settings) -> dict[str, bytes]:
    folder = settings.report_file.parent
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.html"))}


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_night_without_news_leaves_reports_as_they_are(
    night_copy: Settings, rpe: Callable[..., int]
) -> None:
    before = reports_of(night_copy)
    assert [Path(name).parts[0] for name in before] == ["index.html", "nights", "nights"]
    assert rpe("nightly") == 0
    assert reports_of(night_copy) == before


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_next_run_writes_the_report_that_a_killed_one_owes(
    night_copy: Settings, rpe: Callable[..., int]
) -> None:
    before = reports_of(night_copy)
    (kept,) = (night_copy.report_file.parent / "nights").glob("2*.html")
    kept.unlink()
    night_copy.report_file.write_text("of the night before")
    assert rpe("nightly") == 0
    after = reports_of(night_copy)
    assert after.keys() == before.keys()
    assert b"Decided tonight" in after["index.html"]
    name, marks = f"nights/{kept.name}", (b"<h1>", b'<h2 id="nights">')
    told = [page[name].split(marks[0])[1].split(marks[1])[0] for page in (before, after)]
    assert told[0] == told[1], "all but the list of nights, in which there is one more"

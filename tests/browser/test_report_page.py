"""The report in Chromium, at three widths and by day and night: nothing is cut, pale or tiny."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.report.page import write_report
from catalog.stores.vectors.vectors import Vectors
from tests.catalog.lakes import fresh_lake
from tests.catalog.report_experiments import add_experiments
from tests.catalog.report_world import write_world

pytestmark = pytest.mark.browser
WIDTHS = (390, 768, 1280)
LOOKS = (Path(__file__).parent / "looks.js").read_text()
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Debian's Chromium, with a profile of its own."""
    from playwright.sync_api import sync_playwright  # of the extra `browser`

    chromium = shutil.which("chromium")
    assert chromium, "apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of very different workspaces, with the list of past ones."""
    homes = {name: tmp_path_factory.mktemp(name) for name in ("few", "many", "empty", "trials")}
    few = write_world(homes["few"])
    many = write_world(homes["many"], n_sources=36, n_targets=62, n_nights=2)
    with fresh_lake(homes["empty"]) as lake:
        empty = homes["empty"] / "index.html"
        write_report(lake, _vectors(homes["empty"]), empty, targets=(), min_groups=10)
    with fresh_lake(homes["trials"]) as lake:
        add_experiments(lake)
        trials = homes["trials"] / "index.html"
        write_report(lake, _vectors(homes["trials"]), trials, targets=(), min_groups=10)
    past = few.parent / "nights"
    (kept,) = past.glob("2*.html")
    return {"few": few, "many": many, "empty": empty, "experiments": trials,
            "past": kept, "list": past / "index.html"}  # fmt: skip


def _vectors(home: Path) -> Vectors:
    return Vectors.open(str(home / "vectors"), lock_path=home / "writer.lock")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["few", "many", "empty", "experiments", "past", "list"])
def test_nothing_is_cut_pale_tiny_or_nameless(
    browser: Any, pages: dict[str, Path], tmp_path: Path, name: str, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(pages[name].as_uri())
        for summary in page.locator("summary").all()[:3]:
            summary.click()
        shot = tmp_path / f"{name}-{width}-{scheme}.png"
        page.screenshot(path=str(shot))
        faults = page.evaluate(LOOKS)
    finally:
        page.close()
    assert faults == []
    assert shot.stat().st_size > 5000
    assert asked == [pages[name].as_uri()], "the page asks for nothing beside itself"


def test_a_screen_reader_finds_rows_and_heads_on_a_phone(
    browser: Any, pages: dict[str, Path]
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    try:
        page.goto(pages["few"].as_uri())
        table = page.get_by_role("table", name="Differences are challenger minus")
        assert table.get_by_role("columnheader").count() == 8
        rows = table.get_by_role("row")
        assert rows.count() == 4
        assert rows.nth(1).get_by_role("rowheader").inner_text().startswith("letters-of-the")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "To the report"
    finally:
        page.close()

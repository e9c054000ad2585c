"""The report: tonight apart from before, trends, past reports that stay, and nothing that asks."""

import json
import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from catalog.report import archive, queries, words
from catalog.report.facts import CHARTED
from catalog.report.page import is_written, write_report
from catalog.stores.lake.lake import Lake
from catalog.stores.vectors.vectors import Vectors
from catalog.tables.views import load_views
from tests.catalog.lakes import fresh_lake
from tests.catalog.nights import Nights, day
from tests.catalog.report_world import LONG, names_of, write_world

TARGET = "site-d"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of an eventful world."""
    return write_world(tmp_path_factory.mktemp("world"))


def write(lake: Lake, home: Path, *targets: str) -> str:
    vectors = Vectors.open(str(home / "vectors"), lock_path=home / "writer.lock")
    file = home / "report" / "index.html"
    write_report(lake, vectors, file, targets=targets or (TARGET,), min_groups=10)
    return file.read_text()


def steps_of(*done: str) -> str:
    """The steps of a run that asked the gate about these targets."""
    return json.dumps([{"name": "promote", "done": done, "failed": []}], separators=(",", ":"))


def one_night(nights: Nights, number: int, *, flow: str = "night", outcome: str = "ok") -> None:
    """A night: the first one promotes, later ones refuse the next challenger."""
    arms = {"linear": f"n{number}", "base": ""} | ({"champion": "n0"} if number else {})
    if outcome == "ok":
        scores = {"linear": 0.8, "base": 0.5, **({"champion": 0.7} if number else {})}
        nights.evaluation(number, scores, {a: n for a, n in arms.items() if a != "base"})
        action, champion = ("refused", "n0") if number else ("promoted", "")
        version = str(number + 1)
        nights.verdict(number + 0.05, action, "linear", f"n{number}", champion=champion,
                       version=version, reasons="There is no champion yet." if not number else
                       "Ties against the champion.")  # fmt: skip
    steps = steps_of(*([] if outcome == "unchanged" else [TARGET]))
    nights.run(
        number, flow=flow, outcome=outcome, steps_json=steps, ended_at=day(number + 0.1),
        wall_seconds=60.0, cpu_seconds=50.0, peak_memory_bytes=1 << 30, written_bytes=0,
    )  # fmt: skip
    nights.write()


def block(page: str, name: str) -> str:
    """What stands under a heading of the page."""
    return page.partition(f'<h2 id="{name}">')[2].partition("<h2")[0]


def test_a_promotion_of_the_first_night_is_not_told_as_tonights(tmp_path: Path) -> None:
    with fresh_lake(tmp_path) as lake:
        old, young = Nights(lake, "old"), Nights(lake, "young")
        one_night(old, 0)
        first = write(lake, tmp_path, "old", "young")
        young.evaluation(1, {"linear": 0.8, "base": 0.5}, {"linear": "n0"})
        young.verdict(1.05, "promoted", "linear", "n0", version="1", reasons="There is no champion")
        young.run(1, ended_at=day(1.1), wall_seconds=1.0, cpu_seconds=1.0, written_bytes=0,
                  steps_json=steps_of("young"))  # fmt: skip
        young.write()
        second = write(lake, tmp_path, "old", "young")
    assert "From then on linear serves old." in block(first, "tonight")
    tonight, standing = block(second, "tonight"), block(second, "standing")
    assert "young" in tonight
    assert "target-old" not in tonight
    assert "2026-01-01 13:12:00 UTC" in standing, "since when it stands"
    assert "target-old" in standing
    assert "young" not in standing
    assert "There is no champion yet" not in second
    tiles = second.partition('<ul class="tiles">')[2].partition("</ul>")[0]
    assert "<strong>1</strong>promoted tonight" in tiles
    assert "<strong>2</strong>of 2 targets served by an ensemble" in tiles


def test_what_is_kept_or_was_taken_back_is_told_as_that() -> None:
    kept = {"verdict": "kept", "target": TARGET, "reason": "The champion is this model already."}
    taken = {"verdict": "refused", "target": TARGET, "reason": "It was rolled back by a person."}
    assert words.of_decision(kept, "Version 1") == "Version 1 goes on serving."
    assert words.of_verdict(kept) == (
        "is what serves already, so no test was run and no error budget used"
    )
    assert "a challenger that a person rolled back" in words.of_decision(taken, "Version 1")
    assert "a person rolled that challenger back" in words.of_verdict(taken)
    actions = load_views_actions()
    assert actions <= {*words.ACTIONS}, "every action on record has words"


def load_views_actions() -> set[str]:
    """The actions that the documentation of mart.nightly_status names."""
    views = {view.name: view for view in load_views()}
    (told,) = [c for c in views["nightly_status"].columns if c.name == "action"]
    return set(re.findall(r"\b[a-z_]+ed\b|pending|kept", told.doc.partition("(")[0]))


def test_a_night_without_a_decision_says_so(tmp_path: Path) -> None:
    with fresh_lake(tmp_path) as lake:
        nights = Nights(lake)
        one_night(nights, 0)
        write(lake, tmp_path)
        one_night(nights, 1, flow="embed", outcome="alert")
        page = write(lake, tmp_path)
    assert "Nothing was decided" in block(page, "tonight")
    assert "promoted tonight" not in page
    assert "Run of embed, 2026-01-02" in page


def test_each_run_keeps_its_report_and_a_night_without_news_has_none(tmp_path: Path) -> None:
    file = tmp_path / "report" / "index.html"
    with fresh_lake(tmp_path) as lake:
        nights = Nights(lake)
        for number in range(3):
            one_night(nights, number)
            assert not is_written(lake, file)
            write(lake, tmp_path)
            assert is_written(lake, file)
        kept = {path.name: path.read_text() for path in (tmp_path / "report/nights").iterdir()}
        one_night(nights, 3, outcome="unchanged")
        assert is_written(lake, file), "nothing is missing"
        page = write(lake, tmp_path)
    assert len(kept) == 4, "three reports and their list"
    assert {p.name: p.read_text() for p in (tmp_path / "report/nights").iterdir()} == kept
    assert "The night of 2026-01-03" in page, "the newest night with news"
    assert page.count('href="nights/2026-') == 4, "the previous one, and three past nights"
    assert "unchanged" in block(page, "nights")


def test_every_link_leads_to_a_page_or_a_place_in_it(world: Path) -> None:
    for page in (world, *(world.parent / "nights").iterdir()):
        text = page.read_text()
        links = re.findall(r'href="([^"]+)"', text)
        assert links
        for link in links:
            path, _, anchor = link.partition("#")
            assert not re.match(r"[a-z]+:", path), "nothing lies outside"
            there = (page.parent / path).resolve() if path else page
            assert there.is_file(), link
            assert not anchor or f'id="{anchor}"' in there.read_text(), link


def test_no_script_no_address_and_words_instead_of_columns(world: Path) -> None:
    page = world.read_text()
    assert not re.search(r"<script|https?://|@import|url\(|javascript:|\son\w+=", page)
    shown = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    for word in ("n phi", "is stale", "is_stale", ">False<", ">True<", ">None<", "None "):
        assert word not in shown, word
    times = re.findall(r"\d\d:\d\d(?!\d)(?::\d\d)?(?: UTC)?", shown)
    assert times
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d( UTC)?", time) for time in times)


def test_every_block_says_what_it_means(world: Path) -> None:
    page = world.read_text()
    blocks = re.findall(r"<h2[^>]*>(.*?)</h2>\s*(<p class=\"sowhat\">)?", page)
    assert len(blocks) > 10
    assert [name for name, so_what in blocks if not so_what] == []
    for sentence in (
        "arms of 5 score above base here, and still none is served",
        "needs p of at most",
        "are no longer what they were: read <code>rpe source findings",
        "since it began to serve: more than chance",
    ):
        assert sentence in page, sentence


def test_every_term_is_explained_once_where_it_is_used(world: Path) -> None:
    page = world.read_text()
    for term, sentence in {**words.SPENDING, **words.GUARD_TERMS}.items():
        told = sentence.replace("`gate.max_loss`", "<code>gate.max_loss</code>")
        assert page.count(f"<dt>{term}</dt><dd>{told}</dd>") == 1, "where no pointer rests"
    heads = dict(re.findall(r'columnheader" title="([^"]*)">([^<]*)</th>', page))
    assert {*heads.values()} == {*words.SPENDING}
    terms = {name: told for told, name in re.findall(r'<abbr title="([^"]*)">([^<]*)</abbr>', page)}
    assert terms == words.GUARD_TERMS
    (cards,) = re.findall(r"<details><summary>Checks[^<]*</summary>(.*?)</details>", page)[:1]
    assert "</abbr> 2.37 is beyond 1.5" in cards


def test_a_page_without_guards_explains_none_of_their_terms(tmp_path: Path) -> None:
    with fresh_lake(tmp_path) as lake:
        page = write(lake, tmp_path)
    assert "<dt>" not in page


def test_a_source_that_needs_attention_has_a_colour(world: Path) -> None:
    page = world.read_text()
    late = {"is_stale": True, "last_accepted_at": None}
    states = {words.of_source({"source": "a"}, {"a"}), words.of_source({"source": "b"} | late, ())}
    assert states == {"has a refused file", "has delivered nothing"}
    for state in states:
        assert f".{state.replace(' ', '-')} {{" in page or f".{state.replace(' ', '-')}, " in page


def test_names_of_others_are_escaped_everywhere(tmp_path: Path) -> None:
    with fresh_lake(tmp_path) as lake:
        with lake.transaction(message="test", run=None) as commit:
            commit.insert_new("sources", [
                {"source": "a", "contract_sha256": "c", "title": "<img src=x> & `<b>`",
                 "owner": '"><svg onload=x>', "license": "", "contract_json": "{}"}
            ])  # fmt: skip
        page = write(lake, tmp_path, '<i>"target')
    assert not re.search(r"<img|<b>|<i>|<svg onload", page)
    assert "&lt;img src=x&gt; &amp; <code>&lt;b&gt;</code>" in page


def test_every_target_has_a_row_and_the_first_have_charts(tmp_path: Path) -> None:
    names = [f"target-{number:03d}" for number in range(CHARTED + 6)]
    with fresh_lake(tmp_path) as lake:
        page = write(lake, tmp_path, *names)
        short = write(lake, tmp_path, *names[:CHARTED])
    assert all(name in page for name in names)
    assert page.count('<section class="card"') == CHARTED
    assert f"first {CHARTED} of {CHARTED + 6} targets" in page
    assert "Charts are drawn" not in short


def test_a_hundred_nights_are_charted_by_their_last_and_listed_by_the_archive(
    tmp_path: Path,
) -> None:
    with fresh_lake(tmp_path) as lake:
        nights = Nights(lake)
        for number in range(100):
            arms = {"linear": f"n{number}", **({"champion": "n0"} if number else {})}
            scores = {"linear": 0.8, "base": 0.5, **({"champion": 0.7} if number else {})}
            nights.evaluation(number, scores, arms)
            nights.run(number, ended_at=day(number + 0.1), wall_seconds=1.0, cpu_seconds=1.0,
                       written_bytes=0)  # fmt: skip
        nights.verdict(0.05, "promoted", "linear", "n0", version="1")
        nights.write()
        page = write(lake, tmp_path)
        assert write(lake, tmp_path) == page, "the same lake makes the same page"
    assert len(page) < 100_000
    assert "the last 14 of 100 nights" in page
    told = re.search(r'aria-label="Scores of site-d by night. ([^"]*)"', page)
    assert told
    points = told[1].split("; ")
    assert len(points) == 30
    assert points[-1] == "2026-04-10: champion 0.700, base 0.500"
    assert "from 0.800 to 0.700 since it began to serve" in page, "however long ago"


def test_a_withdrawal_erases_every_report_that_may_know_of_it(tmp_path: Path) -> None:
    report = tmp_path / "report" / "index.html"
    with fresh_lake(tmp_path) as lake:
        nights = Nights(lake)
        for number in range(4):
            one_night(nights, number)
            write(lake, tmp_path)
        names = list(archive.pages_of(report).values())
        second = report.parent / "nights" / names[1]
        second.write_text(second.read_text().replace("</main>", f"{LONG}</main>"))
        archive.erase_pages(report, names=[LONG], since=day(3.1) + timedelta(microseconds=5))
        left = sorted(path.name for path in report.parent.rglob("*.html"))
        assert left == [names[0], names[2]], "neither the named, nor the later, nor any list"
        archive.erase_pages(report, names=[LONG], since=day(3.1))
        assert sorted(path.name for path in report.parent.rglob("*.html")) == left
        archive.erase_pages(report, names=["nobody"], since=None)
        assert sorted(path.name for path in report.parent.rglob("*.html")) == left
        assert not is_written(lake, report)
        page = write(lake, tmp_path)
    assert page.count('href="nights/2026-') >= 3


def test_a_source_keeps_its_colour_on_the_whole_page(world: Path) -> None:
    page = world.read_text()
    sources, _ = names_of(12, 5)
    assert all(f"--s{number}:#" in page for number in range(12))
    for number, source in enumerate(sources[:4]):
        mark = f"var(--s{number})"
        chips = re.findall(rf'style="background:(var\(--s\d+\))"></span>\s*{source}\b', page)
        assert chips
        assert set(chips) == {mark}, source
        bars = [row for row in re.findall(r"<rect [^>]*>", page) if mark in row]
        assert len(bars) >= 6, "weights and the map"


def test_people_decide_after_the_night_and_are_told_apart(tmp_path: Path) -> None:
    with fresh_lake(tmp_path) as lake:
        nights = Nights(lake)
        nights.evaluation(0, {"linear": 0.8, "base": 0.5}, {"linear": "n0"})
        nights.verdict(0.05, "pending", "linear", "n0", version="1")
        nights.run(0, ended_at=day(0.1), wall_seconds=1.0, cpu_seconds=1.0, written_bytes=0)
        nights.write()
        waiting = write(lake, tmp_path)
        nights.verdict(0.5, "approved", "linear", "n0", version="1", actor="jane.roe")
        nights.write()
        page = write(lake, tmp_path)
    assert "rpe promote site-d --actor NAME" in block(waiting, "tonight")
    assert "pending" in block(page, "tonight")
    assert "by jane.roe" in block(page, "standing")
    assert "Version 1" in block(page, "standing")
    assert 'id="served"' not in page
    assert 'href="#served"' not in page, "what is behind it is not on record"


def test_a_version_leads_to_what_is_behind_it(world: Path) -> None:
    page = world.read_text()
    assert re.search(r'<a href="#served">\s*Version 1\s*</a>', block(page, "standing"))
    assert "models:/reports-of-site-00/1" in block(page, "served")


class _Tags(HTMLParser):
    """The tags that are open, and those that were closed out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.odd: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.odd.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """A tag that closes itself."""


def test_the_page_is_well_formed(world: Path) -> None:
    for page in (world, *(world.parent / "nights").iterdir()):
        tags = _Tags()
        tags.feed(page.read_text())
        assert (tags.open, tags.odd) == ([], [])


def test_the_newest_run_with_news_is_what_a_page_tells_of(tmp_path: Path) -> None:
    with fresh_lake(tmp_path) as lake:
        assert queries.read_last_run(lake) is None
        nights = Nights(lake)
        one_night(nights, 0)
        one_night(nights, 1, outcome="unchanged")
        found = queries.read_last_run(lake)
    assert found is not None
    assert found["run_id"] == "run:night@0"

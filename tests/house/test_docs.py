"""The pages of infra/docs: what is written from code and results is what they would be now."""

import re
from pathlib import Path

import pytest

from catalog.contracts.files import FileFormat
from tests.experiments.protocols import PROTOCOLS
from tests.experiments.result_files import (
    FOLDER,
    Result,
    ResultTable,
    protocol_fingerprint,
    read_result,
    write_result,
)
from tests.house import code_sections, result_sections
from tests.house.write_docs import DOCS, PART, ROOT, pages, parts_of, written

PAGES = pages()
RESULTS = sorted(FOLDER.glob("*.json"))
LINK = re.compile(r"\]\(([^)\s]+)\)")
TINY = ResultTable(("arm", "score"), (("base", {"value": 0.5, "low": 0.25, "high": 1.0}),))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_says_what_code_and_results_say(page: Path) -> None:
    text = page.read_text("utf-8")
    assert written(text) == text, "python -m tests.house.write_docs"


def test_each_section_and_each_table_of_a_result_stands_on_one_page() -> None:
    stands = [part for page in PAGES for part in parts_of(page.read_text("utf-8"))]
    tables = {f"{path.stem}.{name}" for path in RESULTS for name in read_result(path).tables}
    assert sorted(stands) == sorted({*code_sections.SECTIONS, *result_sections.SECTIONS, *tables})


def test_a_table_of_results_is_written_by_no_hand() -> None:
    for page in (DOCS / "results").glob("*.md"):
        rest = PART.sub("", page.read_text("utf-8"))
        assert page.name == "index.md" or "\n| " not in rest, page.name


def test_a_page_that_says_something_else_is_written_anew() -> None:
    page = DOCS / "methods.md"
    text = page.read_text("utf-8")
    changed = text.replace("all candidates weigh the same", "all candidates weigh twice")
    assert changed != text
    assert written(changed) == text


def test_every_result_is_of_a_protocol_and_none_is_missing() -> None:
    assert {path.stem for path in RESULTS} == set(PROTOCOLS)
    for path in RESULTS:
        result = read_result(path)
        assert result.experiment == path.stem
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", result.date)
        assert result.commands
        assert re.fullmatch("[0-9a-f]{64}", result.protocol)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_is_kept_as_it_is_read(path: Path, tmp_path: Path) -> None:
    assert write_result(read_result(path), folder=tmp_path).read_text() == path.read_text()


def test_a_table_is_stale_once_its_protocol_has_changed() -> None:
    asked = protocol_fingerprint(PROTOCOLS["domain_guard"]())
    fresh = Result("domain_guard", asked, "2026-01-02", ("command",), {}, {"tiny": TINY})
    assert result_sections.stale_note(fresh) == []
    then = Result("domain_guard", "0" * 64, "2026-01-02", ("command",), {}, {"tiny": TINY})
    (note,) = result_sections.stale_note(then)
    assert note.startswith("**Stale:**")
    assert asked[:12] in note


def test_a_protocol_is_told_by_what_is_asked_and_not_by_the_order_of_keys() -> None:
    assert protocol_fingerprint({"a": 1, "b": [2]}) == protocol_fingerprint({"b": [2], "a": 1})
    assert protocol_fingerprint({"a": 1}) != protocol_fingerprint({"a": 2})
    answers = {name: protocol_fingerprint(make()) for name, make in PROTOCOLS.items()}
    assert len(set(answers.values())) == len(PROTOCOLS), "each experiment asks something else"


def test_every_command_has_its_words_and_every_option_is_explained() -> None:
    page = (DOCS / "commands.md").read_text("utf-8")
    for line in page.splitlines():
        assert not re.fullmatch(r"\| `[^|]+` \|  \|", line), f"{line} says nothing"
    assert page.count("\nExit codes: ") == page.count("\n### rpe ")


def test_every_format_that_a_contract_may_name_is_described() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", code_sections.SECTIONS["formats"](), re.MULTILINE))
    assert told == set(FileFormat.__args__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        target, _, anchor = link.partition("#")
        if re.match("[a-z]+:", target):
            continue
        place = (page.parent / target) if target else page
        assert place.exists(), link
        assert not anchor or anchor in anchors(place), link


def anchors(page: Path) -> set[str]:
    """The names by which a repository's page links headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}

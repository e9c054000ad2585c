"""README, CONTRIBUTING, and every other text that names a command or a file, against the code."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
INDEX = (ROOT / "infra" / "docs" / "index.md").read_text()
RPE: Any = typer.main.get_command(app)
# where a text may name a command: Markdown, and the remedies and help inside our messages
TEXTS = sorted(
    path
    for pattern in ("*.md", "infra/**/*.md", "rpe_core/**/*.py", "catalog/**/*.*", "flows/**/*.py")
    for path in ROOT.glob(pattern)
    if path.suffix in (".md", ".py", ".html", ".yaml")
)
NAMED = re.compile(r"`rpe ([^`]+)`|^rpe (.+?)(?:  +#.*)?$|Example: rpe (.+)$", re.MULTILINE)


def rows_of(text: str, first_column: str) -> list[list[str]]:
    """The cells of each row of the table with this first column."""
    head = rf"^\| {re.escape(first_column)} \|.*\n\|[-| ]+\n"
    body = re.split(head, text, maxsplit=1, flags=re.MULTILINE)[1]
    lines = body.split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def paths_in(text: str) -> list[str]:
    """The files and folders of the repository that a text names in backticks."""
    names = re.findall(r"`([\w.-]+(?:/[\w.-]*)+)`", text)
    return [name for name in names if (ROOT / name.partition("/")[0]).is_dir()]


def test_the_readme_is_one_page() -> None:
    lines = README.splitlines()
    assert len(lines) <= 130
    assert [line for line in lines if len(line) > 120] == []


def test_the_picture_of_the_night_is_plain() -> None:
    """Rows of few steps below one another: a page shrinks one long row until nobody can read it."""
    (picture,) = re.findall(r"^```mermaid\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    first, *lines = [line.strip() for line in picture.splitlines()]
    assert first == "flowchart TB"
    node = r"[a-z]+(?:\[[\w ,]+\]|\[\([\w ]+\)\]|\{\w+\})?"
    row = r"subgraph [a-z]+\[[\w ]+\]|direction LR|end"
    for line in lines:
        assert re.fullmatch(rf"{node}(?: -->(?:\|[\w ,']+\|)? {node})+|{row}", line), line
    rows = re.findall(r"subgraph .*?\n(.*?)\n {4}end", picture, re.DOTALL)
    assert len(rows) == lines.count("end") == lines.count("direction LR")
    assert max(len(re.findall(r"[a-z][\[{]", row)) for row in rows) <= 6
    named = re.findall(r"\b([a-z]+)[\[{]", picture)
    assert len(named) == len(set(named)), "a node is named where it comes first"
    joined = [line for line in lines if "-->" in line]
    assert set(re.findall(r"(?:^|[>|] )([a-z]+)", "\n".join(joined), re.MULTILINE)) == set(named)


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_file_that_is_named_is_there(text: str) -> None:
    """A name with an `x` or `NNNN` in it is of what is to be added: its folder is there."""
    named = paths_in(text)
    assert len(named) > 10
    to_come = re.compile(r"(?:^|/)(?:test_|bench_|NNNN_)?x(?:_world)?(?:\.\w+)?/?$")
    for name in named:
        if to_come.search(name):
            assert (ROOT / name.rstrip("/")).parent.is_dir(), name
        else:
            assert (ROOT / name).exists(), name


def test_the_readme_says_of_each_addition_what_contributing_says() -> None:
    whole = {row[0]: paths_in(" ".join(row)) for row in rows_of(CONTRIBUTING, "to add a")}
    for kind, *cells in rows_of(README, "to add a"):
        named = paths_in(" ".join(cells))
        assert named, kind
        assert set(named) <= set(whole[kind]), kind


def test_each_of_twelve_questions_has_one_file_at_most_two_folders_deep() -> None:
    questions = rows_of(CONTRIBUTING, "question")
    assert len(questions) == 12
    for question, answer in questions:
        (file,) = paths_in(answer)
        assert question.endswith("?")
        assert (ROOT / file).is_file(), file
        top, *folders, _ = file.split("/")
        assert f"`{top}/`" in README, "a stranger reads of it in the map of the house"
        assert len(folders) <= 2


def test_the_index_leads_to_every_page() -> None:
    docs = ROOT / "infra" / "docs"
    pages = {page.name for page in docs.glob("*.md")} - {"index.md"}
    assert pages == set(re.findall(r"\]\(([\w-]+\.md)\)", INDEX))
    results = (docs / "results" / "index.md").read_text()
    named = set(re.findall(r"\]\(([\w-]+\.md)\)", results))
    assert {page.name for page in (docs / "results").glob("*.md")} - {"index.md"} == named
    assert "infra/docs/index.md" in README


def test_contract_words_of_the_documents_exist() -> None:
    fields = (ROOT / "catalog/contracts/contract.py").read_text()
    said = (ROOT / "infra/docs/sources.md").read_text()
    for name in ("changed_row", "unknown_column", "max_quarantined_ratio", "max_phi_ratio"):
        assert name in said
        assert re.search(rf"^    {name}:", fields, re.MULTILINE)


def is_a_command(named: str) -> bool:
    """Whether the words after `rpe` are a command or a group of them, with options that it has."""
    words = shlex.split(named.split("|")[0].split("…")[0].replace("\\n", " ").replace("\\", ""))
    command = RPE
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    is_whole = command is not RPE and not (hasattr(command, "commands") and words)
    given = {word for word in words if word.startswith("-")}
    return given <= options and (is_whole or words == ["--help"])


def test_commands_that_a_text_names_exist() -> None:
    named = {
        (str(path.relative_to(ROOT)), "".join(found))
        for path in TEXTS
        for found in NAMED.findall(path.read_text())
    }
    assert len(named) > 40
    assert [pair for pair in sorted(named) if not is_a_command(pair[1])] == []

"""The README and every other text that names a command, held against the code."""

import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from catalog.contracts.files import FileFormat
from flows.cli import app
from flows.workspace.plan import AUTO, BASELINE_MERGES
from rpe_core.adapters.table import ADAPTER_METHODS
from rpe_core.evaluation.metrics import METRICS
from rpe_core.families.table import FAMILIES
from rpe_core.merging.merge import METHODS
from rpe_core.merging.table import MERGE_METHODS
from rpe_core.weighting.strategies import STRATEGIES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
RPE: Any = typer.main.get_command(app)
# where a text may name a command: Markdown, and the remedies and help inside our messages
TEXTS = sorted(
    path
    for pattern in ("*.md", "infra/**/*.md", "rpe_core/**/*.py", "catalog/**/*.*", "flows/**/*.py")
    for path in ROOT.glob(pattern)
    if path.suffix in (".md", ".py", ".html", ".yaml")
)
NAMED = re.compile(r"`rpe ([^`]+)`|^rpe (.+?)(?:  +#.*)?$|Example: rpe (.+)$", re.MULTILINE)


def table(first_column: str) -> list[tuple[str, str]]:
    """The first two cells of each row of the README's table with this first column."""
    body = re.split(rf"^\| {first_column} \|.*\n\|---.*\n", README, maxsplit=1, flags=re.MULTILINE)[
        1
    ]
    lines = body.split("\n\n", 1)[0].splitlines()
    return [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in lines]  # type: ignore[misc]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_command_is_in_the_table_and_no_other() -> None:
    rows = table("command")
    listed = {name.removeprefix("rpe ") for cell, _ in rows for name in quoted(cell)}
    assert listed == set(RPE.commands)
    for cell, does in rows:
        for name in quoted(cell):
            group = RPE.commands[name.removeprefix("rpe ")]
            if hasattr(group, "commands"):
                assert set(quoted(does)) == set(group.commands)


def test_every_strategy_is_in_the_table_and_no_other() -> None:
    assert {name for cell, _ in table("strategy") for name in quoted(cell)} == {*STRATEGIES, AUTO}
    assert all(strategy.doc for strategy in STRATEGIES.values())


def test_every_merge_method_is_in_the_table_and_no_other() -> None:
    listed = {name for cell, _ in table("merge method") for name in quoted(cell)}
    assert listed == {*METHODS, *BASELINE_MERGES}
    assert all(method.doc for method in MERGE_METHODS.values())


@pytest.mark.parametrize(
    ("title", "code"),
    [
        ("metric", METRICS),
        ("adapter method", ADAPTER_METHODS),
        ("base family", FAMILIES),
        ("format", dict.fromkeys(get_args(FileFormat))),
    ],
)
def test_every_name_of_a_table_is_in_the_readme_and_no_other(
    title: str, code: dict[str, object]
) -> None:
    assert {name for cell, _ in table(title) for name in quoted(cell)} == set(code)


def test_every_table_to_extend_is_where_the_readme_says() -> None:
    for what, line in table("to add a"):
        assert what
        assert line
    files = re.findall(r"`((?:rpe_core|catalog|flows)/[\w/]+\.py)`", README)
    missing = [name for name in files if not (ROOT / name).is_file()]
    assert [name for name in missing if not name.endswith("/x.py")] == []


def test_contract_words_of_the_readme_exist() -> None:
    fields = (ROOT / "catalog/contracts/contract.py").read_text()
    for name in ("changed_row", "unknown_column", "max_quarantined_ratio", "max_phi_ratio"):
        assert name in README
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

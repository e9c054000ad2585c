"""Tables: within the terminal, whole in a pipe, and no cell is taken for a command."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flows.commands.output import show_rows
from flows.commands.terminal_tables import LEAST, draw

NAMES = ["target name", "n items", "in short"]
ROWS = [["ultrasound-reports", "132", "win against base; a part of the error is spent " * 3]]
CELLS = st.lists(
    st.lists(st.text("ab-é語 [/]:\n", max_size=60), min_size=3, max_size=3), min_size=1, max_size=4
)


def letters(text: str) -> str:
    return "".join(sorted(text.replace("─", "").replace(" ", "").replace("\n", "")))


@pytest.mark.parametrize("width", [LEAST, 80, 132])
def test_a_table_fits_its_terminal(width: int) -> None:
    text = draw(NAMES, ROWS, "targets", width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert text.startswith("targets\n")


@given(CELLS, st.integers(LEAST, 200))
def test_nothing_is_lost_at_any_width(cells: list[list[str]], width: int) -> None:
    text = draw(NAMES, cells, "", width=width)
    assert max(map(cell_len, text.splitlines()), default=0) <= width
    given_letters = letters("".join(cell for row in cells for cell in row))
    for letter in set(given_letters):
        assert letters(text).count(letter) >= given_letters.count(letter)


@given(CELLS)
def test_without_a_width_no_line_is_folded(cells: list[list[str]]) -> None:
    text = draw(NAMES, cells, "", width=0)
    for row in cells:
        for cell in row:
            assert all(line.rstrip() in text for line in cell.splitlines())


def test_words_are_not_cut_where_a_record_has_room() -> None:
    names = [f"column {i}" for i in range(12)]
    row = [f"adapter:some_source_{i}@0123456789ab" for i in range(12)]
    lines = draw(names, [row], "", width=80).splitlines()
    assert [line.split()[-1] for line in lines if line] == row


@pytest.mark.parametrize("width", ["80", "200"])
def test_cells_are_text_and_no_markup(
    width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    cells = {"a": "[/red]", "b": ":smile:", "c": "\x1b[31mred", "d": "[bold]x", "e": None}
    show_rows([cells], as_json=False)
    told = capsys.readouterr().out
    assert {"[/red]", ":smile:", "\N{REPLACEMENT CHARACTER}[31mred", "[bold]x"} <= set(told.split())


@pytest.mark.parametrize(
    "name", ["source list", "adapters list", "ensemble site-d --explain", "source show site_a"]
)
def test_commands_keep_within_80_columns(
    name: str,
    finished_night: object,
    rpe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RPE_HOME", str(finished_night.root))  # type: ignore[attr-defined]
    monkeypatch.setenv("COLUMNS", "80")
    assert rpe(*name.split()) == 0
    narrow = capfd.readouterr().out
    assert max(map(cell_len, narrow.splitlines())) <= 80
    monkeypatch.delenv("COLUMNS")
    assert rpe(*name.split()) == 0
    whole = "\n".join(capfd.readouterr().out.splitlines()[3:])  # a record names no empty cell
    ages = re.compile(r"\d\.\d+|─+")  # a source is some seconds older the second time
    assert set(ages.sub("", whole).split()) <= set(ages.sub("", narrow).split())

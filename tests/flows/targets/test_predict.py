"""`rpe predict`: one row for each input, in its place, whoever answers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.targets.decisions import approve
from flows.workspace.settings import Settings
from tests.flows.conftest import TARGET

# peft asks transformers for a property by its former name
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


@pytest.mark.parametrize("who", ["base", "champion"])
def test_empty_inputs_keep_their_rows_and_get_no_answer(
    night_copy: Settings,
    rpe: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    who: str,
) -> None:
    if who == "champion":
        approve(night_copy, TARGET, actor="jane.roe")
    file = tmp_path / "inputs.txt"
    file.write_bytes("\ufeffred flat a\r\n\r\n  \nthe scan\u2028image shows\n".encode())
    assert rpe("predict", TARGET, "--json", "--text", "", "--file", str(file)) == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)["rows"]
    assert [row["input"] for row in rows] == [1, 2, 3, 4, 5], "a line separator ends no line"
    assert [row["label"] is None for row in rows] == [True, False, True, True, False]
    assert [row["score"] is None for row in rows] == [True, False, True, True, False]
    assert "no answer to empty inputs: 1, 3, 4" in shown.err
    assert "red flat a" not in shown.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--image", "a.png", "--text", "red"), "--image is an input of images"),
        (("--image", "a.png", "--file", "a.txt"), "--image is an input of images"),
        (("--out", "masks", "--text", "red"), "--out is an input of images"),
    ],
)
def test_what_would_not_be_answered_is_refused(
    rpe: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    told: str,
) -> None:
    assert rpe("predict", TARGET, *arguments) == 2
    assert told in capsys.readouterr().err
    assert rpe("ensemble", TARGET, "--explain", "--scores") == 2
    assert "one of the two" in capsys.readouterr().err

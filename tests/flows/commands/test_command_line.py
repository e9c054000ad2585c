"""What is expected of any command line: help, version, completion, and no value that is none."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from flows.cli import app
from flows.commands.command_line import exit_codes
from flows.commands.completion import step_names
from flows.steps.table import VERBS
from tests.flows.commands.test_cli import COMMANDS

GROUPS = ("", "source", "adapters", "experiment")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`rpe` in a process of its own."""
    command = [sys.executable, "-m", "flows.cli", *arguments]
    env = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize("name", [*COMMANDS, *GROUPS])
def test_short_and_long_help_are_one_and_tell_every_exit_code(
    name: str, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert rpe(*name.split(), "-h") == 0
    short, err = capfd.readouterr()
    assert rpe(*name.split(), "--help") == 0
    assert (capfd.readouterr().out, err) == (short, "")
    codes = short.partition("Exit codes:\n")[2].splitlines()
    assert [int(line.split()[0]) for line in codes if line[:3].strip()][:3] == [0, 1, 2]
    assert max(map(len, short.splitlines())) <= 80


def test_codes_of_a_refused_batch_and_a_lost_question_stand_where_they_apply() -> None:
    with_3 = {name for name in COMMANDS if 3 in exit_codes(name)}
    with_4 = {name for name in COMMANDS if 4 in exit_codes(name)}
    assert (with_3, with_4) == ({"nightly", "ingest"}, {"promote"})


def test_the_list_of_commands_cuts_no_word(
    rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert rpe("-h") == 0
    listed = capfd.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) == len(typer.main.get_command(app).commands)
    assert all(line.endswith(".") and "..." not in line for line in listed)


def test_version() -> None:
    long, short = run("--version"), run("-V")
    assert long.stdout == short.stdout
    assert long.stdout.startswith("rpe ")
    assert (long.returncode, long.stderr) == (0, "")


def test_a_script_of_completion_for_the_shell_that_asks() -> None:
    line = f"{sys.executable} -m flows.cli --show-completion; exit $?"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert "_RPE_COMPLETE=complete_bash" in done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("rpe nea", ["nearest"]),
        ("rpe nearest ", ["site-d", "site-e"]),
        ("rpe nearest site-e", ["site-e"]),
        ("rpe source show ", ["site_a"]),
        ("rpe nightly --only ingest,e", ["ingest,embed", "ingest,ensemble", "ingest,evaluate"]),
        ("rpe init --demo t", ["text"]),
        ("rpe sql --c", ["--csv"]),
    ],
)
def test_tab_offers_names_of_the_workspace(words: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "site_a.yaml").touch()
    plan = "references:\n  - {sources: [site_a]}\ntargets:\n  # one\n  - {name: site-d, k: 1}\n"
    (tmp_path / "plan.yaml").write_text(f"{plan}  - name: site-e\n    k: 2\n")
    done = run(
        RPE_HOME=str(tmp_path),
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
        _RPE_COMPLETE="complete_bash",
    )
    assert (done.stdout.split(), done.stderr) == (offered, "")


def test_tab_says_nothing_where_there_is_no_workspace(tmp_path: Path) -> None:
    environment = {"COMP_WORDS": "rpe nearest ", "COMP_CWORD": "2"}
    for more in ({"RPE_HOME": str(tmp_path / "no")}, {"RPE_TASK_RUNNER": "pigeon"}):
        done = run(**environment, **more, _RPE_COMPLETE="complete_bash")
        assert (done.stdout.strip(), done.stderr) == ("", "")


def test_tab_knows_every_step() -> None:
    assert tuple(step_names()) == VERBS


NO_VALUES = (
    (("nightly", "--only", ""), "--only must not be empty"),
    (("nightly", "--only", "  "), "--only must not be empty"),
    (("nightly", "--only", ","), "has no name"),
    (("nightly", "--only", "ingest,,train"), "has no name"),
    (("nightly", "--only", "train,train"), "named 2 times"),
    (("nightly", "--only", "ingest", "--only", "train"), "given 2 times"),
    (("nightly", "--only", "--dry-run"), "requires a value"),
    (("nightly", "--only"), "requires an argument"),
    (("ensemble", ""), "target must not be empty"),
    (("ensemble", "site-d", "--as-of", ""), "--as-of must not be empty"),
    (("promote", ""), "target must not be empty"),
    (("promote", "site-d", "--actor", " "), "--actor must not be empty"),
    (("promote", "--actor", "jane.roe"), "and none is named"),
    (("rollback", "site-d", "--actor", "--json"), "requires a value"),
    (("nearest", "site-d", "-k", "0"), "-k"),
    (("nearest", "site-d", "-k", "-3"), "-k"),
    (("nearest", "site-d", "-k", "two"), "-k"),
    (("predict", "site-d", "--file", ""), "--file must not be empty"),
    (("source", "draft", ""), "path must not be empty"),
    (("source", "draft", "x.csv", "--out", ""), "--out must not be empty"),
    (("source", "findings", "site_a", ""), "batch must not be empty"),
    (("adapters", "show", ""), "adapter must not be empty"),
    (("adapters", "import", "x", "--base", ""), "--base must not be empty"),
    (("adapters", "export", "x", "--out", ""), "--out must not be empty"),
    (("merge", "--members", "--out", "x"), "requires a value"),
    (("merge", "--members", "", "--out", "x"), "--members must not be empty"),
    (("merge", "--members", "a=1", "--out", "x", "--rank", "0"), "--rank"),
    (("merge", "--members", "a=1", "--out", "x", "--threads", "-1"), "--threads"),
    (("experiment", "leave-one-out", "--sources", ""), "--sources must not be empty"),
    (("experiment", "leave-one-out", "--sources", "--arms"), "requires"),
    (("experiment", "methods", "--sources", "a", "b", "c", "--seeds", "0"), "--seeds"),
    (("experiment", "methods", "--sources", "a", "b", "c", "--budget", "-5"), "--budget"),
    (("retract", ""), "subject must not be empty"),
    (("retract", "site_a", "--reason", " "), "--reason must not be empty"),
    (("sql", ""), "query must not be empty"),
    (("sql", "SELECT 1", "--csv", "--json"), "choose one"),
    (("init", "--demo", ""), "--demo must not be empty"),
    (("backup", ""), "folder must not be empty"),
    (("lineage", " "), "subject must not be empty"),
)


@pytest.mark.parametrize(("arguments", "words"), NO_VALUES, ids=[" ".join(a) for a, _ in NO_VALUES])
def test_what_is_no_value_is_a_usage_error_and_nothing_is_made(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    rpe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RPE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert rpe(*arguments) == 2
    assert words in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_variable_is_an_unset_one(
    tmp_path: Path,
    rpe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RPE_HOME", "")
    monkeypatch.setenv("RPE_METRICS_PORT", "")
    assert rpe("source", "list") == 2
    assert f"in: {tmp_path / '.rpe'}" in capfd.readouterr().err

"""The command line: every command's example runs, JSON has one shape, exit codes mean one thing."""

import json
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli import app
from flows.steps.table import VERBS
from flows.workspace.settings import Settings
from tests.adapter_folders import linear, write_folder
from tests.flows.conftest import enter_copy
from tests.pico_world import write_contract, write_rows

HELP_CPU_SECONDS = 0.5


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command of `rpe` with its words, as typer built it."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands())


def example_of(name: str) -> list[str]:
    """The arguments of the one example that the help of a command ends with."""
    lines = [line.strip() for line in COMMANDS[name].help.splitlines()]
    assert lines[-1].startswith("Example: rpe "), "the help ends with an example"
    assert sum("Example:" in line for line in lines) == 1
    return shlex.split(lines[-1])[2:]


@dataclass(frozen=True)
class Example:
    """What running a command's example shows: an exit code, and words on stdout or stderr."""

    exit_code: int = 0
    words: tuple[str, ...] = ()
    json_only: bool = False  # a second run would not do the same again


UNCHANGED = Example(words=('"status": "unchanged"',))
EXAMPLES = {
    "init": Example(words=("rpe nightly",)),
    "nightly": Example(words=("would be done: none",)),
    **dict.fromkeys(("ingest", "embed", "train", "evaluate"), UNCHANGED),
    "ensemble": Example(words=("similarity", "linear_l1", "site_a")),
    "replay": Example(words=("representation", "same", "weights", "merge")),
    "nearest": Example(words=("adapter:site_a@", "adapter:site_b@", "distance")),
    "predict": Example(words=("label", "score")),
    "promote": Example(json_only=True, words=('"status": "ok"', '"ids"')),
    "rollback": Example(exit_code=1, words=("nothing to roll back to",)),
    "experiment gate-review": Example(words=("site-d", "stands", "promotions on record")),
    "history": Example(words=("accuracy", "champion", "challenger", "base")),
    "champion": Example(words=("site-d", "accuracy", "Wins against base")),
    "lineage": Example(words=("site_a.jsonl", "file sha256")),
    "sql": Example(words=("site-d", "linear_l1")),
    "report": Example(words=("index.html",)),
    "source draft": Example(words=("fill in what is marked",)),
    "source add": Example(words=("accepted", "reports.yaml")),
    "source check": Example(words=("none",)),
    "source list": Example(words=("site_a", "site_b", "site_c")),
    "source show": Example(words=("batch:site_a@", "accepted")),
    "source findings": Example(words=("none",)),
    "adapters list": Example(words=("adapter:site_a@",)),
    "adapters show": Example(words=("weights_sha256",)),
    "adapters export": Example(json_only=True, words=("bundles/site_a",)),
    "adapters grams": Example(json_only=True, words=("site_a.grams.safetensors",)),
    "adapters import": Example(words=("0 new in the library",)),
    "merge": Example(json_only=True, words=('"method": "svd"', '"rank": 4')),
    "maintain": Example(words=("aliases repaired",)),
    "retract": Example(words=("adapters", "targets built again")),
    "backup": Example(json_only=True, words=("backups/2026-03-01",)),
    "doctor": Example(words=("declarations", "registry")),
    "repair": Example(words=("all that the stores keep is what was kept",)),
}


IN_CI = (pytest.mark.slow, pytest.mark.ci_slow)
LONG = {"backup", "champion", "doctor", "embed", "evaluate", "ingest", "lineage", "replay", "train"}


@pytest.fixture(scope="module")
def copy(
    finished_night: Settings, prefect_api: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """One copy of the finished workspace for all examples; its challenger is not approved yet."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("examples") / "home"
        yield enter_copy(finished_night, root, prefect_api, patch)


@pytest.fixture
def workspace(copy: Settings, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The copy, named in the environment of this test."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    monkeypatch.setenv("RPE_HOME", str(copy.root))
    return copy


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to type commands in: data/reports.csv with its contract, two adapters."""
    data = tmp_path / "data"
    data.mkdir()
    write_rows(data / "reports.jsonl", "reports", seed=7)
    rows = [json.loads(line) for line in (data / "reports.jsonl").read_text().splitlines()]
    lines = [",".join(row.values()) for row in rows]
    (data / "reports.csv").write_text("\n".join(["id,case,text,label", *lines]) + "\n")
    write_contract(tmp_path, data, "reports")
    for seed, name in enumerate(("a", "b")):
        write_folder(tmp_path / name, linear("query", seed=seed))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def serving(workspace: Settings, rpe: Callable[..., int]) -> None:
    """A champion serves: the example of `promote` has been run."""
    rpe(*example_of("promote"))


def test_every_command_is_tried_here() -> None:
    # in test_serve.py, test_experiment.py and test_methods_experiment.py
    elsewhere = {"serve", "experiment leave-one-out", "experiment methods"}
    assert set(EXAMPLES) | elsewhere == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_it_does_and_ends_with_an_example(name: str) -> None:
    assert len(COMMANDS[name].help.splitlines()[0]) > 20
    assert example_of(name)[: len(name.split())] == name.split()
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", ""), f"{name} {parameter.name}"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=IN_CI if name in LONG else ()) for name in EXAMPLES]
)
def test_example(
    name: str,
    request: pytest.FixtureRequest,
    workspace: Settings,
    desk: Path,
    rpe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    example, arguments = EXAMPLES[name], example_of(name)
    if name in ("lineage", "rollback", "predict"):
        request.getfixturevalue("serving")
    if name == "promote":
        request.getfixturevalue("night_copy")
    if name == "init":
        monkeypatch.setenv("RPE_HOME", str(desk / ".rpe"))
    if name == "source draft":
        (desk / "reports.yaml").unlink()
    if name in ("adapters show", "adapters export", "adapters grams", "adapters import"):
        assert rpe("adapters", "list", "--json") == 0
        adapter_id = json.loads(capfd.readouterr().out)["rows"][0]["adapter_id"]
        arguments = [adapter_id if "@0123456789ab" in word else word for word in arguments]
    if name == "replay":
        query = "SELECT min(ensemble_id) AS id FROM core.ensembles"
        assert rpe("sql", "--json", query) == 0
        arguments[1] = json.loads(capfd.readouterr().out)[0]["id"]
    if name == "adapters import":
        assert rpe("adapters", "export", adapter_id, "--out", "bundles/site_a") == 0
    capfd.readouterr()
    has_json = any("--json" in parameter.opts for parameter in COMMANDS[name].params)
    told = ""
    if not example.json_only:
        assert rpe(*arguments) == example.exit_code
        told = "".join(capfd.readouterr())
    if has_json:
        assert rpe(*dict.fromkeys([*arguments, "--json"])) == example.exit_code
        out, err = capfd.readouterr()
        assert_one_shape(name, json.loads(out))
        told += out + err
    for words in example.words:
        assert words in told
    assert "Traceback" not in told


def assert_one_shape(name: str, answer: Any) -> None:
    """One stable object; only `sql` prints the bare list of rows."""
    if name == "sql":
        assert isinstance(answer, list)
        return
    assert isinstance(answer["status"], str)
    assert isinstance(answer["faults"], list)
    assert ("rows" in answer) + ("ids" in answer) + (answer["status"] == "error") == 1


def test_a_source_is_called_after_the_file_that_its_draft_is_written_to(
    workspace: Settings, desk: Path, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert rpe("source", "draft", "data/reports.csv", "--out", "films.yaml") == 0
    assert "then `rpe source add films.yaml`" in capfd.readouterr().err
    assert "\nsource: films\n" in (desk / "films.yaml").read_text()
    assert rpe("source", "add", "films.yaml") == 2
    assert "differs from the file's name" not in capfd.readouterr().err
    assert rpe("source", "draft", "data/reports.csv", "--out", "My films.yml") == 0
    assert "call it my_films.yaml, then `rpe source add my_films.yaml`" in capfd.readouterr().err
    assert "\nsource: my_films\n" in (desk / "My films.yml").read_text()


def test_a_draft_is_accepted_only_when_it_is_filled_in(
    workspace: Settings, desk: Path, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert rpe("source", "draft", "data/reports.csv", "--out", "reports.yaml") == 2
    assert "already" in capfd.readouterr().err
    (desk / "reports.yaml").unlink()
    assert rpe("source", "draft", "data/reports.csv", "--out", "reports.yaml") == 0
    capfd.readouterr()
    assert rpe("source", "add", "reports.yaml", "--json") == 2
    out, err = capfd.readouterr()
    answer = json.loads(out)
    assert (answer["status"], answer["kind"]) == ("error", "ContractInvalid")
    paths = {fault["path"] for fault in answer["faults"]}
    assert {"owner", "deidentified.method", "deidentified.attested_by"} <= paths
    assert "TO-FILL" in err


USAGE = (
    (("nonsense",), "No such command"),
    (("nightly", "--nonsense"), "No such option"),
    (("nightly", "--only", "ingst"), "did you mean 'ingest'?"),
    (("nearest", "site-x"), "did you mean 'site-d'?"),
    (("ensemble", "site-x", "--explain"), "did you mean 'site-d'?"),
    (("predict", "site-d"), "--text or --file"),
    (("predict", "site-d", "--file", "nowhere.txt"), "UTF-8 text"),
    (("promote", "site-d"), "--actor NAME"),
    (("rollback", "site-d"), "--actor NAME"),
    (("sql", "DROP TABLE core.runs"), "Only reading statements"),
    (("sql", "SELECT * FROM core.run"), "runs"),
    (("init", "--demo", "txt"), "did you mean 'text'?"),
    (("experiment", "leave-one-out", "--sources", "site_a", "site_b", "site_x"), "'site_x' is"),
    (("experiment", "leave-one-out", "--sources", "site_a", "site_b"), "at least 3"),
    (("source", "show", "x'; DROP TABLE core.runs; --"), "is not known"),
    (("source", "findings", "site_x"), "did you mean 'site_"),
    (("source", "check", "../site_a"), "is not known"),
    (("source", "add", "nowhere.yaml"), "does not exist"),
    (("source", "draft", "nowhere.csv"), "matches no file"),
)


@pytest.mark.parametrize(("arguments", "words"), USAGE, ids=[" ".join(a[:3]) for a, _ in USAGE])
def test_misuse_ends_with_2_and_the_valid_choices(
    arguments: tuple[str, ...],
    words: str,
    workspace: Settings,
    desk: Path,
    rpe: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert rpe(*arguments) == 2
    out, err = capfd.readouterr()
    assert words in err
    assert (out, "Traceback" in err) == ("", False)


def test_misuse_is_told_in_json_too(
    rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert rpe("nearest", "--json") == 2
    answer = json.loads(capfd.readouterr().out)
    assert (answer["status"], answer["kind"]) == ("error", "UsageError")
    assert "target" in answer["faults"][0]["what"]


def test_a_variable_that_is_no_choice_ends_with_2(
    workspace: Settings,
    rpe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RPE_TASK_RUNNER", "carrier-pigeon")
    assert rpe("sql", "SELECT 1") == 2
    assert "RPE_TASK_RUNNER: is no valid choice (ray, thread)" in capfd.readouterr().err


def test_a_refused_batch_ends_with_3_and_the_others_land(
    night_copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    data = night_copy.root / "new"
    data.mkdir()
    for source in ("site_a", "site_b"):
        write_contract(night_copy.sources_folder, data, source)
        write_rows(data / f"{source}.jsonl", source, seed=8, first=900, n=40)
    (data / "site_b.jsonl").write_text("")
    assert rpe("ingest", "--json") == 3
    answer = json.loads(capfd.readouterr().out)
    assert answer["status"] == "refused"
    assert [fault["path"] for fault in answer["faults"]] == ["ingest site_b"]
    assert rpe("sql", "--json", "SELECT n_rows FROM core.batches WHERE n_rows = 40") == 0
    assert json.loads(capfd.readouterr().out) == [{"n_rows": 40}]


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_gate_that_refuses_ends_promote_with_4_and_the_night_with_0(
    night_copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    plan = night_copy.plan_file
    plan.write_text(plan.read_text().replace("min_items: 20", "min_items: 100000"))
    assert rpe("nightly", "--only", "promote", "--json") == 0
    assert rpe("promote", "--json") == 4
    assert rpe("sql", "--json", "SELECT DISTINCT action FROM core.promotions") == 0
    assert '"refused"' in capfd.readouterr().out


def test_a_dry_run_names_what_is_pending_and_touches_nothing(
    night_copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    plan = night_copy.plan_file
    plan.write_text(plan.read_text().replace("auto]", "auto, {name: sharp, linear: {ridge: 0.5}}]"))
    before = contents(night_copy)
    assert rpe("nightly", "--dry-run", "--json") == 0
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert {row["step"] for row in rows} <= set(VERBS)
    told = {(row["step"], row["unit"]): (row["certainty"], row["after"]) for row in rows}
    assert told["ensemble", "site-d by sharp"] == ("surely", [])
    assert told["evaluate", "site-d"] == ("would follow", ["ensemble site-d"])
    assert told["promote", "site-d"] == ("would follow", ["evaluate site-d"])
    assert contents(night_copy) == before


def contents(settings: Settings) -> dict[str, bytes]:
    """Every file and folder of a workspace, locks and SQLite's logs too."""
    return {
        str(path): path.read_bytes() if path.is_file() else b"" for path in settings.root.rglob("*")
    }


def test_a_busy_workspace_is_left_alone_and_can_be_read(
    workspace: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    hold = (
        "from flows.workspace.locking import hold_workspace\n"
        "from flows.workspace.settings import Settings\n"
        "with hold_workspace(Settings()):\n"
        "    print('held', flush=True)\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", hold]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        codes = {
            name: rpe(*arguments)
            for name, arguments in {
                "night": ("nightly",),
                "upkeep": ("maintain",),
                "decision": ("promote", "site-d", "--actor", "jane.roe"),
                "sql": ("sql", "SELECT count(*) AS n FROM core.runs"),
                "list": ("source", "list"),
            }.items()
        }
        holder.communicate(b"\n")
    assert codes == {"night": 1, "upkeep": 1, "decision": 1, "sql": 0, "list": 0}
    out, err = capfd.readouterr()
    assert err.count("Another run holds this workspace") == 3
    assert f"process {holder.pid}" in err
    assert "site_a" in out


def test_help_answers_at_once() -> None:
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "flows.cli", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "nightly" in done.stdout
    assert min(spent) < HELP_CPU_SECONDS

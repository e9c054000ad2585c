"""Where there is no workspace every command says so, with what to do, and makes nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.commands.test_cli import COMMANDS

ID = "0123456789ab"
# in such a folder the arguments below would do something on a workspace
ASKED = {
    "nightly": ((), ("--dry-run",), ("--only", "ingest")),
    **dict.fromkeys(("ingest", "embed", "train", "evaluate", "serve", "maintain", "report"), ((),)),
    "ensemble": (("x",), ("x", "--explain"), ("x", "--scores"), ("x", "--as-of", "2026-01-01")),
    "replay": ((f"ensemble:x@{ID}",),),
    "nearest": (("x",), ("x", "--as-of", "2026-01-01")),
    "predict": (("x", "--text", "a"),),
    "promote": ((), ("x", "--actor", "jane.roe")),
    "rollback": (("x", "--actor", "jane.roe"),),
    "history": ((), ("x",)),
    "champion": ((), ("x",)),
    "lineage": ((f"adapter:x@{ID}",), ("models:/x@champion",), ("models:/x/1",)),
    "sql": (("SHOW TABLES",), ("SELECT 1", "--csv")),
    "source add": (("contract.yaml",),),
    "source check": (("x",),),
    "source list": ((),),
    "source show": (("x",),),
    "source findings": (("x",),),
    "adapters list": ((),),
    "adapters show": ((f"adapter:x@{ID}",),),
    "adapters export": ((f"adapter:x@{ID}", "--out", "out"),),
    "adapters grams": ((f"adapter:x@{ID}", "--out", "out"),),
    "adapters import": (("x",), ("x", "--dry-run")),
    "backup": (("/nowhere/out",),),
    "doctor": ((), ("--deep",)),
    "repair": ((), ("--dry-run",)),
    "retract": (("x", "--reason", "y"), ("x", "--dry-run")),
    "experiment leave-one-out": (("--sources", "a", "b", "c"),),
    "experiment methods": (("--sources", "a", "b", "c"),),
    "experiment gate-review": ((),),
}
NEEDS_NONE = {"init", "merge", "source draft"}  # they make what they are told to, or a workspace
CASES = [(name, arguments) for name, several in ASKED.items() for arguments in several]


def test_every_command_is_asked() -> None:
    assert set(COMMANDS) - set(ASKED) == NEEDS_NONE


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=[f"{n} {' '.join(a)}" for n, a in CASES])
def test_an_empty_folder_stays_empty(
    name: str,
    arguments: tuple[str, ...],
    tmp_path: Path,
    rpe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for home in ("", "nowhere"):  # the folder itself, and one that is not there
        monkeypatch.setenv("RPE_HOME", str(tmp_path / home))
        assert rpe(*name.split(), *arguments) == 2
        told = "".join(capfd.readouterr())
        assert "There is no workspace here." in told
        assert "rpe init" in told
        assert list(tmp_path.iterdir()) == []


def test_doctor_looks_at_the_installation_without_a_workspace(
    tmp_path: Path,
    rpe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RPE_HOME", str(tmp_path))
    assert rpe("doctor", "--json") == 2
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert {"python", "duckdb", "lock", "extensions"} <= {row["check"] for row in rows}
    assert [row["check"] for row in rows if row["status"] == "bad"] == ["workspace"]


def test_doctor_completes_no_half_workspace(
    tmp_path: Path,
    rpe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RPE_HOME", str(tmp_path))
    (tmp_path / "plan.yaml").write_text("bases: {}\n")
    assert rpe("doctor", "--json") == 1
    bad = {r["check"] for r in json.loads(capfd.readouterr().out)["rows"] if r["status"] == "bad"}
    assert {"declarations", "catalog", "registry", "records", "artifacts"} <= bad
    assert [path.name for path in tmp_path.iterdir()] == ["plan.yaml"]

"""`source list`, `source check` and the last lines of `ingest`, on a finished workspace."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from flows.workspace.settings import Settings
from tests.pico_world import write_contract, write_rows


@pytest.fixture
def asked(rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The JSON that a command prints, whatever its exit code, which stands in it as `exit`."""

    def ask(*arguments: str) -> Any:
        capfd.readouterr()
        code = rpe(*arguments, "--json")
        return {**json.loads(capfd.readouterr().out), "exit": code}

    return ask


@pytest.fixture
def added(night_copy: Settings, rpe: Callable[..., int]) -> Settings:
    """A finished workspace with a source that nobody named in the plan yet."""
    data = night_copy.root / "new"
    data.mkdir()
    contract = write_contract(night_copy.root, data, "site_x")
    write_rows(data / "site_x.jsonl", "site_x", seed=3, n=40)
    assert rpe("source", "add", str(contract)) == 0
    return night_copy


def test_every_contract_is_listed_with_its_state(added: Settings, asked: Any) -> None:
    (added.sources_folder / "site_y.yaml").write_text("source: site_y\n")
    listed = {row["source"]: row for row in asked("source", "list")["rows"]}
    assert set(listed) == {"site_a", "site_b", "site_c", "site_x", "site_y"}
    new, broken, old = listed["site_x"], listed["site_y"], listed["site_a"]
    assert (new["state"], new["in_plan"], new["n_rows"]) == ("not ingested yet", "no", 0)
    assert broken["state"].startswith("contract has")
    assert (old["state"], old["in_plan"]) == ("stands", "reference")
    assert old["n_rows"] > 0
    assert listed["site_c"]["in_plan"] == "target"


def test_sources_are_listed_before_anything_was_ingested(
    tmp_path: Any, rpe: Callable[..., int], monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    monkeypatch.setenv("RPE_HOME", str(tmp_path / "home"))
    folder = Settings().sources_folder
    folder.mkdir(parents=True)
    write_contract(folder, tmp_path, "site_x")
    (row,) = asked("source", "list")["rows"]
    assert (row["state"], row["in_plan"]) == ("not ingested yet", "not read")


def test_a_check_says_what_ingest_would_do(
    added: Settings, asked: Any, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    answer = asked("source", "check", "site_x")
    assert (answer["exit"], answer["status"], answer["faults"]) == (0, "ok", [])
    (file,) = answer["rows"]
    assert (file["file"], file["verdict"], file["n_accepted"]) == ("site_x.jsonl", "land", 40)
    data = added.root / "new" / "site_x.jsonl"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    data.write_text(
        "".join(json.dumps(row) + "\n" for row in [*rows, {**rows[0], "text": "another"}])
    )
    answer = asked("source", "check", "site_x")
    assert (answer["exit"], answer["status"]) == (2, "refused")
    assert "duplicate_key: 2 rows (1, 41)" in answer["faults"][0]["what"]
    capfd.readouterr()
    assert rpe("source", "check", "site_x") == 2
    out, err = capfd.readouterr()
    assert "refuse" in out
    assert "not named in plan.yaml" in err


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_last_lines_of_an_ingest_fit_what_was_ingested(
    added: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert rpe("ingest") == 0
    out, err = capfd.readouterr()
    assert "new files: none" in out
    assert "name site_x in plan.yaml" in err
    assert "rpe source list" in err
    assert "rpe lineage" not in err
    data = added.root / "more"
    data.mkdir()
    for source in ("site_a", "site_b"):
        write_contract(added.sources_folder, data, source)
        write_rows(data / f"{source}.jsonl", source, seed=8, first=900, n=40)
    (data / "site_b.jsonl").write_text("")
    assert rpe("ingest") == 3
    out, err = capfd.readouterr()
    assert "site_a.jsonl" in out
    assert "accepted" in out
    assert "rpe source findings site_b" in err
    assert "rpe source check site_b" in err
    assert "rpe nightly" in err
    assert "source draft" not in err
    assert rpe("ingest") == 3  # nothing new, and what was refused stands
    err = capfd.readouterr().err
    assert "rpe source findings site_b" in err
    assert "rpe source list" not in err

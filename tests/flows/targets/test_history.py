"""History: the morning's screen tells tonight's decisions apart; a target's past is one command."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catalog.stores.lake.lake import Lake
from flows.commands.last_screen import show_summary
from flows.runs.run_record import Summary
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake
from tests.catalog.nights import Nights, day
from tests.flows.conftest import TARGET
from tests.lake_rows import read_rows_of

CPU_SECONDS = 3.0  # a third of it is what it takes
Run = Callable[..., int]


@pytest.fixture
def asked(rpe: Run, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """`rpe` with arguments: what it prints on stdout, and on stderr."""

    def ask(*arguments: str, exit_code: int = 0) -> tuple[str, str]:
        capfd.readouterr()
        assert rpe(*arguments) == exit_code
        return capfd.readouterr()

    return ask


@pytest.fixture(scope="module")
def hundred_nights(finished_night: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A hundred nights of another target, to be read only: each third scores, each tenth wins.

    The first champion is of day 1; on day 95 a person takes the newest back, on day 97 data go.
    """
    root = tmp_path_factory.mktemp("hundred") / "home"
    shutil.copytree(finished_night.root, root)
    settings = Settings(home=root)
    plan = settings.plan_file.read_text().replace(f"name: {TARGET}", "name: site-h")
    settings.plan_file.write_text(plan)
    with closing(open_lake(settings)) as lake:
        _grow(lake)
    return settings


@pytest.fixture
def grown(hundred_nights: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The hundred nights, named in the environment of this test."""
    monkeypatch.setenv("RPE_HOME", str(hundred_nights.root))
    return hundred_nights


def _grow(lake: Lake) -> None:
    told, champions = Nights(lake, target="site-h"), [""]
    for number in range(1, 101):
        told.run(number, outcome="ok" if number % 3 == 1 else "unchanged")
        if number % 3 == 1:
            name, champion = f"n{number}", champions[-1]
            ensembles = {"linear": name, "average": f"a{number}"}
            scores = {"base": 0.5, "linear": 0.9 - number / 1000, "average": 0.6}
            if champion:
                ensembles["champion"], scores["champion"] = champion, 0.8 - number / 500
            told.evaluation(number, scores, ensembles)
            is_won = number % 10 == 1
            told.verdict(
                number + 0.01, "promoted" if is_won else "refused", "linear", name,
                champion=champion, version=str(number),
            )  # fmt: skip
            champions += [name] if is_won else []
        if number % 10 == 0:
            told.write()
    told.verdict(
        95, "rolled_back", "linear", champions[-2], champion=champions[-1], actor="jane.roe",
        model_version=champions[-2][1:], reasons="Rolled back by jane.roe.",
    )  # fmt: skip
    told._add("retractions", retraction_id="r", subject_id="site_q", source="site_q",
              certificate_json='{"ensembles":{"ensemble:site-h@0":"0"}}', state="certified",
              recorded_at=day(97.5))  # fmt: skip
    told.write()


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_last_screen_tells_old_verdicts_from_tonights(
    night_copy: Settings, asked: Callable[..., tuple[str, str]]
) -> None:
    """Night 1 promotes; night 2 changes nothing and must not say so as if it were its doing."""
    asked("promote", TARGET, "--actor", "jane.roe")
    out, err = asked("nightly")
    assert "decided tonight: none" in out
    before = out.split("decisions still in force")[1]
    assert TARGET in before
    assert "v1" in before
    assert "approved by jane.roe" in " ".join(before.split())
    for said in (" win", "no champion", "Wins", "is spent", "pending"):
        assert said not in out
    assert "WAITING" not in err
    assert f"rpe champion {TARGET}" in err
    out, _ = asked("history", TARGET)
    assert "then 1 quiet night" in " ".join(out.split())


def test_what_waits_for_a_person_is_told_each_night(
    finished_night: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    run = read_rows_of(finished_night, "FROM core.runs WHERE flow = 'night'")[0]
    steps = ({"name": "promote", "done": [TARGET], "failed": []},)
    summary = Summary(run["run_id"], "night", "ok", 0, 1.0, steps, (), (), "index.html")
    show_summary(finished_night, summary)
    out, err = capfd.readouterr()
    decided = out.split("decided tonight")[1]
    assert TARGET in decided
    assert "pending, 46 rows" in decided
    assert "win" in decided
    assert "decisions still in force" not in out
    assert f"rpe promote {TARGET} --actor NAME" in err
    show_summary(finished_night, replace(summary, run_id="run:night@later"))
    out, err = capfd.readouterr()
    assert "decided tonight: none" in out
    assert "pending" in out.split("decisions still in force")[1]
    assert f"WAITING {TARGET}" in err
    show_summary(finished_night, replace(summary, flow="ingest", steps=()))
    assert "decided" not in capfd.readouterr().out.split("decisions still in force")[0]


def test_champion_says_who_serves_since_when_and_why(
    night_copy: Settings, asked: Callable[..., tuple[str, str]]
) -> None:
    out, err = asked("champion", TARGET)
    assert "no champion; the base pico answers" in out
    assert "A challenger won and waits for a person." in out
    assert f"rpe promote {TARGET} --actor NAME" in err
    asked("promote", TARGET, "--actor", "jane.roe")
    out, err = asked("champion", TARGET)
    ensemble, members = _champion(night_copy)
    assert "version 1 serves since 20" in out
    for said in (f"models:/{TARGET}/1", "jane.roe (approved)", "Approved by jane.roe.", ensemble,
                 "There was no champion before.", "labels of its test rows", "win",
                 *members):  # fmt: skip
        assert said in out
    assert "is no champion yet" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert f"rpe lineage models:/{TARGET}@champion" in err
    assert "rollback" not in err
    (row,) = json.loads(asked("champion", TARGET, "--json")[0])["rows"]
    assert (row["serves"], row["actor"], row["base_result"]) == ("v1", "jane.roe", "win")
    assert row["now"]["value"] == row["value"] > row["base_difference"]
    assert [member["weight"] for member in row["members"]] == [1.0]


def _champion(settings: Settings) -> tuple[str, list[str]]:
    rows = read_rows_of(
        settings,
        "FROM mart.champion_history JOIN core.ensemble_members USING (ensemble_id)"
        " JOIN core.adapters USING (adapter_id)",
    )
    ids = [row[name] for row in rows for name in ("adapter_id", "dataset_version_id_1")
           if name in row]  # fmt: skip
    return rows[0]["ensemble_id"], ids


def test_a_name_that_is_no_target_is_answered_with_the_nearest(
    night_copy: Settings, asked: Callable[..., tuple[str, str]]
) -> None:
    for command in ("history", "champion"):
        out, err = asked(command, "site-e", "--json", exit_code=2)
        assert f"did you mean '{TARGET}'?" in err
        (fault,) = json.loads(out)["faults"]
        assert fault["what"] == "target 'site-e' is not known."
    _, err = asked("champion", "Jane Roe; born 1.1.", exit_code=2)
    assert "Jane" not in err


def test_the_hundredth_night_shows_what_changed_and_counts_the_rest(
    grown: Settings, asked: Callable[..., tuple[str, str]]
) -> None:
    began = time.process_time()
    out, err = asked("history", "site-h")
    assert time.process_time() - began < CPU_SECONDS
    assert max(map(len, out.splitlines())) <= 80
    flat = " ".join(out.split())
    assert "accuracy (higher is better) with 95 % intervals on test rows" in flat
    for said in ("rolled back to", "v61 by jane.roe", "then 2 quiet", "were withdrawn"):
        assert said in flat
    assert "site_q" not in out + err
    assert "earlier: `--nights 36` shows all" in err
    whole = json.loads(asked("history", "site-h", "--nights", "99", "--json")[0])["rows"]
    assert [row["at"] for row in whole] == sorted(row["at"] for row in whole)
    assert len(whole) == 34 + 2, "those that scored, a roll-back, a withdrawal"
    assert sum(row["n_quiet_after"] for row in whole) == 66
    assert len({frozenset(row) for row in whole}) == 1, "every row has the same keys"
    assert [row["serves"] for row in whole[:5]] == ["v1"] * 5
    assert (whole[1]["champion_value"], whole[1]["challenger_value"]) == (0.8 - 4 / 500, 0.896)
    last_win = next(row for row in whole if row["champion_version"] == "91")
    assert (last_win["former_version"], last_win["former_value"]) == ("61", 0.8 - 91 / 500)
    assert whole[-1]["serves"] == "v61"


def test_the_hundredth_night_knows_its_champion(
    grown: Settings, asked: Callable[..., tuple[str, str]]
) -> None:
    began = time.process_time()
    out, err = asked("champion", "site-h")
    assert time.process_time() - began < CPU_SECONDS
    assert max(map(len, out.splitlines())) <= 80
    assert "version 61 serves since" in out
    assert "jane.roe (rolled back)" in out
    assert "what served in between" in " ".join(out.split())
    assert "rpe rollback site-h --actor NAME   # version 31 serves again" in err
    out, _ = asked("champion")
    assert "site-h" in out
    assert "v61" in out
    rows = json.loads(asked("history", "--json")[0])["rows"]
    assert [(row["target"], row["serves"]) for row in rows] == [("site-h", "v61")]


def test_a_target_of_a_former_plan_keeps_its_history(
    grown: Settings, asked: Callable[..., tuple[str, str]]
) -> None:
    out, err = asked("champion", TARGET)
    assert "nothing serves; plan.yaml no longer names it" in out
    assert f"rpe history {TARGET}" in err
    assert "v1 pending" in asked("history", TARGET)[0]


def test_a_lake_of_an_older_release_is_brought_up_to_date(
    night_copy: Settings, asked: Callable[..., tuple[str, str]]
) -> None:
    make_older(night_copy)
    assert "v1 pending" in asked("history", TARGET)[0]
    for question in ("sql", "SELECT verdict FROM mart.target_history"), ("report",):
        make_older(night_copy)
        asked(*question)


def make_older(settings: Settings) -> None:
    """As an earlier release left the lake: without a view of this one."""
    with closing(open_lake(settings)) as lake, lake.transaction(message="old", run=None) as tx:
        tx.execute("DROP VIEW mart.target_history")
        tx.execute("UPDATE core.migrations SET declaration_sha256 = 'older'")


def test_steps_that_failed_for_a_target_are_part_of_its_history(
    night_copy: Settings, asked: Callable[..., tuple[str, str]]
) -> None:
    faults = [{"step": "embed", "unit": f"{source} as target"} for source in ("site_c", "site_x")]
    with closing(open_lake(night_copy)) as lake:
        later = Nights(lake, target=TARGET)
        later.run(999, outcome="failed", faults_json=json.dumps(faults))
        later.write()
    rows: list[dict[str, Any]] = json.loads(asked("history", TARGET, "--json")[0])["rows"]
    assert [row["failed"] for row in rows] == [[], ["embed"]]
    assert "FAILED embed" in asked("history", TARGET)[0]
    assert "The newest night failed: embed." in " ".join(asked("champion", TARGET)[0].split())


def test_alerts_stand_in_the_history_where_they_were_raised_and_resolved(
    night_copy: Settings, asked: Callable[..., tuple[str, str]]
) -> None:
    """One of the target is resolved, one of its source stands; others' are no matter of it."""
    raised = [
        {"kind": kind, "subject": subject, "source": source, "message": f"{subject}: {kind}",
         "remedy": "look at it", "cause": "c", "alert_id": f"{kind} {subject}"}
        for kind, subject, source in (
            ("fall", TARGET, "site_c"), ("silent", "site_c", "site_c"),
            ("silent", "site_a", "site_a"), ("fall", "site-q", "site_c"), ("drift", TARGET, TARGET),
        )
    ]  # fmt: skip
    with closing(open_lake(night_copy)) as lake:
        later = Nights(lake, target=TARGET)
        told = {"ended_at": day(999)}
        later.run(997, outcome="alert", alerts_json=json.dumps(raised), **told)
        later.run(998, outcome="alert", alerts_json=json.dumps(raised), **told)
        later.run(999, outcome="alert", alerts_json=json.dumps(raised[1:]), **told)
        later.write()
    out, err = asked("history", TARGET)
    flat = " ".join(out.split())
    for said in ("ALERT fall; ALERT", "silent; then 1 quiet", "fall resolved"):
        assert said in flat
    assert err.count("ALERT since") == 1
    assert "site_c: silent; look at it" in err
    rows = json.loads(asked("history", TARGET, "--json")[0])["rows"]
    assert [[alert["kind"] for alert in row["alerts"]] for row in rows] == [
        [],
        ["fall", "silent"],
        [],
    ]
    assert [alert["subject"] for alert in rows[-1]["resolved"]] == [TARGET]
    assert "site_c: silent; look at it" in asked("champion", TARGET)[1]
    (row,) = json.loads(asked("history", "--json")[0])["rows"]
    assert row["alerts"] == ["silent"]
    assert "silent" in asked("champion")[0]


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_withdrawal_is_told_without_what_it_took(
    night_copy: Settings, asked: Callable[..., tuple[str, str]]
) -> None:
    """The champion rested on a source that is withdrawn; the rebuilt challenger waits."""
    asked("promote", TARGET, "--actor", "jane.roe")
    ensemble, ids = _champion(night_copy)
    withdrawn = ids[0].partition(":")[2].partition("@")[0]
    asked("retract", withdrawn, "--reason", "the owner asked for it")
    told = [*asked("history", TARGET), *asked("champion", TARGET), *asked("champion")]
    assert "were withdrawn" in " ".join(told[0].split())
    assert "no champion; the base pico answers" in told[2]
    assert "Data behind it were withdrawn" in told[2]
    for gone in (ensemble, withdrawn, "jane.roe"):
        assert gone not in "".join(told)
    rows = read_rows_of(night_copy, "FROM mart.target_history")
    assert len({row["evaluation_id"] for row in rows}) == 1, "the rebuilt one"
    assert read_rows_of(night_copy, "FROM mart.champion_history") == []


def test_without_a_workspace_there_is_nothing_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Callable[..., tuple[str, str]]
) -> None:
    monkeypatch.setenv("RPE_HOME", str(tmp_path / "none"))
    for command in ("history", "champion"):
        _, err = asked(command, "site-d", exit_code=2)
        assert "rpe init" in err

"""What no step can mend is raised on the very night, once, stands, and is resolved; real nights."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.commands.last_screen import tell_end
from flows.night.nightly import run_night
from flows.night.retract import retract
from flows.runs.run_record import Summary
from flows.targets.decisions import approve
from flows.workspace.settings import Settings
from tests.faults import KILL
from tests.flows.conftest import TARGET
from tests.lake_rows import read_rows_of
from tests.pico import LABELS, pico_encoder
from tests.pico_world import ROWS, write_rows

STANDING = "SELECT kind, subject FROM mart.alerts WHERE is_standing ORDER BY kind, subject"
NAMES = list(LABELS)
SOURCES = ("ingest",)
EMBEDDED = ("ingest", "embed")


@pytest.fixture
def inbox(night_copy: Settings, finished_night: Settings, tmp_path: Path) -> Path:
    """The sources of the copy read from a folder of its own, and a changed row replaces."""
    folder, theirs = tmp_path / "inbox", finished_night.root.parent / "data"
    shutil.copytree(theirs, folder)
    for contract in night_copy.sources_folder.glob("*.yaml"):
        text = contract.read_text().replace(str(theirs), str(folder))
        text = text.replace("max_quarantined_ratio: 0.05", "changed_row: supersede")
        contract.write_text(text)
    run_night(night_copy, only=SOURCES)
    return folder


def spoil(inbox: Path, name: str, *, share: float) -> None:
    """Deliver the target's rows again, a share of them with another label."""
    rows = [json.loads(line) for line in (inbox / "site_c.jsonl").read_text().splitlines()]
    for row in rows[: round(share * len(rows))]:
        row["label"] = NAMES[(NAMES.index(row["label"]) + 1) % len(NAMES)]
    (inbox / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def raised(summary: Summary) -> list[tuple[str, str]]:
    return [(a.kind, a.subject) for a in summary.alerts if a.is_raised]


def stands(summary: Summary) -> list[tuple[str, str]]:
    return [(a.kind, a.subject) for a in summary.alerts if not a.is_raised]


def ended(summary: Summary) -> list[tuple[str, str]]:
    return [(a.kind, a.subject) for a in summary.resolved]


def standing(settings: Settings) -> list[tuple[str, str]]:
    return [(row["kind"], row["subject"]) for row in read_rows_of(settings, STANDING)]


BELOW, FALL = ("below_promotion", TARGET), ("fall", TARGET)


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_collapsing_champion_is_told_on_the_very_night_and_once(
    night_copy: Settings, inbox: Path, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    approve(night_copy, TARGET, actor="jane.roe")
    spoil(inbox, "site_c_bad.jsonl", share=1.0)
    night = run_night(night_copy)
    assert (night.outcome, night.exit_code) == ("alert", 0)
    assert raised(night) == [BELOW, FALL]
    (scored, *_) = read_rows_of(
        night_copy,
        "SELECT value FROM core.scores s JOIN core.dataset_versions d USING (dataset_version_id)"
        " WHERE arm = 'champion' AND slice = '' AND metric = 'accuracy' AND split = 'test'",
    )
    assert f"accuracy {scored['value']:.3f} on dataset:site_c@" in night.alerts[0].message
    remedy = night.alerts[0].remedy
    assert "rpe source findings site_c" in remedy
    assert "rpe rollback" not in remedy, "there is no former champion"
    assert "rpe retract dataset:site_c@" in remedy
    assert "--dry-run` shows what goes" in remedy, "a version takes all its files with it"
    page = night_copy.report_file.read_text()
    assert "below promotion" in page
    assert f"accuracy {scored['value']:.3f}" in page

    before = read_rows_of(night_copy, "SELECT count(*) AS n FROM core.checks")
    capfd.readouterr()
    assert rpe("nightly") == 0
    err = capfd.readouterr().err
    assert f"STILL {TARGET}: its champion scores accuracy" in err
    assert "ALERT" not in err
    (again,) = read_rows_of(night_copy, "FROM core.runs ORDER BY recorded_at DESC LIMIT 1")
    assert again["outcome"] == "unchanged"
    assert standing(night_copy) == [BELOW, FALL]
    assert read_rows_of(night_copy, "SELECT count(*) AS n FROM core.checks") == before
    assert night_copy.report_file.read_text() == page
    rows = read_rows_of(night_copy, "FROM mart.alerts")
    assert {(row["raised_run_id"], row["n_runs"]) for row in rows} == {(night.run_id, 2)}
    (status,) = read_rows_of(night_copy, "FROM mart.nightly_status")
    assert status["alerts"].count(TARGET) == 2
    assert status["refusals"] == ""


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_decline_of_five_nights_is_one_alert_until_it_is_mended(
    night_copy: Settings, inbox: Path
) -> None:
    approve(night_copy, TARGET, actor="jane.roe")
    for number, share in enumerate((0.6, 0.8, 0.9, 1.0)):
        spoil(inbox, f"site_c_{number}.jsonl", share=share)
        night = run_night(night_copy)
        assert (raised(night), stands(night)) == (
            ([BELOW, FALL], []) if number == 0 else ([], [BELOW])
        )
        assert ended(night) == ([FALL] if number == 1 else [])
    spoil(inbox, "site_c_mended.jsonl", share=0.0)
    (inbox / "site_c_mended.jsonl").write_text((inbox / "site_c_mended.jsonl").read_text() + "\n")
    night = run_night(night_copy)
    assert (night.outcome, raised(night), ended(night)) == ("ok", [], [BELOW])
    assert standing(night_copy) == []
    spoil(inbox, "site_c_worse.jsonl", share=0.95)
    night = run_night(night_copy)
    assert raised(night) == [BELOW, FALL], "a cause that comes again is told again"


@pytest.mark.slow
@pytest.mark.ci_slow
@pytest.mark.parametrize("moment", ["lake evaluate", "lake watch", "lake close run"])
def test_a_night_that_is_killed_raises_its_alerts_when_it_is_started_again(
    night_copy: Settings, inbox: Path, moment: str
) -> None:
    approve(night_copy, TARGET, actor="jane.roe")
    spoil(inbox, "site_c_bad.jsonl", share=1.0)
    program = ["tests.faults", "--at", moment, "--do", KILL, "--", "nightly", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", *program], env={**os.environ}, capture_output=True, check=False
    )
    assert done.returncode < 0, done.stderr.decode()[-500:]
    night = run_night(night_copy)
    is_told = moment == "lake close run"  # it is on record, and stands from then on
    assert (raised(night), stands(night)) == (
        ([], [BELOW, FALL]) if is_told else ([BELOW, FALL], [])
    )
    assert raised(run_night(night_copy)) == []
    rows = read_rows_of(night_copy, "SELECT kind, count(*) AS n FROM mart.alerts GROUP BY kind")
    assert {row["kind"]: row["n"] for row in rows} == {"below_promotion": 1, "fall": 1}


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_refused_file_is_told_every_night_until_it_is_gone(
    night_copy: Settings, inbox: Path, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    refused = inbox / "site_b_2.jsonl"
    refused.write_bytes(b"\xff\xfe no rows")
    write_rows(inbox / "site_b_3.jsonl", "site_b", seed=9, first=500, n=4)
    first = run_night(night_copy, only=SOURCES)
    assert (first.outcome, first.exit_code) == ("refused", 3)
    assert [fault.unit for fault in first.faults] == ["site_b"]
    capfd.readouterr()
    tell_end(first)
    err = capfd.readouterr().err
    assert (err.count("REFUSED"), err.count("FAILED")) == (1, 0), "once is enough"
    assert "REFUSED ingest site_b: ContractViolated: 1 of 2 new files" in err
    page = night_copy.report_file.read_text()
    assert "What failed" not in page
    assert page.count("site_b_2.jsonl is refused") == 1
    assert "A file of site_b was refused" in page
    n_runs = len(read_rows_of(night_copy, "FROM core.runs"))
    capfd.readouterr()
    assert rpe("ingest") == 3
    err = capfd.readouterr().err
    assert "REFUSED site_b: site_b_2.jsonl is refused since" in err
    assert "unreadable_file; `rpe source findings site_b`" in err
    assert "rpe source check site_b   # after the correction" in err
    assert "there was no new file" not in err
    assert rpe("nightly", "--dry-run", "--only", "ingest") == 0
    assert "REFUSED site_b: site_b_2.jsonl is refused" in capfd.readouterr().err
    rows = read_rows_of(night_copy, "FROM core.runs ORDER BY recorded_at")
    assert (len(rows), rows[-1]["outcome"], rows[-1]["faults_json"]) == (
        n_runs + 1,
        "refused",
        "[]",
    )
    (alert,) = read_rows_of(night_copy, "FROM mart.alerts")
    assert (alert["kind"], alert["subject"], alert["is_standing"]) == ("refused", "site_b", True)
    refused.write_text((inbox / "site_b_3.jsonl").read_text())  # replaced, by rows that stand
    after = run_night(night_copy, only=SOURCES)
    assert (after.outcome, after.exit_code, ended(after)) == (
        "unchanged",
        0,
        [("refused", "site_b")],
    )
    page = night_copy.report_file.read_text()
    assert "refused of <b>site_b</b>" in page.partition('<h2 id="ended">')[2].partition("<h2")[0]
    assert "A file of site_b was refused" not in page


@pytest.mark.slow
@pytest.mark.ci_slow
def test_two_refused_files_are_two_alerts_and_other_steps_are_not_stopped_by_them(
    night_copy: Settings, inbox: Path
) -> None:
    (inbox / "site_b_2.jsonl").write_bytes(b"\xff\xfe no rows")
    (inbox / "site_b_3.jsonl").write_text('{"nothing": "of this"}\n')
    first = run_night(night_copy, only=SOURCES)
    assert raised(first) == [("refused", "site_b")] * 2
    other = run_night(night_copy, only=("embed",))
    assert (other.outcome, other.exit_code, other.alerts) == ("unchanged", 0, ())
    assert standing(night_copy) == [("refused", "site_b")] * 2, "what is not looked at stays"
    (inbox / "site_b_2.jsonl").unlink()
    later = run_night(night_copy, only=SOURCES)
    assert (later.outcome, ended(later)) == ("refused", [("refused", "site_b")])
    contract = night_copy.sources_folder / "site_b.yaml"
    text = contract.read_text()
    contract.write_text(text.replace("source: site_b", "source: site_b\nnonsense: 1"))
    broken = run_night(night_copy, only=SOURCES)
    assert (broken.outcome, broken.exit_code, ended(broken)) == ("failed", 2, [])
    assert standing(night_copy) == [("refused", "site_b")], "a faulty contract lets nobody look"
    contract.write_text(text)
    plan = night_copy.plan_file.read_text()
    night_copy.plan_file.write_text(plan.replace("[site_a, site_b]", "[site_a]"))
    gone = run_night(night_copy, only=SOURCES)
    assert (gone.outcome, ended(gone)) == ("unchanged", [("refused", "site_b")])


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_contract_that_lets_the_file_in_ends_the_refusal(
    night_copy: Settings, inbox: Path
) -> None:
    rows = (inbox / "site_a.jsonl").read_text().splitlines()[:4]
    more = [json.dumps({**json.loads(row), "id": f"n{i}", "more": 1}) for i, row in enumerate(rows)]
    (inbox / "site_a_2.jsonl").write_text("\n".join(more))
    refused = run_night(night_copy, only=SOURCES)
    assert "unknown_column" in refused.alerts[0].message
    contract = night_copy.sources_folder / "site_a.yaml"
    let_in = contract.read_text().replace("{changed_row", "{unknown_column: ignore, changed_row")
    contract.write_text(let_in)
    after = run_night(night_copy, only=SOURCES)
    assert (after.outcome, after.faults, ended(after)) == ("ok", (), [("refused", "site_a")])


@pytest.mark.slow
@pytest.mark.ci_slow
def test_rows_of_another_kind_are_a_drift_and_rows_of_the_same_are_none(
    night_copy: Settings, inbox: Path
) -> None:
    write_rows(inbox / "site_a_2.jsonl", "site_a", seed=9, first=500, n=ROWS)
    calm = run_night(night_copy, only=EMBEDDED)
    assert (calm.outcome, calm.alerts) == ("ok", ())
    (look, *_) = read_rows_of(night_copy, "FROM core.checks WHERE kind = 'drift'")
    assert (look["result"], look["n_groups"]) == ("steady", 30)
    rows = [json.loads(line) for line in (inbox / "site_a.jsonl").read_text().splitlines()]
    other = [
        {**row, "id": f"x{i}", "case": f"x{i // 2}", "text": f"left left 7 {i % 9} right 0 left"}
        for i, row in enumerate(rows)
    ]
    (inbox / "site_a_3.jsonl").write_text("".join(json.dumps(row) + "\n" for row in other))
    night = run_night(night_copy, only=EMBEDDED)
    assert (night.outcome, raised(night)) == ("alert", [("drift", "site_a")])
    assert "times what chance alone would give" in night.alerts[0].message
    assert "rpe retract dataset:site_a@" in night.alerts[0].remedy
    again = run_night(night_copy, only=EMBEDDED)
    assert (again.outcome, stands(again)) == ("unchanged", [("drift", "site_a")])
    write_rows(inbox / "site_a_4.jsonl", "site_a", seed=11, first=900, n=4)
    after = run_night(night_copy, only=EMBEDDED)
    assert ended(after) == [("drift", "site_a")], "what was told is the new measure"


@pytest.mark.slow
@pytest.mark.ci_slow
def test_an_alert_about_what_was_retracted_is_gone(night_copy: Settings, inbox: Path) -> None:
    approve(night_copy, TARGET, actor="jane.roe")
    spoil(inbox, "site_c_bad.jsonl", share=1.0)
    (inbox / "site_b_2.jsonl").write_bytes(b"\xff\xfe no rows")
    night = run_night(night_copy)
    assert raised(night) == [BELOW, FALL, ("refused", "site_b")]
    assert retract(night_copy, "site_c", reason="wrong labels").is_clean
    assert standing(night_copy) == [("refused", "site_b")]
    assert run_night(night_copy).exit_code == 3


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_target_that_leaves_the_plan_has_no_alert(night_copy: Settings, inbox: Path) -> None:
    approve(night_copy, TARGET, actor="jane.roe")
    spoil(inbox, "site_c_bad.jsonl", share=1.0)
    assert raised(run_night(night_copy)) == [BELOW, FALL]
    plan = night_copy.plan_file.read_text()
    night_copy.plan_file.write_text(plan.replace(f"name: {TARGET}", "name: another"))
    night = run_night(night_copy)
    assert ended(night) == [BELOW, FALL]
    assert standing(night_copy) == []


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_champion_is_scored_on_the_base_that_it_was_made_on(
    night_copy: Settings, inbox: Path, tmp_path: Path
) -> None:
    approve(night_copy, TARGET, actor="jane.roe")
    (served,) = read_rows_of(
        night_copy,
        "SELECT value FROM core.scores s JOIN core.promotions p USING (ensemble_id)"
        " WHERE p.action = 'approved' AND slice = '' AND metric = 'accuracy' AND split = 'test'"
        " AND s.arm = p.arm",
    )
    plan, other = night_copy.plan_file.read_text(), pico_encoder(tmp_path / "other", seed=5)
    entry = f'  other: {{family: text-encoder, model: "{other}", max_tokens: 32}}\nrecipes:'
    night_copy.plan_file.write_text(
        plan.replace("recipes:", entry).replace("base: pico", "base: other")
    )
    night = run_night(night_copy)
    assert (night.faults, raised(night)) == ((), [])
    rows = read_rows_of(
        night_copy,
        "SELECT value FROM core.scores WHERE arm = 'champion' AND slice = ''"
        " AND metric = 'accuracy' AND split = 'test'",
    )
    assert [row["value"] for row in rows] == [served["value"]]

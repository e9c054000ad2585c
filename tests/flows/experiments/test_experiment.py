"""A leave-one-out experiment on the pico world: what it leaves, killed, and done again."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.experiments.experiment import run_leave_one_out
from flows.workspace.settings import Settings
from tests.end_state import end_state
from tests.flows.conftest import enter_copy
from tests.lake_rows import read_rows_of
from tests.pico_world import SITES, make_pico_workspace

pytestmark = [pytest.mark.slow, pytest.mark.ci_slow]

COMMAND = ["experiment", "leave-one-out", "--sources", *SITES]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The pico world with all of its sources as references; nothing has run."""
    settings = make_pico_workspace(tmp_path_factory.mktemp("experiment"))
    plan = settings.plan_file.read_text()
    plan = plan.replace("[site_a, site_b]", "[site_a, site_b, site_c]")
    plan = plan.replace("epochs: 1", "epochs: 6").replace("5.0e-3", "2.0e-2")
    settings.plan_file.write_text(plan)
    return settings


@pytest.fixture(scope="module")
def done(fresh: Settings, tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Settings:
    """The world of `fresh` after an undisturbed experiment."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("done") / "home"
        settings = enter_copy(fresh, root, prefect_api, patch)
        summary = run_leave_one_out(settings, sources=SITES)
    assert summary.faults == ()
    assert summary.outcome == "ok"
    return settings


def scores_of(settings: Settings) -> dict[tuple[str, str], dict[str, Any]]:
    rows = read_rows_of(settings, "FROM core.experiment_scores WHERE metric = 'accuracy'")
    return {(row["source"], row["arm"]): row for row in rows}


def test_every_number_follows_from_the_items(done: Settings) -> None:
    items = read_rows_of(
        done,
        "SELECT i.arm, v.source, i.item_sha256, i.value FROM core.item_scores AS i"
        " JOIN core.dataset_versions AS v USING (dataset_version_id) WHERE i.split = 'test'",
    )
    values: dict[tuple[str, str], dict[str, float]] = {}
    for row in items:
        values.setdefault((row["source"], row["arm"]), {})[row["item_sha256"]] = row["value"]
    found = scores_of(done)
    asked = {pair for pair in found if pair[0] and not pair[1].startswith("nearest:")}
    assert asked == set(values)
    for (source, arm), mine in values.items():
        row, base = found[source, arm], values[source, "base"]
        average = values[source, "average"]
        assert row["n_items"] == len(mine)
        assert row["value"] == pytest.approx(sum(mine.values()) / len(mine))
        for baseline, theirs in (("base", base), ("average", average)):
            difference = sum(mine[item] - theirs[item] for item in mine) / len(mine)
            assert row[f"{baseline}_difference"] == pytest.approx(difference)
            low, high = row[f"{baseline}_ci_low"], row[f"{baseline}_ci_high"]
            result = "win" if low > 0 else "loss" if high < 0 else "tie"
            assert (low <= difference <= high, row[f"{baseline}_result"]) == (True, result)
    every = [v for (_, arm), mine in values.items() if arm == "sft" for v in mine.values()]
    assert found["", "sft"]["value"] == pytest.approx(sum(every) / len(every))
    assert found["", "sft"]["value"] > found["", "base"]["value"] + 0.1


def test_who_serves_whom(done: Settings) -> None:
    rows = read_rows_of(done, "FROM mart.experiment_weights")
    members: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        members.setdefault((row["arm"], row["source"]), {})[row["reference"]] = row["weight"]
    assert {arm for arm, _ in members} == {
        *("average", "nearest", "similarity", "linear", "linear_l1", "sft_ensemble")
    }
    for (arm, source), weights in members.items():
        assert sum(weights.values()) == pytest.approx(1.0)
        assert (source in weights) == (arm == "sft_ensemble"), (arm, source)
    assert all(members["sft_ensemble", s][s] > 0.5 for s in SITES)
    found = scores_of(done)
    for source in SITES:
        (nearest,) = members["nearest", source]
        assert found[source, "nearest"]["value"] == found[source, f"reference:{nearest}"]["value"]


def test_every_ordered_pair_has_its_distances_and_its_score(done: Settings) -> None:
    rows = read_rows_of(done, "FROM mart.experiment_transfer")
    pairs = {(row["source"], row["reference"]) for row in rows}
    assert pairs == {(a, b) for a in SITES for b in SITES if a != b}
    assert len(rows) == 3 * len(pairs)
    far = {(r["kind"], r["source"], r["reference"]): r["distance"] for r in rows}
    for kind in ("mean", "chamfer"):
        assert far[kind, "site_a", "site_b"] == pytest.approx(far[kind, "site_b", "site_a"])
    findings = read_rows_of(done, "FROM core.experiment_findings ORDER BY quantity, finding")
    assert [row["finding"] for row in findings] == [
        *("ensembles_above_base", "l1_does_not_collapse", "sft_above_ensembles"),
        *(f"nearer_is_better:{kind}" for kind in ("chamfer", "mean", "nearest_neighbour")),
    ]
    assert {row["verdict"] for row in findings} <= {"holds", "fails", "undecided"}


def test_a_second_time_nothing_changes(
    done: Settings,
    tmp_path: Path,
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
    rpe: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings = enter_copy(done, tmp_path / "again", prefect_api, monkeypatch)
    before = end_state(settings)
    assert rpe(*COMMAND, "--json") == 0
    answer = json.loads(capfd.readouterr().out)
    assert (answer["status"], answer["faults"]) == ("unchanged", [])
    assert {row["arm"] for row in answer["rows"]} >= {"base", "sft", "linear_l1"}
    assert end_state(settings) == before
    assert "Experiment: leave one out" in settings.report_file.read_text()
    assert rpe(*COMMAND, "--arms", "linear", "--distance", "mean") == 0
    out, err = capfd.readouterr()
    assert "train 1/" not in err, "a smaller experiment rests on the same adapters"
    assert "sft ensemble" not in out


def test_killed_between_two_targets_it_ends_as_if_undisturbed(
    fresh: Settings, done: Settings, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "killed")
    shutil.copytree(fresh.root, settings.root)
    kept = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    environment = {**kept, "RPE_HOME": str(settings.root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "flows.cli", *COMMAND]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stderr is not None
        told = []
        for line in run.stderr:
            told.append(line)
            if "evaluate 2/3" in line:
                break
        else:
            pytest.fail(f"it ended before: {''.join(told)}")
        os.killpg(run.pid, signal.SIGKILL)
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "train" not in again.stderr
    assert "ensemble" not in again.stderr
    assert end_state(settings) == end_state(done)


def test_a_source_without_labelled_test_rows_stops_it_before_anything_is_computed(
    fresh: Settings, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = enter_copy(fresh, tmp_path / "unlabelled", prefect_api, monkeypatch)
    data = fresh.root.parent / "data" / "site_b.jsonl"
    rows = [json.loads(line) | {"label": None} for line in data.read_text().splitlines()]
    (tmp_path / "site_b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    contract = settings.sources_folder / "site_b.yaml"
    contract.write_text(contract.read_text().replace(str(data.parent), str(tmp_path)))
    summary = run_leave_one_out(settings, sources=SITES)
    assert (summary.exit_code, summary.experiment_id) == (2, "")
    assert [(fault.step, fault.unit) for fault in summary.faults] == [("check", "all")]
    assert "site_b" in summary.faults[0].message
    assert [step["name"] for step in summary.steps] == ["ingest", "check"]

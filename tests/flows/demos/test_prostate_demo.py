"""The prostate demo: what is stated beforehand on the whole of it, its every step on a little."""

from pathlib import Path

import pytest

from catalog.examples.files import read_base
from catalog.examples.prostate_world import sites, write_world
from flows.demos.pretraining import pretrain_base
from flows.experiments.experiment import run_leave_one_out
from flows.experiments.leave_one_out_protocol import ARMS
from flows.night.nightly import run_night
from flows.upkeep.init import init_workspace
from flows.workspace.settings import Settings
from tests.lake_rows import read_rows_of

BASE = "models/organ-sam"
SCORES = """
    SELECT target_name, arm, value, ci_low, ci_high, n_items FROM core.scores
    WHERE metric = 'dice' AND split = 'test' AND slice = ''
"""


def _little(home: Path) -> Settings:
    """The demo with three cases a split and a base that has hardly been trained."""
    settings = Settings(home=home)
    write_world(home / "data", cases={"train": 2, "validation": 1, "test": 3})
    declared = read_base("prostate")
    how = {
        **declared,
        "phantoms": {"n": 8, "matrix": 48},
        "pretraining": {**declared["pretraining"], "n_steps": 10},
    }
    pretrain_base(home / BASE, "flows.demos.prostate", how, scratch=home / "tmp")
    assert init_workspace(settings, demo="prostate") == "workspace with 6 sources and a plan"
    plan = settings.plan_file.read_text()
    settings.plan_file.write_text(plan.replace("epochs: 16", "epochs: 1"))
    return settings


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_experiment_runs_to_its_tables_on_a_little(tmp_path: Path) -> None:
    settings = _little(tmp_path / "home")
    chosen = list(sites())[:3]
    summary = run_leave_one_out(settings, sources=chosen)
    assert summary.faults == ()
    rows = read_rows_of(settings, SCORES)
    assert {row["target_name"] for row in rows} == {f"loo-{site}" for site in chosen}
    assert set(ARMS) <= {row["arm"] for row in rows}
    assert all(row["n_items"] == 3 for row in rows)
    assert all(0.0 <= row["ci_low"] <= row["value"] <= row["ci_high"] <= 1.0 for row in rows)
    assert run_leave_one_out(settings, sources=chosen).outcome == "unchanged"


@pytest.mark.experiment
def test_what_is_stated_beforehand_on_the_whole_demo(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    init_workspace(settings, demo="prostate")
    assert run_leave_one_out(settings, sources=list(sites())).faults == ()
    rows = read_rows_of(settings, "SELECT finding, verdict, ci_low FROM core.experiment_findings")
    found = {row["finding"]: row for row in rows}
    assert found["sft_above_ensembles"]["verdict"] == "holds"
    assert found["ensembles_above_base"]["verdict"] == "holds"
    assert found["l1_does_not_collapse"]["ci_low"] > 0, "better than linear where linear collapses"
    assert run_night(settings).faults == ()

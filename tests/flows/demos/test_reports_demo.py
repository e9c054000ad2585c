"""The reports demo: what is stated beforehand on the whole of it, its every step on a little."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.examples.files import read_base
from catalog.examples.reports_world import sites, write_world
from catalog.stores.artifacts.artifacts import Artifacts
from flows.demos.pretraining import pretrain_base
from flows.demos.table import DEMOS
from flows.experiments.experiment import run_leave_one_out
from flows.experiments.leave_one_out_protocol import ARMS
from flows.upkeep.init import init_workspace
from flows.workspace.bases import model_files
from flows.workspace.settings import Settings
from rpe_core.errors import InputError
from tests.lake_rows import read_rows_of

SOURCES = [site.name for site in sites()]
SCORES = """
    SELECT target_name, arm, value, ci_low, ci_high FROM core.scores
    WHERE metric = 'rouge_l' AND split = 'test' AND slice = ''
"""
MODULE = DEMOS["reports"].base
TINY = {
    **read_base("reports"),
    "llama": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 192,
    },
    "pretraining": {"n_steps": 40, "learning_rate": 1e-2, "checkpoint_every": 5, "threads": 1},
}


def _digest(folder: Path) -> str:
    return Artifacts.hash_files(model_files(folder))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretraining") / "models" / "reports-llama"
    assert pretrain_base(folder, MODULE, TINY, scratch=folder.parent / "tmp")
    return folder


@pytest.mark.slow
def test_a_killed_pretraining_ends_like_an_undisturbed_one(base: Path, tmp_path: Path) -> None:
    folder, scratch = tmp_path / "models" / "reports-llama", tmp_path / "tmp"
    code = (
        "import json, sys; from pathlib import Path\n"
        "from flows.demos.pretraining import pretrain_base\n"
        "folder, module, how, scratch = sys.argv[1:]\n"
        "pretrain_base(Path(folder), module, json.loads(how), scratch=Path(scratch))"
    )
    line = [sys.executable, "-c", code, str(folder), MODULE, json.dumps(TINY), str(scratch)]
    child = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stderr is not None
    for told in child.stderr:
        if told.startswith("pretrain 15/40"):
            break
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    child.stderr.close()
    assert not folder.exists()
    assert pretrain_base(folder, MODULE, TINY, scratch=scratch)
    assert _digest(folder) == _digest(base)
    assert not list(scratch.iterdir())
    assert not pretrain_base(folder, MODULE, TINY, scratch=scratch), "it is there already"
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match="not the one"):
        pretrain_base(folder, MODULE, TINY, scratch=scratch)


def _little(home: Path, base: Path) -> Settings:
    """The demo with 40 rows a source, one epoch and a base that has hardly been trained."""
    settings = Settings(home=home)
    write_world(home / "data", n_rows=40)
    shutil.copytree(base, home / "models" / base.name)
    assert init_workspace(settings, demo="reports") == "workspace with 4 sources and a plan"
    plan = settings.plan_file.read_text()
    settings.plan_file.write_text(plan.replace("epochs: 6", "epochs: 1"))
    return settings


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_experiment_runs_to_its_tables_on_a_little(base: Path, tmp_path: Path) -> None:
    settings = _little(tmp_path / "home", base)
    chosen = SOURCES[:3]
    summary = run_leave_one_out(settings, sources=chosen)
    assert summary.faults == ()
    rows = read_rows_of(settings, SCORES)
    assert {row["target_name"] for row in rows} == {f"loo-{source}" for source in chosen}
    assert set(ARMS) <= {row["arm"] for row in rows}
    assert all(0.0 <= row["ci_low"] <= row["value"] <= row["ci_high"] <= 1.0 for row in rows)
    (counted,) = read_rows_of(settings, "SELECT sum(n_quarantined) AS n FROM core.batches")
    assert counted["n"] == 0, "the gates find nothing in rows that were made up"
    assert run_leave_one_out(settings, sources=chosen).outcome == "unchanged"


@pytest.mark.experiment
def test_what_is_stated_beforehand_on_the_whole_demo(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    init_workspace(settings, demo="reports")
    assert run_leave_one_out(settings, sources=SOURCES).faults == ()
    found = read_rows_of(settings, "SELECT finding, verdict FROM core.experiment_findings")
    verdicts = {row["finding"]: row["verdict"] for row in found}
    assert verdicts["sft_above_ensembles"] == "holds"
    assert verdicts["ensembles_above_base"] == "holds"
    assert "l1_does_not_collapse" in verdicts, "told, whatever came of it"

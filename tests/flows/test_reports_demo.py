"""The reports demo end to end: a base pretrained on the spot, then leave-one-out over its sources.

Smoke: a tiny world and base. Whole: what the README's two commands do.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from catalog.examples.files import read_base
from catalog.examples.reports_world import sites, write_world
from catalog.stores.artifacts import Artifacts
from flows.bases import model_files
from flows.demos.table import DEMOS
from flows.experiment import run_leave_one_out
from flows.init import init_workspace
from flows.pretraining import pretrain_base
from flows.reading import read_rows_of
from flows.settings import Settings
from rpe_core.errors import InputError

SOURCES = [site.name for site in sites()]
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
        "import json, sys; from pathlib import Path; from flows.pretraining import pretrain_base\n"
        "folder, module, how, scratch = sys.argv[1:]\n"
        "pretrain_base(Path(folder), module, json.loads(how), scratch=Path(scratch))"
    )
    how = yaml.safe_dump(TINY, default_flow_style=True, width=10**6)
    line = [sys.executable, "-c", code, str(folder), MODULE, how, str(scratch)]
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


def _make_tiny_workspace(home: Path, base: Path) -> Settings:
    """A fifth of the rows, an epoch, and the base of the other test."""
    settings = Settings(home=home)
    write_world(home / "data", n_rows=80)
    (home / "models").mkdir()
    (home / "models" / base.name).symlink_to(base, target_is_directory=True)
    init_workspace(settings, demo="reports")
    plan = yaml.safe_load(settings.plan_file.read_text())
    plan["recipes"]["lora8"] |= {"epochs": 1}
    plan["evaluation"] = {"max_items": 10}
    settings.plan_file.write_text(yaml.safe_dump(plan))
    return settings


def _scores(settings: Settings) -> dict[tuple[str, str], dict[str, object]]:
    rows = read_rows_of(
        settings,
        "SELECT * FROM mart.experiment_scores WHERE is_newest AND metric = 'rouge_l'",
    )
    return {(str(row["source"]), str(row["arm"])): row for row in rows}


ARMS = {"base", "sft", "average", "nearest", "similarity", "linear", "linear_l1", "sft_ensemble"}


@pytest.mark.slow
def test_every_source_is_served_by_the_others(base: Path, tmp_path: Path) -> None:
    settings = _make_tiny_workspace(tmp_path / "home", base)
    summary = run_leave_one_out(settings, sources=SOURCES)
    assert summary.outcome == "ok", [str(fault) for fault in summary.faults]
    scores = _scores(settings)
    for source in SOURCES:
        assert {arm for name, arm in scores if name == source} >= ARMS
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in scores.values())


@pytest.mark.experiment
def test_the_demo_does_what_was_stated_beforehand(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    init_workspace(settings, demo="reports")
    summary = run_leave_one_out(settings, sources=SOURCES)
    assert summary.outcome == "ok", [str(fault) for fault in summary.faults]
    mean = {
        arm: sum(float(str(row["value"])) for (_, a), row in _scores(settings).items() if a == arm)
        for arm in ARMS
    }
    assert mean["sft"] > max(mean[arm] for arm in ARMS - {"base", "sft", "sft_ensemble"})
    assert mean["base"] < mean["average"]

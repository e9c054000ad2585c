"""Adapter methods compared on the pico world: every number follows from what is on record."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.experiments.experiment import run_methods
from flows.experiments.method_protocol import MethodProtocol, method_plan_of, method_protocol_of
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake
from flows.workspace.workspace import load_declarations
from rpe_core.adapters.table import ADAPTER_METHODS
from rpe_core.errors import DeclarationError, InputError
from tests.end_state import end_state
from tests.flows.conftest import enter_copy
from tests.lake_rows import read_rows_of
from tests.pico_world import SITES, make_pico_workspace

SORA = """\
  sora2: {method: sora, r: 2, alpha: 4, target_modules: [query, value], epochs: 2,
          learning_rate: 2.0e-2, batch_size: 16, seed: 7, options: {threshold: 5.0e-2}}
"""
METHODS = ("lora", "miss", "sora")
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The pico world with all of its sources as references, and a recipe of SoRA."""
    settings = make_pico_workspace(tmp_path_factory.mktemp("methods"))
    plan = settings.plan_file.read_text()
    plan = plan.replace("[site_a, site_b]", "[site_a, site_b, site_c]")
    plan = plan.replace("epochs: 1", "epochs: 2").replace("5.0e-3", "2.0e-2")
    settings.plan_file.write_text(plan.replace("references:", SORA + "references:"))
    return settings


def asked(settings: Settings, **more: Any) -> MethodProtocol:
    declared = load_declarations(settings)
    return method_protocol_of(settings, declared, **{"sources": SITES, **more})


def test_every_method_gets_the_rank_nearest_to_the_budget(fresh: Settings) -> None:
    protocol = asked(fresh, methods=["sora", "miss"])
    assert (protocol.yardstick, protocol.n_parameters) == ("lora", 512)
    assert {method: found["r"] for method, found in protocol.recipes.items()} == {
        "lora": 2, "miss": 4, "sora": 2,
    }  # fmt: skip
    assert protocol.recipes["miss"]["alpha"] == 4, "it has no scale"
    assert protocol.recipes["sora"]["options"] == {"threshold": 0.05}, "the plan's own"
    wide = asked(fresh, methods=["sora", "miss"], n_parameters=1024)
    assert wide.recipes["lora"]["r"] == 4
    assert wide.recipes["lora"]["alpha"] == 8, "the scale is kept"


def test_no_methods_mean_all_and_nothing_differs_but_seed_and_method(fresh: Settings) -> None:
    protocol = asked(fresh)
    assert set(protocol.recipes) == set(ADAPTER_METHODS) - {"dora", "prompts"}
    plan = method_plan_of(load_declarations(fresh).plan, protocol)
    assert len(plan.targets) == len(protocol.recipes) * len(SEEDS) * len(SITES)
    assert len({target.name for target in plan.targets}) == len(plan.targets)
    alike = {
        target.model_copy(update={"name": "", "source": "", "library": None}).model_dump_json()
        for target in plan.targets
    }
    assert len(alike) == 1
    assert {plan.recipe(f"lora-{seed}").seed for seed in SEEDS} == set(SEEDS)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"methods": ["soar"]}, "did you mean 'sora'"),
        ({"methods": ["dora"]}, "mergeable adapter method 'dora' is not known"),
        ({"n_seeds": 2}, "asks for 2 seeds"),
        ({"sources": SITES[:2]}, "names 2 different sources"),
        ({"recipe": "lora3"}, "lora2"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is(
    fresh: Settings, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(DeclarationError) as raised:
        asked(fresh, **more)
    assert words in str(raised.value)


def test_a_budget_beyond_the_modules_is_refused(fresh: Settings) -> None:
    with pytest.raises(InputError, match="rank is more than a module has"):
        asked(fresh, methods=["lora"], n_parameters=100_000)


@pytest.fixture(scope="module")
def done(fresh: Settings, tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("done") / "home"
        settings = enter_copy(fresh, root, prefect_api, patch)
        summary = run_methods(settings, sources=SITES, methods=["miss", "sora"])
    assert (summary.faults, summary.outcome) == ((), "ok")
    return settings


def means(settings: Settings) -> dict[tuple[str, str, str], float]:
    """(target, arm) scores: of a method, seed and source as target."""
    rows = read_rows_of(
        settings,
        "SELECT target_name, arm, value FROM core.scores"
        " WHERE metric = 'accuracy' AND split = 'test' AND slice = ''",
    )
    return {(row["target_name"], row["arm"]): row["value"] for row in rows}


@pytest.mark.slow
@pytest.mark.ci_slow
def test_every_number_follows_from_the_scores(done: Settings) -> None:
    found = means(done)
    rows = read_rows_of(done, "FROM core.experiment_methods")
    values = {(r["method"], r["source"], r["quantity"]): r for r in rows}
    for method in METHODS:
        for source in SITES:
            by_seed = {
                "own": [found[f"loo-{method}-{seed}-{source}", "sft"] for seed in SEEDS],
                "average": [found[f"loo-{method}-{seed}-{source}", "average"] for seed in SEEDS],
                "elsewhere": [
                    np.mean([found[f"loo-{method}-{seed}-{other}", f"reference:{source}"]
                             - found[f"loo-{method}-{seed}-{other}", "base"]
                             for other in SITES if other != source])
                    for seed in SEEDS
                ],
            }  # fmt: skip
            by_seed["average_gap"] = list(np.subtract(by_seed["average"], by_seed["own"]))
            for quantity, expected in by_seed.items():
                row = values[method, source, quantity]
                assert row["value"] == pytest.approx(np.mean(expected), abs=0.01), quantity
                assert row["seed_low"] == pytest.approx(min(expected), abs=0.01)
                assert row["ci_low"] <= row["value"] <= row["ci_high"]
                assert row["n_seeds"] == len(SEEDS)
    lora, miss = values["lora", "", "own"], values["miss", "", "own"]
    assert (lora["result"], lora["difference"]) == ("", None)
    assert miss["difference"] == pytest.approx(miss["value"] - lora["value"])
    assert miss["n_items"] == lora["n_items"]


@pytest.mark.slow
@pytest.mark.ci_slow
def test_costs_are_those_of_the_adapters(done: Settings) -> None:
    adapters = read_rows_of(done, "FROM core.adapters")
    assert len(adapters) == len(METHODS) * len(SEEDS) * len(SITES)
    assert all(row["train_seconds"] > 0 and row["peak_memory_bytes"] > 1e7 for row in adapters)
    rows = read_rows_of(done, "FROM core.experiment_methods WHERE source = ''")
    values = {(row["method"], row["quantity"]): row["value"] for row in rows}
    assert values["lora", "n_parameters"] == 512
    assert values["lora", "rank"] == 2 * 4, "four modules"
    assert values["sora", "rank"] < values["lora", "rank"], "gates were closed"
    findings = read_rows_of(done, "SELECT finding, details FROM core.experiment_findings")
    assert [row["finding"] for row in findings] == ["pruned_as_good"]
    assert "gates" in findings[0]["details"]


@pytest.mark.slow
@pytest.mark.ci_slow
def test_what_older_adapters_took_is_not_known(
    done: Settings, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = enter_copy(done, tmp_path / "older", prefect_api, monkeypatch)
    with open_lake(settings) as lake, lake.transaction(message="test", run=None) as commit:
        commit.execute("UPDATE core.adapters SET train_seconds = NULL")
        commit.execute("DELETE FROM core.experiments")
        commit.execute("DELETE FROM core.experiment_methods")
        commit.execute("DELETE FROM core.experiment_findings")
    assert run_methods(settings, sources=SITES, methods=["miss", "sora"]).outcome == "ok"
    rows = read_rows_of(settings, "FROM core.experiment_methods WHERE quantity = 'train_seconds'")
    assert {(row["value"], row["seed_low"]) for row in rows} == {(None, None)}
    assert "not known" in settings.report_file.read_text()


@pytest.mark.slow
@pytest.mark.ci_slow
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
    command = ["experiment", "methods", "--source", *SITES, "--methods", "miss", "sora"]
    assert rpe(*command, "--json") == 0
    answer = json.loads(capfd.readouterr().out)
    assert (answer["status"], answer["faults"]) == ("unchanged", [])
    assert {row["method"] for row in answer["rows"]} == set(METHODS)
    assert end_state(settings) == before
    page = settings.report_file.read_text()
    assert "Experiment: adapter methods" in page
    assert "linear l1 gap" in page
    assert rpe(*command) == 0
    assert "over all sources and seeds" in capfd.readouterr().out

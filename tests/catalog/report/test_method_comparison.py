"""A comparison of adapter methods as it is read: its table, its chart and its section of a page."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.report.experiment_blocks import method_charts
from catalog.report.experiments import MethodComparisonTable, newest_experiments, read_experiment
from catalog.report.page import write_report
from catalog.stores.lake.lake import Lake
from catalog.stores.vectors.vectors import Vectors
from tests.catalog.lakes import fresh_lake

ID = "experiment:adapter_methods@1"
ASKED = {
    "yardstick": "lora", "n_parameters": 512, "strategies": ["average"], "seeds": [0, 1, 2],
    "recipes": {"hydra": {"r": 3}, "lora": {"r": 4}},
}  # fmt: skip


def quantity(method: str, name: str, value: float | None, result: str = "") -> dict[str, Any]:
    ends = ("ci_low", "ci_high", "seed_low", "seed_high")
    is_cost = name in ("n_parameters", "rank", "train_seconds", "peak_memory_bytes")
    spread = {
        end: None if is_cost else (value or 0) + 0.1 * (-1) ** i for i, end in enumerate(ends, 1)
    }
    return {
        "experiment_id": ID, "method": method, "source": "", "quantity": name, "value": value,
        **spread, "n_items": 60, "n_groups": 60, "n_seeds": 3, "difference": None,
        "difference_ci_low": None, "difference_ci_high": None, "result": result,
    }  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    rows = []
    for method, result in (("lora", ""), ("hydra", "win")):
        scores = {"own": 0.7, "elsewhere": -0.2, "average": 0.6, "average_gap": -0.1}
        rows += [quantity(method, name, value, result) for name, value in scores.items()]
        costs = {"n_parameters": 512.0, "rank": 16.0, "train_seconds": None}
        rows += [quantity(method, name, value) for name, value in costs.items()]
    row = {
        "experiment_id": ID, "run_id": "run:experiment@1", "kind": "adapter_methods",
        "sources_json": '["a","b","c"]', "base_id": "pico@1", "recipe_id": "",
        "task_type": "text-classification", "metric": "accuracy",
        "protocol_json": json.dumps(ASKED),
    }  # fmt: skip
    with fresh_lake(tmp_path_factory.mktemp("comparison")) as opened:
        with opened.transaction(message="test", run=None) as tx:
            tx.insert_new("experiments", [row])
            tx.insert_new("experiment_methods", rows)
        yield opened


def test_the_yardstick_comes_first_and_a_cost_may_be_unknown(lake: Lake) -> None:
    assert newest_experiments(lake) == [ID]
    found = read_experiment(lake, ID)
    assert isinstance(found, MethodComparisonTable)
    assert found.columns[:4] == ["own", "elsewhere", "average", "average_gap"]
    first, second = found.table()
    assert (first["method"], first["r"], second["method"]) == ("lora", 4, "hydra")
    assert (second["own"]["result"], second["peak_memory_bytes"]) == ("win", None)
    assert lake.rows("SELECT DISTINCT is_newest FROM mart.experiment_methods") == [
        {"is_newest": True}
    ]


def test_the_report_draws_and_tells_it(lake: Lake, tmp_path: Path) -> None:
    vectors = Vectors.open(str(tmp_path / "vectors"), lock_path=tmp_path / "writer.lock")
    write_report(lake, vectors, tmp_path / "report.html", targets=(), min_groups=10)
    page = (tmp_path / "report.html").read_text()
    words = ("Experiment: adapter methods", "0.700 [0.600, 0.800] +", "-0.200", "not known", "512")
    for word in (*words, "about 512 trained parameters"):
        assert word in page, word
    found = read_experiment(lake, ID)
    assert isinstance(found, MethodComparisonTable)
    own, elsewhere, average = method_charts(found)
    assert [chart.caption for chart in (own, elsewhere, average)] == ["own", "elsewhere", "average"]
    assert [line.name for line in own.lines] == ["lora", "hydra"]
    assert own.yardstick == own.lines[0].at
    assert page.count('aria-label="hydra: 0.700, interval 0.600 to 0.800"') == 1

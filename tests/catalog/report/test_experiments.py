"""Experiments as they are read: tables from rows, views, and their section of the report."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.report.experiments import newest_experiments, read_experiment, score_text
from catalog.report.page import write_report
from catalog.stores.lake.lake import Lake
from catalog.stores.vectors.vectors import Vectors
from tests.catalog.lakes import NOON, fresh_lake

ID = "experiment:leave_one_out@1"
SITES = ("a", "b", "c")
VALUES = {("a", "b"): 0.5, ("a", "c"): 0.4, ("b", "a"): 0.3, ("b", "c"): 0.6, ("c", "a"): 0.7,
          ("c", "b"): 0.2}  # fmt: skip
FAR = {"ab": 1.0, "ac": 2.0, "ba": 1.0, "bc": 1.0, "ca": 2.0, "cb": 1.0}


def experiment(name: str, **more: Any) -> dict[str, Any]:
    return {
        "experiment_id": name, "run_id": "run:experiment@1", "kind": "leave_one_out",
        "sources_json": '["a","b","c"]', "base_id": "pico@1", "recipe_id": "r1",
        "task_type": "text-generation", "metric": "rouge_l", "protocol_json": "{}", **more,
    }  # fmt: skip


def score(source: str, arm: str, value: float, **more: Any) -> dict[str, Any]:
    row = {
        "experiment_id": ID, "source": source, "arm": arm, "metric": "rouge_l",
        "metric_version": "1", "is_higher_better": True, "evaluation_id": f"e-{source}",
        "ensemble_id": "", "value": value, "ci_low": value - 0.1, "ci_high": value + 0.1,
        "n_items": 20, "n_groups": 20,
    }  # fmt: skip
    for baseline in ("base", "average"):
        row |= {f"{baseline}_{name}": 0.0 for name in ("difference", "ci_low", "ci_high")}
        row[f"{baseline}_result"] = "tie"
    return {**row, **more}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    scores = [score(s, arm, v) for s in SITES for arm, v in (("base", 0.1), ("sft", 0.9))]
    scores += [score(s, "linear", 0.5, ensemble_id=f"ensemble:{s}") for s in SITES]
    scores += [score(a, f"reference:{b}", value) for (a, b), value in VALUES.items()]
    scores += [score("", arm, v, n_items=60) for arm, v in (("base", 0.1), ("sft", 0.9))]
    scores += [score("a", "base", 0.0, metric="exact_match")]
    distances = [
        {"experiment_id": ID, "kind": "mean", "source": a, "reference": b, "distance": far,
         "n_items": 9, "n_reference_items": 9}
        for (a, b), far in FAR.items()
    ]  # fmt: skip
    finding = {
        "experiment_id": ID, "finding": "sft_above_ensembles", "statement": "Own <above>",
        "verdict": "holds", "metric": "rouge_l", "quantity": "difference", "value": 0.4,
        "ci_low": 0.3, "ci_high": 0.5, "p_value": None, "n": 60, "n_clusters": 60, "details": "",
    }  # fmt: skip
    members = [
        ("a", "b", 1.5),
        ("a", "c", -0.5),
        ("b", "a", 1.0),
        ("c", "a", 0.25),
        ("c", "b", 0.75),
    ]
    with fresh_lake(tmp_path_factory.mktemp("experiments")) as opened:
        with opened.transaction(message="test", run=None) as tx:
            tx.insert_new("experiments", [experiment(ID), experiment("experiment:old@1",
                          recorded_at=NOON - timedelta(days=1))])  # fmt: skip
            tx.insert_new("experiment_scores", scores)
            tx.insert_new("experiment_distances", distances)
            tx.insert_new("experiment_findings", [finding])
            tx.insert_new("adapters", [{"adapter_id": f"adapter:{s}", "source": s} for s in SITES])
            tx.insert_new(
                "ensemble_members",
                [{"ensemble_id": f"ensemble:{a}", "adapter_id": f"adapter:{b}", "weight": w}
                 for a, b, w in members],
            )  # fmt: skip
        yield opened


def test_the_newest_of_a_kind_is_read_whole(lake: Lake) -> None:
    assert newest_experiments(lake) == [ID]
    found = read_experiment(lake, ID)
    assert found.sources == list(SITES)
    assert found.metrics == ["rouge_l", "exact_match"]
    assert found.arms == ["base", "sft", "linear"]
    newest = lake.rows("SELECT DISTINCT experiment_id, is_newest FROM mart.experiment_scores")
    assert newest == [{"experiment_id": ID, "is_newest": True}]


def test_targets_by_arms_with_the_mean_and_all_items(lake: Lake) -> None:
    table = read_experiment(lake, ID).score_table("rouge_l")
    assert [row["target"] for row in table] == ["a", "b", "c", "mean", "all items"]
    assert [row["n"] for row in table] == [20, 20, 20, None, 60]
    assert [row["groups"] for row in table] == [20, 20, 20, None, 20]
    assert table[0]["sft"]["value"] == 0.9
    assert table[3]["sft"]["value"] == pytest.approx(0.9)
    assert table[4]["linear"] is None
    assert score_text(table[0]["sft"]) == "0.900 =="
    assert score_text(table[0]["sft"], with_interval=True) == "0.900 [0.800, 1.000] =="
    assert (score_text(table[3]["sft"]), score_text(None)) == ("0.900", "")


def test_weights_stand_by_target_and_sum_to_one(lake: Lake) -> None:
    table = read_experiment(lake, ID).weight_table()
    assert [(row["arm"], row["target"]) for row in table] == [("linear", s) for s in SITES]
    assert table[0] == {"arm": "linear", "target": "a", "a": None, "b": 1.5, "c": -0.5}
    assert all(sum(row[s] or 0 for s in SITES) == 1.0 for row in table)


def test_the_nearest_is_picked_by_distance_then_by_name(lake: Lake) -> None:
    found = read_experiment(lake, ID)
    picked = {row["target"]: row["mean"]["reference"] for row in found.nearest_table()}
    assert picked == {"a": "b", "b": "a", "c": "b"}
    far = found.distance_table("mean")
    assert far[0]["a"] is None
    assert (far[1]["c"]["distance"], far[1]["c"]["value"]) == (1.0, 0.6)


def test_the_report_tells_it_and_escapes_it(lake: Lake, tmp_path: Path) -> None:
    vectors = Vectors.open(str(tmp_path / "vectors"), lock_path=tmp_path / "writer.lock")
    write_report(lake, vectors, tmp_path / "report.html", targets=(), min_groups=10)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<h2>Experiment: leave one out</h2>") == 1
    for words in (ID, "Own &lt;above&gt;", "+0.400 [+0.300, +0.500]", "1.500", "60 in 60"):
        assert words in page

"""mart.target_history and mart.champion_history: a first guess gives what one expects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.report import queries
from catalog.stores.lake.lake import Lake
from rpe_core.evaluation.metrics import GATE_METRIC
from tests.catalog.lakes import fresh_lake
from tests.catalog.nights import Nights, day

ARMS = {"linear": "a", "average": "b"}


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with fresh_lake(tmp_path) as opened:
        yield opened


@pytest.fixture
def nights(lake: Lake) -> Nights:
    """Promoted on day 1, another refused on 3, that one promoted on 5, rolled back on day 6."""
    told = Nights(lake)
    told.run(1)
    told.evaluation(1, {"base": 0.4, "linear": 0.8, "average": 0.7}, ARMS)
    told.verdict(1.01, "promoted", "linear", "a", version="1")
    told.run(2, outcome="unchanged")
    told.run(3)
    told.evaluation(
        3, {"base": 0.3, "champion": 0.6, "linear": 0.61, "average": 0.5},
        {"champion": "a", "linear": "c", "average": "d"},
    )  # fmt: skip
    told.verdict(3.01, "refused", "linear", "c", champion="a", version="2")
    told.run(5)
    told.evaluation(
        5, {"base": 0.3, "champion": 0.4, "linear": 0.75, "average": 0.5},
        {"champion": "a", "linear": "e", "average": "f"},
    )  # fmt: skip
    told.verdict(5.01, "promoted", "linear", "e", champion="a", version="3")
    told.verdict(
        6, "rolled_back", "linear", "a", champion="e", actor="jane.roe", model_version="1",
        reasons="Rolled back by jane.roe from ensemble:site-d@e.",
    )  # fmt: skip
    told.write()
    return told


def rows_of(lake: Lake, columns: str, view: str = "target_history") -> list[tuple[Any, ...]]:
    return [
        tuple(row.values())
        for row in lake.rows(f"SELECT {columns} FROM mart.{view} WHERE target_name = 'site-d'")
    ]


def test_a_first_guess_finds_one_row_per_night_and_arm(lake: Lake, nights: Nights) -> None:
    everything = rows_of(lake, "run_id, arm")
    assert len(everything) == len(set(everything)) == 3 + 4 + 4
    for view in ("target_history", "scores", "leaderboard"):
        whole = lake.rows(f"FROM mart.{view} WHERE slice IS NULL")
        assert whole
        assert all(row["slice"] is None for row in whole)
    assert rows_of(lake, "DISTINCT slice, metric, split") == [(None, "accuracy", "test")]
    slices = lake.rows("SELECT DISTINCT slice FROM mart.scores WHERE slice IS NOT NULL")
    assert slices == [{"slice": "scanner=abc"}]


def test_the_champion_of_each_night_is_marked_with_what_was_decided(
    lake: Lake, nights: Nights
) -> None:
    assert rows_of(lake, "evaluated_at, arm, role, value, verdict, champion_version") == [
        (day(1), "linear", "champion", 0.8, "promoted", "1"),
        (day(1), "base", "base", 0.4, None, "1"),
        (day(1), "average", "other", 0.7, None, "1"),
        (day(3), "champion", "champion", 0.6, None, "1"),
        (day(3), "linear", "challenger", 0.61, "refused", "1"),
        (day(3), "base", "base", 0.3, None, "1"),
        (day(3), "average", "other", 0.5, None, "1"),
        (day(5), "linear", "champion", 0.75, "promoted", "3"),
        (day(5), "base", "base", 0.3, None, "3"),
        (day(5), "average", "other", 0.5, None, "3"),
        (day(5), "champion", "former champion", 0.4, None, "3"),
    ]
    served = [row for row in rows_of(lake, "evaluated_at, value, model_version, is_champion")]
    assert [row[:3] for row in served if row[3]] == [
        (day(1), 0.8, "1"), (day(3), 0.6, "1"), (day(5), 0.75, "3"),
    ]  # fmt: skip


def test_champions_follow_each_other_without_a_gap(lake: Lake, nights: Nights) -> None:
    columns = "model_version, since_at, until_at, is_champion, action, actor, former_version"
    assert rows_of(lake, columns, "champion_history") == [
        ("1", day(1.01), day(5.01), False, "promoted", "gate", None),
        ("3", day(5.01), day(6), False, "promoted", "gate", "1"),
        ("1", day(6), None, True, "rolled_back", "jane.roe", "3"),
    ]
    columns = "metric, value, n_items, base_difference, base_result, former_difference"
    assert rows_of(lake, columns, "champion_history") == [
        ("accuracy", 0.8, 50, 0.2, "win", None),
        ("accuracy", 0.75, 50, 0.2, "win", 0.2),
        ("accuracy", 0.8, 50, 0.2, "win", None),
    ]


def test_an_approved_challenger_has_the_comparison_that_it_waited_with(lake: Lake) -> None:
    told = Nights(lake)
    told.evaluation(1, {"base": 0.4, "linear": 0.8}, {"linear": "a"})
    told.verdict(1.01, "pending", "linear", "a", version="1")
    told.verdict(1.5, "approved", "linear", "a", actor="jane.roe", model_version="1")
    told.evaluation(2, {"base": 0.4, "linear": 0.7}, {"linear": "a"})
    told.write()
    assert rows_of(lake, "evaluated_at, role, verdict, champion_version") == [
        (day(1), "challenger", "pending", None),
        (day(1), "base", None, None),
        (day(2), "champion", None, "1"),
        (day(2), "base", None, "1"),
    ]
    assert rows_of(lake, "action, actor, value, base_result", "champion_history") == [
        ("approved", "jane.roe", 0.8, "win")
    ]


def test_an_abstention_stands_beside_the_base_that_answers(lake: Lake) -> None:
    told = Nights(lake)
    told.evaluation(1, {"base": 0.4, "linear": 0.8}, {"linear": "a"})
    told.verdict(1.01, "abstained", "base", "")
    told.write()
    assert rows_of(lake, "arm, role, verdict, is_champion") == [
        ("base", "base", "abstained", False),
        ("linear", "other", None, False),
    ]
    assert rows_of(lake, "*", "champion_history") == []


def test_left_out_references_speak_for_the_strategy_and_auto_for_the_rule(lake: Lake) -> None:
    told = Nights(lake, split="leave_one_out", metric="rouge_l")
    scores = {"base": 0.2, "linear": 0.3, "average": 0.25, "auto": 0.31}
    told.evaluation(1, scores, {"linear": "a", "average": "b", "auto": "a"})
    told.verdict(1.01, "promoted", "linear", "a", version="1")
    told.evaluation(2, scores, {"linear": "c", "average": "d", "auto": "d"})
    told.verdict(2.01, "refused", "average", "d", champion="a", version="2")
    told.write()
    assert rows_of(lake, "evaluated_at, arm, role, verdict, split") == [
        (day(1), "linear", "champion", None, "leave_one_out"),
        (day(1), "auto", "challenger", "promoted", "leave_one_out"),
        (day(1), "base", "base", None, "leave_one_out"),
        (day(1), "average", "other", None, "leave_one_out"),
        (day(2), "linear", "champion", None, "leave_one_out"),
        (day(2), "auto", "challenger", "refused", "leave_one_out"),
        (day(2), "base", "base", None, "leave_one_out"),
        (day(2), "average", "other", None, "leave_one_out"),
    ]
    assert rows_of(lake, "arm, ensemble_id")[1] == ("auto", "ensemble:site-d@a")
    assert rows_of(lake, "value, base_result", "champion_history") == [(0.31, "win")]


@pytest.mark.parametrize("metric", [*GATE_METRIC.values(), "hd95"])
def test_the_metric_is_that_of_the_gate(lake: Lake, metric: str) -> None:
    told = Nights(lake, metric=metric, is_higher_better=metric != "hd95")
    told.evaluation(1, {"base": 9.0, "linear": 4.0}, {"linear": "a"})
    told.verdict(1.01, "promoted", "linear", "a", version="1")
    told.write()
    columns = "arm, metric, value, is_higher_better"
    assert rows_of(lake, columns) == [
        ("linear", metric, 4.0, metric != "hd95"), ("base", metric, 9.0, metric != "hd95"),
    ]  # fmt: skip
    assert rows_of(lake, "metric, is_higher_better", "champion_history") == [
        (metric, metric != "hd95")
    ]


@pytest.mark.parametrize("metric", sorted(set(GATE_METRIC.values())))
def test_before_the_first_gate_the_metric_is_the_usual_one_of_the_task(
    lake: Lake, metric: str
) -> None:
    told = Nights(lake, metric=metric)
    told.evaluation(1, {"base": 0.4}, {})
    told.write()
    assert rows_of(lake, "arm, metric, role, is_champion") == [("base", metric, "base", False)]


def test_what_is_withdrawn_is_gone_and_that_it_was_is_told(lake: Lake, nights: Nights) -> None:
    with lake.transaction(message="withdraw", run=None) as commit:
        for table, column in (("ensembles", "ensemble_id"), ("promotions", "ensemble_id")):
            commit.execute(
                f"UPDATE core.{table} SET retracted_at = ? WHERE {column} = 'ensemble:site-d@e'",
                [day(7)],
            )
        commit.execute(
            "UPDATE core.promotions SET retracted_at = ? WHERE action = 'rolled_back'", [day(7)]
        )
        named = '{"influence":{"ensembles":{"ensemble:site-d@e":"0"}}}'
        row = {"retraction_id": "r", "subject_id": "site_a", "source": "site_a",
               "certificate_json": named, "state": "withdrawn", "recorded_at": day(7)}  # fmt: skip
        commit.insert_new("retractions", [row])
    assert {at for (at,) in rows_of(lake, "evaluated_at")} == {day(1), day(3)}
    columns = "model_version, since_at, until_at, is_champion, withdrawn_at"
    assert rows_of(lake, columns, "champion_history") == [("1", day(1.01), None, True, day(7))]
    told = str(rows_of(lake, "*") + rows_of(lake, "*", "champion_history"))
    assert "site-d@e" not in told
    assert "site_a" not in told


def test_an_experiment_is_no_history_of_a_target(lake: Lake, nights: Nights) -> None:
    with lake.transaction(message="test", run=None) as commit:
        row = {"experiment_id": "x", "source": "d", "arm": "base", "metric": "accuracy",
               "evaluation_id": "site-d e3"}  # fmt: skip
        commit.insert_new("experiment_scores", [row])
    assert {at for (at,) in rows_of(lake, "evaluated_at")} == {day(1), day(5)}


def test_targets_do_not_mix(lake: Lake, nights: Nights) -> None:
    before = rows_of(lake, "*") + rows_of(lake, "*", "champion_history")
    other = Nights(lake, target="site-e", metric="dice")
    other.evaluation(2, {"base": 0.4, "linear": 0.8}, {"linear": "z"})
    other.verdict(2.01, "promoted", "linear", "z", version="7")
    other.write()
    assert rows_of(lake, "*") + rows_of(lake, "*", "champion_history") == before
    named = queries.read_champions(lake, targets=["site-e"])
    assert [(row["target_name"], row["model_version"]) for row in named] == [("site-e", "7")]

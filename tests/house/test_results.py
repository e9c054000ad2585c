"""Results: what a workspace holds becomes rows, and rows are shown as pages show them."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from catalog.stores.lake.lake import Lake
from tests.benchmarks.table import cells, newest
from tests.catalog.lakes import fresh_lake
from tests.catalog.report_experiments import ARMS, SITES, add_experiments
from tests.experiments.keep import (
    KINDS,
    LEADERBOARD,
    METHODS,
    RUNS,
    asked_sources,
    commands_of,
    faults_of,
    keep_result,
    methods_table,
    scores_table,
    tables_of,
    with_mean,
)
from tests.experiments.protocols import PROTOCOLS
from tests.experiments.result_files import FOLDER, markdown, read_result
from tests.house import result_sections
from tests.house.result_sections import benchmark_entries

REPORTS = ("ct_abdomen", "ct_head", "mr", "xray")
KEPT_FROM_A_WORKSPACE = [name for name in PROTOCOLS if name.endswith(KINDS)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with fresh_lake(tmp_path_factory.mktemp("lake")) as lake:
        add_experiments(lake)
        yield lake


def quantity(method: str, name: str, value: float, *, is_cost: bool, result: str) -> dict[str, Any]:
    ends = (None, None) if is_cost else (value - 0.1, value + 0.1)
    seeds = {"seed_low": value - 0.2, "seed_high": value + 0.2}
    spread = {"value": value, "low": ends[0], "high": ends[1], **seeds}
    return {"method": method, "quantity": name, **spread, "result": result}


def test_scores_of_an_experiment_become_one_row_a_source(lake: Lake) -> None:
    table = tables_of("reports_leave_one_out", lake.rows)["scores"]
    assert set(ARMS) == set(table.columns[2:])
    assert table.column("target") == [*SITES, "all items"]
    assert set(table.column("n")) == {1200}
    (first,) = lake.rows(
        "SELECT value FROM core.experiment_scores WHERE source = ? AND arm = 'sft'", (SITES[0],)
    )
    assert table.column("sft")[0]["value"] == first["value"]


def test_the_lake_answers_what_else_is_kept(lake: Lake) -> None:
    assert {"method", "quantity", "seed_low", "result"} <= set(lake.rows(METHODS)[0])
    assert lake.rows(LEADERBOARD) == []
    runs = {kind: lake.rows(sql) for kind, sql in RUNS.items()}
    assert {row["metric"] for row in runs["_leave_one_out"]} == {"rouge_l"}
    assert {row["source"] for row in runs["_methods"]} == {"", *SITES}
    assert all(row["recorded_at"] for row in runs["_methods"])


def test_a_run_of_other_sources_arms_or_metrics_is_not_kept_as_this_experiment() -> None:
    """The text demo's newest experiment was once kept as that of the reports, accuracy and all."""
    protocol = PROTOCOLS["reports_leave_one_out"]()
    asked = [(source, arm) for source in ("", *REPORTS) for arm in protocol["arms"]]
    run = [{"source": s, "variant": arm, "metric": "rouge_l"} for s, arm in asked]
    assert faults_of("reports_leave_one_out", run) == []
    fewer = [row for row in run if row["variant"] != "linear"]
    assert faults_of("reports_leave_one_out", fewer) == ["variant not measured: linear"]
    more = [*run, {**run[-1], "source": "letters"}]
    assert faults_of("reports_leave_one_out", more) == ["source not of the protocol: letters"]
    other = [{**row, "metric": "accuracy"} for row in run]
    assert faults_of("reports_leave_one_out", other) == ["metric not measured: rouge_l"]
    assert len(faults_of("medquad_methods", [])) == 3, "an empty comparison leaves the result alone"


@pytest.mark.parametrize("experiment", sorted(KEPT_FROM_A_WORKSPACE))
def test_every_experiment_of_a_workspace_says_its_sources_and_commands(experiment: str) -> None:
    assert asked_sources(PROTOCOLS[experiment]())
    assert commands_of(experiment)


def test_a_night_is_kept_with_the_mean_over_its_targets() -> None:
    rows = [
        {"source": source, "arm": arm, "value": value, "low": 0.0, "high": 1.0, "n_items": 9}
        for source, arm, value in (("cdc", "base", 0.5), ("gard", "base", 0.7), ("cdc", "sft", 0.9))
    ]
    table = with_mean(scores_table(rows, ("base", "sft")))
    assert table.rows[-1] == ("mean", None, pytest.approx(0.6), None)


def test_what_is_kept_says_when_it_was_measured(tmp_path: Path) -> None:
    day = date(2026, 3, 1)
    path = keep_result("domain_guard", {}, ["command"], measured_on=day, folder=tmp_path)
    assert read_result(path).date == "2026-03-01"


def test_the_method_that_the_others_are_compared_with_comes_first() -> None:
    rows = [
        quantity(method, name, value, is_cost=name in ("rank", "train_seconds"), result=result)
        for method, result in (("eva", "win"), ("lora", ""), ("corda", "loss"))
        for name, value in (
            ("own", 0.8),
            ("elsewhere", 0.1),
            ("average", 0.7),
            ("linear_l1", 0.6),
            ("rank", 96.0),
            ("train_seconds", 45.2),
        )
    ]
    lines = markdown(methods_table(rows)).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| lora", "| corda", "| eva"]
    assert lines[1].split(" | ")[1:4] == [
        ".800 [.700, .900] -",
        ".600 to 1.000",
        "+.100 [+.000, +.200] -",
    ]
    assert lines[2].endswith("| 96 | 45 |")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_interval_holds_its_value(path: Path) -> None:
    for table in read_result(path).tables.values():
        for row in table.rows:
            for cell in row:
                if isinstance(cell, dict) and "value" in cell:
                    assert cell["low"] <= cell["value"] <= cell["high"], row


def test_every_line_of_the_benchmarks_has_a_row_of_the_page() -> None:
    shown = (
        result_sections.SECTIONS["benchmarks"]() + result_sections.SECTIONS["former_benchmarks"]()
    )
    entries = newest(benchmark_entries())
    assert len(entries) > 20
    for entry in entries:
        assert entry["versions"]
        for result in entry["results"]:
            assert f"| {' | '.join(cells(result))} |" in shown

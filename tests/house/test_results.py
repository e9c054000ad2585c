"""Results: what a workspace holds becomes rows, and rows are shown as pages show them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.stores.lake.lake import Lake
from tests.benchmarks.table import cells, newest
from tests.catalog.lakes import fresh_lake
from tests.catalog.report_experiments import ARMS, SITES, add_experiments
from tests.experiments.keep import LEADERBOARD, METHODS, methods_table, tables_of
from tests.experiments.result_files import FOLDER, markdown, read_result
from tests.house import result_sections
from tests.house.result_sections import benchmark_entries


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

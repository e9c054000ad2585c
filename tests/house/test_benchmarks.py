"""The harness of the benchmarks: rows are found, failures are told, the table shows the newest."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import HERE, discover, main
from tests.benchmarks.table import cells, is_met, markdown, newest, seconds

ROW = {
    "work": "sum",
    "peer": "abacus",
    "ours_seconds": 0.5,
    "peer_seconds": 2.0,
    "ratio": 4.0,
    "target": 3.0,
    "extra": {},
}
MACHINE = {"cpu": "Abacus 7", "cores": 2}
BENCH = f"""
def row_good(workdir):
    assert workdir.is_dir()
    return {ROW!r}

def row_bad(workdir):
    raise ValueError("broken | beyond repair")

def row_lacking(workdir):
    import a_peer_that_nobody_has

def row_killed(workdir):
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""


def entry(row: str, **more) -> dict:
    return {"row": row, "date": "2025-01-02T03:04:05+00:00", "machine": MACHINE, **more}


def test_every_bench_file_offers_rows_and_each_name_is_one() -> None:
    found = discover(HERE)
    assert {path.stem for path in found.values()} == {p.stem for p in HERE.glob("bench_*.py")}
    assert all(name.startswith("row_") for name in found)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    for name in ("bench_a.py", "bench_b.py"):
        (tmp_path / name).write_text("def row_one(workdir): ...\n")
    with pytest.raises(SystemExit, match="row_one stands in"):
        discover(tmp_path)


def test_rows_run_apart_failures_are_told_and_the_rest_goes_on(tmp_path: Path, capfd) -> None:
    (tmp_path / "bench_tiny.py").write_text(BENCH)
    out = tmp_path / "out.jsonl"
    assert main(["--out", str(out)], folder=tmp_path) == 1
    told = capfd.readouterr()
    assert "| sum | 500 ms | 2 s (abacus) | 4 | >= 3 | yes |" in told.out
    assert "| row_bad | failed |  |  |  | ValueError |" in told.out
    assert "| row_killed | failed |  |  |  | ProcessEnded |" in told.out
    assert "pip install '.[bench]'" in told.err
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["row"] for line in lines] == ["row_good", "row_bad", "row_lacking", "row_killed"]
    assert lines[0]["results"] == [ROW]
    assert lines[0]["versions"]["torch"]
    assert lines[0]["machine"]["cores"] >= 1
    assert main(["--table", str(out)], folder=tmp_path) == 0
    assert capfd.readouterr().out == told.out


def test_a_row_that_nobody_knows_is_refused(tmp_path: Path, capfd) -> None:
    with pytest.raises(SystemExit):
        main(["row_nothing"], folder=tmp_path)
    assert "row_nothing" in capfd.readouterr().err


def test_the_newest_result_of_each_row_is_shown_where_the_row_stood_first() -> None:
    old, other, new = entry("row_a", error="X: y"), entry("row_b"), entry("row_a", results=[ROW])
    assert newest([old, other, new]) == [new, other]


def test_the_table_ends_with_day_and_machine() -> None:
    table = markdown([entry("row_a", results=[ROW, ROW])])
    assert table.count("| sum |") == 2
    assert table.splitlines()[-1] == "2025-01-02, Abacus 7, 2 cores"


@pytest.mark.parametrize(
    ("target", "ratio", "met"),
    [
        (2.0, 2.0, True),
        (2.0, 1.9, False),
        (">= 20, objective to 1e-8", 19.0, False),
        ("<= 10", 9.0, True),
        ("<= 10", 11.0, False),
        ("objective to 1e-8", 5.0, None),
    ],
)
def test_a_target_is_met_by_its_bound(target, ratio, met) -> None:
    assert is_met({**ROW, "target": target, "ratio": ratio}) is met
    assert is_met({**ROW, "target": target, "ratio": ratio, "is_met": False}) is False


def test_times_and_bars_are_readable() -> None:
    assert seconds(1234.5) == "1,234 s"
    assert seconds(0.002) == "2 ms"
    assert cells({**ROW, "ratio": 12345.6})[3] == "12,346"
    assert "a \\| b" in markdown([entry("row_a", results=[{**ROW, "work": "a | b"}])])

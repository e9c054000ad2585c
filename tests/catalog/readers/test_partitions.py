"""Columns in the names of folders: typed by their rule, the same as other readers of Hive give."""

from __future__ import annotations

import json
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.contracts.contract import ColumnRule
from catalog.errors import PhiFound
from catalog.readers.files import FileUnreadable
from catalog.readers.formats import open_batches
from catalog.readers.partitions import folder_values
from tests.catalog.intake.test_landing import World, notes
from tests.catalog.lakes import fresh_lake
from tests.catalog.readers.test_nested import cells, rule


def put(root, folders, rows, file_format="parquet", name="part-0"):
    path = root.joinpath(*folders, f"{name}.{file_format}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if file_format == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif file_format == "csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_folders_are_columns(tmp_path, file_format):
    rows = [{"id": "a"}, {"id": "b"}]
    folders = ["year=2024", "site=St.%20Anna%2FB", "on=2024-02-29", "old=x"]
    uri = put(tmp_path, folders, rows, file_format)
    columns = {
        "id": ColumnRule(type="string"),
        "year": rule("integer"),
        "site": rule(),
        "on": rule("date"),
        "period": rule(path="year"),
        "kind": rule(path="old", map={"x": "new"}),
    }
    (batch,) = open_batches(uri, file_format, columns=columns)
    assert batch.bad_cells == []
    assert (batch.missing_columns, batch.unknown_columns) == ((), ())
    assert batch.table.to_pylist()[1] == {
        "id": "b",
        "year": 2024,
        "site": "St. Anna/B",
        "on": date(2024, 2, 29),
        "period": "2024",
        "kind": "new",
    }


def test_values_equal_those_of_duckdb(tmp_path):
    for year in (2023, 2024):
        for site in ("a", "__HIVE_DEFAULT_PARTITION__", "ü%3Db"):
            put(tmp_path, [f"year={year}", f"site={site}"], [{"id": f"{year}{site}", "n": year}])
    columns = {
        "id": rule(),
        "n": rule("integer"),
        "year": rule("integer"),
        "site": rule(nullable=True),
    }
    found = []
    for path in sorted(tmp_path.rglob("*.parquet")):
        for batch in open_batches(str(path), "parquet", columns=columns):
            found += batch.table.to_pylist()
    glob = f"{tmp_path}/**/*.parquet"
    expected = duckdb.sql(
        "SELECT id, n, year::BIGINT AS year, site FROM read_parquet(?, hive_partitioning = true,"
        " hive_types_autocast = false)",
        params=[glob],
    ).fetchall()
    assert sorted(map(str, (tuple(row.values()) for row in found))) == sorted(map(str, expected))


def test_a_folder_that_is_no_value_of_the_type_is_a_bad_cell(tmp_path):
    uri = put(tmp_path, ["year=lost"], [{"id": "a"}, {"id": "b"}])
    (batch,) = open_batches(uri, "parquet", columns={"id": rule(), "year": rule("integer")})
    assert [tuple(c) for c in batch.bad_cells] == [
        (0, "year", "wrong_type"),
        (1, "year", "wrong_type"),
    ]


def test_a_column_in_file_and_folder_must_agree(tmp_path):
    rows = [{"id": "a", "site": "x"}, {"id": "b", "site": "y"}, {"id": "c", "site": None}]
    uri = put(tmp_path, ["site=x"], rows, "jsonl")
    (batch,) = open_batches(uri, "jsonl", columns={"id": rule(), "site": rule()})
    assert cells([batch], "site") == ["x", None, "x"]
    assert [tuple(c) for c in batch.bad_cells] == [(1, "site", "differs_from_folder")]
    (batch,) = open_batches(uri, "jsonl", columns={"id": rule(), "place": rule(in_file="site")})
    assert cells([batch], "place") == ["x", "y", None]


def test_folders_that_no_column_names_are_no_columns(tmp_path):
    uri = put(tmp_path, ["env=prod"], [{"id": "a"}])
    (batch,) = open_batches(uri, "parquet", columns={"id": rule()})
    assert batch.unknown_columns == ()


def test_one_partition_twice_is_refused(tmp_path):
    uri = put(tmp_path, ["a=1", "a=2"], [{"id": "a"}])
    with pytest.raises(FileUnreadable, match="two of its folders are of one partition") as caught:
        list(open_batches(uri, "parquet", columns={"id": rule(), "a": rule()}))
    assert "a=1" not in str(caught.value)


def test_folders_as_hive_names_them():
    found = folder_values(
        "s3://bucket/x=1/_y%3D=a%20b/z=/plain/=q/n=__HIVE_DEFAULT_PARTITION__/f=g.csv"
    )
    assert found == {"x": "1", "_y=": "a b", "z": None, "n": None}


@pytest.fixture
def world(tmp_path):
    with fresh_lake(tmp_path) as lake:
        yield World(lake, tmp_path)


def partitioned(world, **changes):
    files = {"path": f"{world.inbox}/**/*.jsonl", "format": "jsonl"}
    return world.contract(column={"type": "string", **changes}, files=files)


def without_x(rows):
    return [{k: v for k, v in row.items() if k != "x"} for row in rows]


def test_equal_bytes_in_two_folders_are_other_rows(world):
    """Both land if their keys differ by the folder; the same rows twice are told as a change."""
    columns = {
        "id": {"type": "string", "key": True, "from": "key"},
        "text": {"type": "string"},
        "label": {"type": "string", "nullable": True},
        "x": {"type": "string"},
    }
    for number in (1, 2):
        row = {"text": "same", "label": "yes"}
        put(world.inbox, [f"x=g{number}", f"key=k{number}"], [row], "jsonl")
    put(world.inbox, ["x=g3", "key=k3"], [{"text": "other", "label": "no"}], "jsonl")
    files = {"path": f"{world.inbox}/**/*.jsonl", "format": "jsonl"}
    contract = world.contract(columns=columns, files=files)
    assert [b.n_accepted for b in world.ingest(contract).batches] == [1, 1, 1]
    rows = world.lake.rows("SELECT id, x FROM raw.site_a ORDER BY id")
    assert rows == [{"id": f"k{n}", "x": f"g{n}"} for n in (1, 2, 3)]
    batches = world.batches()
    assert len({b["batch_id"] for b in batches}) == 3
    assert len({b["file_sha256"] for b in batches}) == 2
    assert world.ingest(contract).batches == ()
    assert len(world.batches()) == 3


def test_a_file_at_another_depth_lacks_the_column(world):
    put(world.inbox, ["x=g"], without_x(notes(6)), "jsonl", name="a")
    put(world.inbox, [], without_x(notes(3, start=10)), "jsonl", name="b")
    report = world.ingest(partitioned(world, nullable=True))
    assert [b.n_accepted for b in report.batches] == [3, 6]
    counts = world.lake.rows("SELECT x, count(*) AS n FROM raw.site_a GROUP BY x ORDER BY x")
    assert counts == [{"x": "g", "n": 6}, {"x": None, "n": 3}]


def test_the_gate_reads_what_folders_say(world):
    put(world.inbox, ["x=Seen on 3 May 1962 by Dr. Smith"], without_x(notes(6)), "jsonl")
    with pytest.raises(PhiFound) as caught:
        world.ingest(partitioned(world, phi_scan=True).model_copy(update={}))
    assert "1962" not in str(caught.value)

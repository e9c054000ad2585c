"""Files whose size says nothing: a batch and a draft are bounded by what they decode to."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.contracts.contract import ColumnRule
from catalog.readers.batches import BATCH_BYTES, CELL_BYTES
from catalog.readers.formats import open_batches
from catalog.stores.lake.portions import is_large
from tests.catalog.lakes import RUN, contract, fresh_lake
from tests.catalog.readers.test_parquet_reader import DRAFT, READ_ALL, peak_mib
from tests.catalog.readers.test_readers import bad_of, rows_of


def packed(path: Path, head: bytes, line: bytes, n: int) -> int:
    """Many equal lines in a small compressed file."""
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(head)
        for _ in range(n):
            out.write(line)
    assert path.stat().st_size < 20 << 20
    return n


SLOW = (pytest.mark.slow, pytest.mark.ci_slow)
BOMBS = {
    "texts in CSV": ("csv", b"id,text\n", b"7," + b"x" * 300_000 + b"\n", 1_000),
    "cells too long in CSV": ("csv", b"id,text\n", b"7," + b"x" * 9_000_000 + b"\n", 20),
    "texts in JSON": ("jsonl", b"", b'{"id": 7, "text": "' + b"y" * 300_000 + b'"}\n', 2_000),
    "lists in JSON": (
        "jsonl", b"", b'{"id": 7, "more": [' + b"[]," * 100_000 + b"0]}\n", 40,
    ),
    "lists where a text is due": (
        "jsonl", b"", b'{"id": 7, "text": [' + b"{}," * 50_000 + b"0]}\n", 100,
    ),
    "a line of lists": ("jsonl", b'{"id": 7}\n', b"[" + b"[]," * 20_000_000 + b"0]\n", 1),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("texts in CSV", "a line of lists") else SLOW)
        for name in BOMBS
    ],
)
def test_what_a_compressed_file_unfolds_to_is_bounded(tmp_path, name):
    file_format, head, line, n = BOMBS[name]
    path = tmp_path / f"x.{file_format}.gz"
    n_rows = packed(path, head, line, n) + (file_format == "jsonl" and bool(head))
    assert peak_mib(READ_ALL, path, file_format, n_rows) < 600
    assert peak_mib(DRAFT, path) < 600


def test_a_wide_table_ends_its_batches_by_cells(tmp_path):
    names = [f"c{i}" for i in range(2_000)]
    path = tmp_path / "x.csv"
    row = ",".join("1" for _ in names)
    path.write_text("\n".join([",".join(names), *[row] * 1_000]))
    columns = {name: ColumnRule(type="string") for name in names}
    sizes = [len(b.table) for b in open_batches(str(path), "csv", columns=columns)]
    assert sum(sizes) == 1_000
    assert max(sizes) <= BATCH_BYTES // (CELL_BYTES * len(names)) + 1


def test_a_large_file_is_written_to_the_lake_in_portions_and_whole(tmp_path):
    texts = [f"{i:05}" + "z" * 100_000 for i in range(1_500)]
    rows = {"note_id": [f"k{i}" for i in range(1_500)], "text": texts, "odd name": ["o"] * 1_500}
    path = tmp_path / "landing.parquet"
    pq.write_table(pa.table(rows), path, use_dictionary=False, compression="zstd")
    assert is_large(path)
    with fresh_lake(tmp_path) as lake:
        with lake.transaction(message="test", run=RUN) as tx:
            tx.ensure_source_tables(contract(**{"odd name": "string"}))
            assert tx.insert_arrow("raw.site_a", path) == 1_500
        found = lake.table('SELECT note_id, text, "odd name" FROM raw.site_a').to_pydict()
        assert sorted(zip(*found.values(), strict=True)) == sorted(zip(*rows.values(), strict=True))
        stamped = lake.rows("SELECT count(DISTINCT recorded_at) AS n FROM raw.site_a")
        assert stamped == [{"n": 1}]


def test_a_line_of_too_many_values_is_one_bad_row(tmp_path):
    path = tmp_path / "x.jsonl"
    lines = [{"id": "a"}, {"id": "b", "more": [0] * 2_100_000}, {"id": "c", "more": [[1], {}]}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    batches = list(open_batches(str(path), "jsonl", columns={"id": ColumnRule(type="string")}))
    assert [row["id"] for row in rows_of(batches)] == ["a", None, "c"]
    assert bad_of(batches) == [(2, "", "too_long")]
    assert batches[0].unknown_columns == ("more",)
    assert pa.types.is_string(batches[0].table.schema.field("id").type)

"""CSV with quotes out of place: what is lost is counted, and what is sound is read as it stands."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest

from catalog.contracts.contract import ColumnRule
from catalog.errors import ContractViolated
from catalog.intake.landing import ingest
from catalog.readers.files import FileUnreadable
from catalog.readers.formats import open_batches
from catalog.readers.rows import MAX_COLUMNS
from tests.catalog.lakes import RUN, fresh_lake
from tests.catalog.readers.test_readers import bad_of, rows_of
from tests.catalog.validation.test_row_rules import contract_with

THREE = {
    "id": ColumnRule(type="string", key=True),
    "text": ColumnRule(type="string"),
    "label": ColumnRule(type="string"),
}


def read(path: Path, data: bytes | str, columns: Any = THREE) -> list[Any]:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(open_batches(str(path), "csv", columns=columns))


def table(n: int, *, key: str = "{}", **lines: str) -> str:
    """n rows of plain text; `l7="..."` puts another line where row 7 stands."""
    rows = [lines.get(f"l{i}", f"{key.format(i)},cat number {i},A") for i in range(n)]
    return "id,text,label\n" + "".join(f"{row}\n" for row in rows)


def lost(batches: list[Any]) -> list[int]:
    """Numbers of the bad rows; each of them is bad as a whole."""
    assert {(column, reason) for _, column, reason in bad_of(batches)} <= {("", "ragged_row")}
    return [number for number, _, _ in bad_of(batches)]


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ('100,"one cat,A', '600,x" old,B'), ('100,"one cat,A', '600,x",B'),
        ('100,one cat,"A', '600,x,B"'), ('"100,one cat,A', '600",x,B'),
        ('100,"one ""cat,A', '600,x",B'), ('100,"one cat,A', '600,"x"y",B'),
    ],
)  # fmt: skip
def test_every_row_that_a_broken_quote_takes_in_is_lost_by_count(tmp_path, opened, closed):
    batches = read(tmp_path / "x.csv", table(1_000, l100=opened, l600=closed))
    assert lost(batches) == list(range(101, 602))
    sound = [row["id"] for row in rows_of(batches) if row["id"] is not None]
    assert sound == [str(i) for i in range(1_000) if not 100 <= i <= 600]


@pytest.mark.parametrize("key", ["{}", "n{}", "P-{:05}", "2026/{}", "{:08x}-{:04x}", "site {}"])
@pytest.mark.parametrize("closed", ['{},x",B', '{},x" old,B'])
def test_keys_of_any_kind_tell_a_row_inside_quotes(tmp_path, key, closed):
    numbers = [key.format(i, i) for i in range(40)]
    rows = [f"{number},a cat,A" for number in numbers]
    rows[10] = f'{numbers[10]},"a cat,A'
    rows[11] = closed.format(numbers[11])
    data = "\n".join(["id,text,label", *rows])
    assert lost(read(tmp_path / "x.csv", data)) == [11, 12]
    cut_off = data[: data.index(numbers[12])].rstrip()
    assert lost(read(tmp_path / "x.csv", cut_off)) == [11, 12]


def test_many_rows_are_told_where_keys_are_words(tmp_path):
    names = [f"{a}{b}" for a in "abcdefgh" for b in "klmnopqr"]
    rows = [f"{name},a cat,A" for name in names]
    rows[10], rows[50] = f'{names[10]},"a cat,A', f'{names[50]},x",B'
    batches = read(tmp_path / "x.csv", "\n".join(["id,text,label", *rows]))
    assert lost(batches) == list(range(11, 52))


def test_the_key_is_told_by_the_contract(tmp_path):
    rows = [f"cat {i},A,{i}" for i in range(40)]
    rows[10], rows[20] = '"cat 10,A,10', 'x",B,20'
    batches = read(tmp_path / "x.csv", "\n".join(["text,label,id", *rows]))
    assert lost(batches) == list(range(11, 22))


def test_an_ingest_refuses_the_file_that_lost_half_its_rows(tmp_path):
    (tmp_path / "in").mkdir()
    rows = [f"{i},cat number {i},yes," for i in range(1_000)]
    rows[100], rows[600] = '100,"one cat,yes,', '600,x" old,no,'
    (tmp_path / "in" / "x.csv").write_text("\n".join(["id,text,label,x", *rows]))
    files = {"path": f"{tmp_path}/in/*.csv", "format": "csv"}
    contract = contract_with({"type": "string"}, files=files)
    with fresh_lake(tmp_path) as lake:
        with pytest.raises(ContractViolated, match="501 of 1000 rows"):
            ingest(lake, contract, run=RUN)
        assert lake.rows("SELECT n_rows, n_accepted FROM core.batches") == [
            {"n_rows": 1000, "n_accepted": 0}
        ]


NOTES = {
    "prose": "Seen today, stable.\nNo fever, no cough\nHome, with advice",
    "one comma a line": "Dear colleague, hello\nstable, home\nwell, thanks",
    "dates": "2026-01-15, stable, A\n2026-01-16, home, A",
    "a list": "1. chest, clear, A\n2. heart, regular, B",
    "quotes": 'He said "no", and\nleft, at "noon", A',
    "a long one": "\n".join(f"line number {i}, as dictated, by A" for i in range(300)),
    "blank lines": "first\n\n\nsecond\n",
    "carriage returns": "first\r\nsecond\rthird",
    "a nul": "before\0after",
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", NOTES)
def test_a_text_of_several_lines_is_one_cell(tmp_path, name, line_end):
    """The peer is the csv module, which wrote the file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    written = [[f"n{i}", NOTES[name] if i % 3 else "short", "A"] for i in range(30)]
    writer.writerows([list(THREE), *written])
    batches = read(tmp_path / "x.csv", text.getvalue())
    assert lost(batches) == []
    assert [list(row.values()) for row in rows_of(batches)] == written
    assert written == list(csv.reader(io.StringIO(text.getvalue(), newline="")))[1:]


def test_a_broken_note_costs_itself_and_not_its_lines(tmp_path):
    """Three lines, of which none is like a row; the rest of its text is no row either."""
    rows = table(10).splitlines()
    rows[5] = '4,"He said\n"ouch" and went,\nhome, well",A'
    batches = read(tmp_path / "x.csv", "\n".join(rows))
    assert lost(batches) == [5, 6]
    assert [row["id"] for row in rows_of(batches) if row["id"]] == list("012356789")
    batches = read(tmp_path / "x.csv", "\n".join([*rows[:5], '4,"a" b,A', "5,c,A"]))
    assert lost(batches) == [5]


@pytest.mark.parametrize("cell", ['5" pipe', 'a "quoted" word', 'ends with "', "it's", ' "spaced"'])
def test_a_quote_inside_a_plain_cell_is_a_part_of_it(tmp_path, cell):
    batches = read(tmp_path / "x.csv", f"id,text,label\n1,{cell},A\n2,b,B\n")
    assert lost(batches) == []
    assert [row["text"] for row in rows_of(batches)] == [cell, "b"]


@pytest.mark.parametrize("ends", [["\r"], ["\r\n"], ["\n"], ["\r", "\n", "\r\n"], ["\r\r\n"]])
def test_every_line_end_ends_a_row(tmp_path, ends):
    rows = [["id", "text", "label"], *([str(i), f'"cat, {i}\r\nor {i}"', "A"] for i in range(50))]
    data = "".join(",".join(row) + ends[i % len(ends)] for i, row in enumerate(rows))
    batches = read(tmp_path / "x.csv", data)
    assert lost(batches) == []
    peer = [row for row in csv.reader(io.StringIO(data, newline="")) if row]
    assert [list(row.values()) for row in rows_of(batches)] == peer[1:]


def test_rows_before_a_last_line_without_an_end(tmp_path):
    for end in ("", "\r", "\n", "\r\n"):
        batches = read(tmp_path / "x.csv", f"id,text,label\r1,a,A\r2,b,B{end}")
        assert [row["id"] for row in rows_of(batches)] == ["1", "2"]


def test_a_bare_cr_that_pandas_writes_stays_in_its_text(tmp_path):
    batches = read(tmp_path / "x.csv", 'id,text,label\n1,one\rtwo,A\n2,"a, b",C\rD\n3,c,C\n')
    expected = [["1", "one\rtwo", "A"], ["2", "a, b", "C\rD"], ["3", "c", "C"]]
    assert [list(row.values()) for row in rows_of(batches)] == expected


@pytest.mark.parametrize("end", ["\r", "\r\r", "\r\n", "\n"])
def test_every_line_end_ends_a_line_of_json(tmp_path, end):
    lines = [json.dumps({"id": f"{i}", "text": "a }\r{ b"}) for i in range(9)]
    lines[4] = lines[4].replace(", ", ",\r ")  # between two tokens it is a blank
    path = tmp_path / "x.jsonl"
    path.write_bytes((end.join(lines) + end).encode())
    columns = {"id": THREE["id"], "text": THREE["text"]}
    batches = list(open_batches(str(path), "jsonl", columns=columns))
    assert rows_of(batches) == [json.loads(line) for line in lines]


def test_a_quote_that_is_never_closed_still_refuses_the_file(tmp_path):
    with pytest.raises(FileUnreadable, match="never closed"):
        read(tmp_path / "x.csv", table(1_000, l100='100,"one cat,A'))


@pytest.mark.parametrize("n_columns", [10_000, 10_001, 25_000])
def test_a_wide_table_is_read_to_its_last_column(tmp_path, n_columns):
    names = ["id", "text", *(f"c{i}" for i in range(2, n_columns - 1)), "label"]
    lines = [names, *([f"{row}:{name}" for name in names] for row in range(3))]
    data = "\n".join(",".join(line) for line in lines)
    near = {"c9998", "c9999", f"c{n_columns - 2}"} & set(names)
    columns = {**THREE, **{name: ColumnRule(type="string") for name in sorted(near)}}
    batches = read(tmp_path / "x.csv", data, columns)
    peer = pyarrow.csv.read_csv(io.BytesIO(data.encode())).select(list(columns)).to_pylist()
    assert rows_of(batches) == peer
    ragged = "\n".join([",".join(lines[0]), ",".join(lines[1]) + ",more", ",".join(lines[2])])
    assert lost(read(tmp_path / "x.csv", ragged, columns)) == [1]


def test_a_table_that_is_wider_than_any_is_refused_in_true_words(tmp_path):
    names = ",".join(["id", "text", "label", *(f"c{i}" for i in range(MAX_COLUMNS))])
    with pytest.raises(FileUnreadable, match="more than 100,000 columns"):
        read(tmp_path / "x.csv", f"{names}\n1,a,A\n")

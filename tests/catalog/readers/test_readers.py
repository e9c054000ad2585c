"""Readers: the same rows from every format, and every kind of damage as a reason or a refusal."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tracemalloc
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from catalog.contracts.contract import ColumnRule
from catalog.errors import ContractViolated
from catalog.readers.cells import ARROW_TYPES, REASONS
from catalog.readers.files import FileUnreadable, file_sha256, list_files
from catalog.readers.formats import READERS, format_of_name, open_batches
from catalog.readers.rows import csv_rows
from rpe_core.errors import InputError, UnknownName

PLAIN = sorted({*READERS} - {"xlsx", "fhir"})  # those have values of their own: test_xlsx.py
SECRET = "Jöhn Q. Geheim #4471"
TYPES = {
    "id": "string",
    "age": "integer",
    "score": "number",
    "is_new": "boolean",
    "seen_on": "date",
    "seen_at": "timestamp",
}
COLUMNS = {name: ColumnRule(type=kind) for name, kind in TYPES.items()}
TWO = {"id": ColumnRule(type="string"), "text": ColumnRule(type="string")}
ROWS = [
    {
        "id": "a1",
        "age": 41,
        "score": 0.5,
        "is_new": True,
        "seen_on": date(2026, 1, 15),
        "seen_at": datetime(2026, 1, 15, 8, 30, tzinfo=UTC),
    },
    {
        "id": 'b, "2"\nü',
        "age": -7,
        "score": -2e3,
        "is_new": False,
        "seen_on": None,
        "seen_at": None,
    },
    {name: None if name != "id" else "c3" for name in TYPES},
]


def encoded(rows, file_format):
    """The rows as the bytes of a file."""
    out = io.BytesIO()
    if file_format == "parquet":
        schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in TYPES.items()])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), out)
    elif file_format == "csv":
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(TYPES)
        writer.writerows([["" if v is None else str(v) for v in row.values()] for row in rows])
        out.write(text.getvalue().encode())
    else:
        for row in rows:
            plain = {k: v.isoformat() if isinstance(v, date) else v for k, v in row.items()}
            out.write(json.dumps(plain).encode() + b"\n")
    return out.getvalue()


def compressed(data, ending):
    if ending == ".zst":
        return pa.Codec("zstd").compress(data, asbytes=True)
    return {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[ending](data)


def read(path, file_format, columns=TWO, **options):
    return list(open_batches(str(path), file_format, columns=columns, **options))


def read_bytes(tmp_path, data, file_format="csv", columns=TWO, **options):
    path = tmp_path / f"delivery.{file_format}"
    path.write_bytes(data)
    return read(path, file_format, columns, **options)


def rows_of(batches):
    return [row for batch in batches for row in batch.table.to_pylist()]


def bad_of(batches):
    """(row number, column, reason) of every bad cell."""
    return [(b.first_row_number + c.row, c.column, c.reason) for b in batches for c in b.bad_cells]


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("file_format", PLAIN)
def test_every_format_reads_the_same_rows(tmp_path, file_format, ending):
    if file_format == "parquet" and ending:
        pytest.skip("Parquet is compressed inside")
    path = tmp_path / f"rows.{file_format}{ending}"
    path.write_bytes(compressed(encoded(ROWS, file_format), ending))
    batches = read(path, file_format, COLUMNS)
    assert rows_of(batches) == ROWS
    assert bad_of(batches) == []
    assert batches[0].unknown_columns == batches[0].missing_columns == ()


@pytest.mark.parametrize("file_format", PLAIN)
def test_row_numbers_run_on_over_batches(tmp_path, file_format):
    rows = [{**ROWS[0], "id": f"r{n}"} for n in range(1, 11)]
    batches = read_bytes(tmp_path, encoded(rows, file_format), file_format, COLUMNS, batch_rows=3)
    assert [(b.first_row_number, b.table.num_rows) for b in batches] == [
        (1, 3), (4, 3), (7, 3), (10, 1),
    ]  # fmt: skip
    assert [row["id"] for row in rows_of(batches)] == [row["id"] for row in rows]


@pytest.mark.parametrize("file_format", PLAIN)
def test_nan_and_infinity_are_not_finite(tmp_path, file_format):
    rows = [{**ROWS[0], "score": value} for value in (float("nan"), float("-inf"), 1.0)]
    batches = read_bytes(tmp_path, encoded(rows, file_format), file_format, COLUMNS)
    assert bad_of(batches) == [(1, "score", "not_finite"), (2, "score", "not_finite")]
    assert [row["score"] for row in rows_of(batches)] == [None, None, 1.0]


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("integer", "1.5"), ("integer", "1_000"), ("integer", "9" * 19), ("integer", "twelve"),
        ("number", "1,5"), ("number", "0x10"), ("number", "٣"), ("boolean", "yes"),
        ("date", "15.01.2026"), ("date", "20260115"), ("date", "2026-02-30"),
        ("date", "2026-W03-4"), ("timestamp", "2026-01-15"), ("timestamp", "2026-01-15T25:00"),
        ("timestamp", "0001-01-01T00:00+14:00"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_what_is_not_of_its_type_is_a_bad_cell(tmp_path, file_format, kind, cell):
    data = json.dumps({"id": "a", "x": cell}) if file_format == "jsonl" else f'id,x\na,"{cell}"\n'
    columns = {"id": ColumnRule(type="string"), "x": ColumnRule(type=kind)}
    batches = read_bytes(tmp_path, data.encode(), file_format, columns)
    assert bad_of(batches) == [(1, "x", "wrong_type")]
    assert rows_of(batches) == [{"id": "a", "x": None}]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["a"], "wrong_type"), ({"a": 1}, "wrong_type"), (7, "wrong_type"), (True, "wrong_type"),
        ("\ud800", "invalid_utf8"), ("x" * 11, "too_long"),
    ],
)  # fmt: skip
def test_json_values_that_are_no_text(tmp_path, value, reason):
    data = json.dumps({"id": "a", "text": value}).encode()
    batches = read_bytes(tmp_path, data, "jsonl", max_cell_chars=10)
    assert bad_of(batches) == [(1, "text", reason)]


def test_integral_json_floats_are_integers(tmp_path):
    data = b'{"n": 3.0}\n{"n": 3.5}\n{"n": 1e300}\n{"n": true}\n{"n": NaN}\n{"n": "3"}'
    batches = read_bytes(tmp_path, data, "jsonl", {"n": ColumnRule(type="integer")})
    assert [row["n"] for row in rows_of(batches)] == [3, None, None, None, None, None]
    assert [reason for _, _, reason in bad_of(batches)] == [
        "wrong_type", "wrong_type", "wrong_type", "not_finite", "wrong_type",
    ]  # fmt: skip


def test_ragged_csv_rows_are_bad_rows_and_cost_only_themselves(tmp_path):
    data = b'id,text\na,1\nb\nc,3,4\nd,"4"x\n\n\r\ne,5'
    batches = read_bytes(tmp_path, data)
    assert bad_of(batches) == [(n, "", "ragged_row") for n in (2, 3, 4)]
    assert [row["id"] for row in rows_of(batches)] == ["a", None, None, None, "e"]


def test_csv_conventions(tmp_path):
    data = '\ufeffid,text\r\na,"two\r\nlines, ""quoted"""\r\nb,""\r\nc,5" pipe\r\nd, spaced \r\n'
    batches = read_bytes(tmp_path, data.encode())
    expected = ['two\r\nlines, "quoted"', None, '5" pipe', " spaced "]
    assert [row["text"] for row in rows_of(batches)] == expected
    assert bad_of(batches) == []


def test_invalid_utf8_costs_a_cell_in_csv_and_a_row_in_jsonl(tmp_path):
    batches = read_bytes(tmp_path, b"id,text\na,1\nb,\xff\xfe\nc,3\n")
    assert bad_of(batches) == [(2, "text", "invalid_utf8")]
    lines = b'{"id": "a"}\n{"id": "\xff"}\n\n{"id": "c"}\n'
    batches = read_bytes(tmp_path, lines, "jsonl")
    assert bad_of(batches) == [(2, "", "invalid_utf8")]
    assert [row["id"] for row in rows_of(batches)] == ["a", None, "c"]


def test_invalid_utf8_in_parquet_is_a_bad_cell(tmp_path):
    raw = pa.array([b"ok", b"\xff"], pa.binary())
    table = pa.table({"id": pa.array(["a", "b"]), "text": raw.view(pa.string())})
    out = io.BytesIO()
    pq.write_table(table, out)
    batches = read_bytes(tmp_path, out.getvalue(), "parquet")
    assert bad_of(batches) == [(2, "text", "invalid_utf8")]


def test_lines_that_are_no_object_are_bad_rows(tmp_path):
    lines = [b'{"id": "a"}', b"{", b"3", b'{"id": "x", "id": "y"}', b"[" * 100_000, b'{"id": "b"}']
    batches = read_bytes(tmp_path, b"\n".join(lines), "jsonl")
    assert bad_of(batches) == [(n, "", "invalid_json") for n in (2, 3, 4, 5)]


def test_every_reason_has_a_sentence():
    assert set(REASONS) == {
        "wrong_type", "not_finite", "too_long", "outside_calendar", "ragged_row", "invalid_utf8",
        "invalid_json", "several_values", "not_in_map", "not_base64", "undecodable",
        "differs_from_folder", "excel_error", "not_computed", "merged_cell", "not_fhir",
    }  # fmt: skip


@pytest.mark.parametrize("file_format", PLAIN)
def test_unknown_and_missing_columns_are_named(tmp_path, file_format):
    columns = {"id": COLUMNS["id"], "text": ColumnRule(type="string")}
    (batch,) = read_bytes(tmp_path, encoded(ROWS, file_format), file_format, columns)
    assert batch.unknown_columns == ("age", "score", "is_new", "seen_on", "seen_at")
    assert batch.missing_columns == ("text",)
    assert batch.table.column("text").null_count == len(ROWS)


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_a_file_without_rows_gives_no_batch(tmp_path, file_format):
    assert read_bytes(tmp_path, encoded([], file_format), file_format, COLUMNS) == []


UNREADABLE = {
    "empty csv": (b"", "csv", "it is empty"),
    "empty jsonl": (b"", "jsonl", "it is empty"),
    "empty parquet": (b"", "parquet", "it is empty"),
    "blank jsonl": (b"\n\n", "jsonl", "holds no line"),
    "no parquet": (SECRET.encode() * 99, "parquet", "is no Parquet file"),
    "truncated parquet": (encoded(ROWS, "parquet")[:-40], "parquet", "is no Parquet file"),
    "array": (b'[{"id": "a"}]', "jsonl", "is a JSON array"),
    "utf-16": ("id,text\n".encode("utf-16"), "csv", "is not UTF-8"),
    "header of other bytes": (b"id,\xff\n", "csv", "header line is not UTF-8"),
    "no header": (f"{SECRET},b\n".encode(), "csv", "none is a column of the contract"),
    "header twice": (b"id,id\n", "csv", "repeat another"),
    "open quote": (f'id,text\na,"{SECRET}\nb,c\n'.encode(), "csv", "never closed"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read_says_why_and_shows_nothing(tmp_path, name):
    data, file_format, reason = UNREADABLE[name]
    with pytest.raises(FileUnreadable) as caught:
        read_bytes(tmp_path, data, file_format)
    assert isinstance(caught.value, ContractViolated)
    message = str(caught.value)
    assert reason in message
    assert f"delivery.{file_format}" in message
    assert "next: " in message
    assert "Geheim" not in message
    assert str(tmp_path) not in message


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("harm", ["cut", "other"])
def test_damaged_compression_is_told(tmp_path, ending, harm):
    whole = compressed(encoded(ROWS * 500, "csv"), ending)
    path = tmp_path / f"rows.csv{ending}"
    path.write_bytes(whole[: len(whole) // 2] if harm == "cut" else SECRET.encode())
    with pytest.raises(FileUnreadable, match="damaged or cut off"):
        read(path, "csv", COLUMNS)


def test_a_flipped_byte_inside_parquet_shows_nothing(tmp_path):
    rows = [{**ROWS[0], "id": f"{SECRET} {n}"} for n in range(2000)]
    data = bytearray(encoded(rows, "parquet"))
    for at in range(8, len(data) // 2, 97):
        data[at] ^= 0x5A
    with pytest.raises(FileUnreadable) as caught:
        read_bytes(tmp_path, bytes(data), "parquet", COLUMNS)
    assert "Geheim" not in str(caught.value)


def test_a_parquet_column_of_another_type_is_refused_by_name(tmp_path):
    columns = {**COLUMNS, "id": ColumnRule(type="integer"), "is_new": ColumnRule(type="date")}
    with pytest.raises(FileUnreadable) as caught:
        read_bytes(tmp_path, encoded(ROWS, "parquet"), "parquet", columns)
    assert "'id' holds string and not integer; 'is_new' holds bool and not date" in str(
        caught.value
    )


def test_parquet_types_that_fit(tmp_path):
    table = pa.table(
        {
            "a": pa.array(["x", None]).dictionary_encode(),
            "b": pa.array([1, 2], pa.uint8()),
            "c": pa.array([1.0, 2.5]),
            "d": pa.array([date(2026, 1, 15), None], pa.date64()),
            "e": pa.array([1768464000 * 10**9, None], pa.timestamp("ns")),
            "f": pa.nulls(2),
            "g": pa.array(["2026-01-15", "soon"], pa.large_string()),
        }
    )
    kinds = dict(
        a="string", b="number", c="integer", d="date", e="timestamp", f="boolean", g="date"
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    columns = {name: ColumnRule(type=kind) for name, kind in kinds.items()}
    batches = read_bytes(tmp_path, out.getvalue(), "parquet", columns)
    first, second = rows_of(batches)
    day = date(2026, 1, 15)
    moment = datetime(2026, 1, 15, 8, tzinfo=UTC)
    assert first == dict(a="x", b=1.0, c=1, d=day, e=moment, f=None, g=day)
    assert second["b"] == 2.0
    assert bad_of(batches) == [(2, "c", "wrong_type"), (2, "g", "wrong_type")]


@pytest.mark.parametrize("file_format", PLAIN)
def test_a_cell_of_ten_megabytes_is_too_long_and_its_neighbours_land(tmp_path, file_format):
    rows = [{**ROWS[0], "id": text} for text in ("a", "x" * 10_000_000, "c")]
    path = tmp_path / f"big.{file_format}"
    path.write_bytes(encoded(rows, file_format))
    del rows
    tracemalloc.start()
    batches = read(path, file_format, COLUMNS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bad_of(batches) == [(2, "id", "too_long")]
    assert [row["id"] for row in rows_of(batches)] == ["a", None, "c"]
    assert peak < 60e6


def test_a_quoted_cell_over_the_limit_is_scanned_to_its_end(tmp_path):
    text = 'line, ""quoted""\n' * 300_000
    batches = read_bytes(tmp_path, f'id,text\na,"{text}"\nb,c\n'.encode(), max_cell_chars=1000)
    assert bad_of(batches) == [(1, "text", "too_long")]
    assert [row["id"] for row in rows_of(batches)] == ["a", "b"]


def test_a_json_line_over_the_limit_is_a_bad_row(tmp_path):
    line = b'{"id": "' + b"x" * (66 << 20) + b'"}\n'
    batches = read_bytes(tmp_path, b'{"id": "a"}\n' + line + b'{"id": "c"}\n', "jsonl")
    assert bad_of(batches) == [(2, "", "too_long")]
    assert [row["id"] for row in rows_of(batches)] == ["a", None, "c"]


def test_large_cells_end_a_batch_early(tmp_path):
    rows = [{"id": str(n), "text": "x" * 900_000} for n in range(100)]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    sizes = [b.table.num_rows for b in read_bytes(tmp_path, data, "jsonl")]
    assert sum(sizes) == 100
    assert max(sizes) <= 40


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


class Slow(io.BytesIO):
    """A file that returns a few bytes at a time, as a stream may."""

    def __init__(self, data, piece):
        super().__init__(data)
        self.piece = piece

    def readline(self, size=-1):
        return super().readline(self.piece)


@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=8),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    piece=st.integers(1, 9),
)
def test_rows_are_cut_as_the_csv_module_wrote_them(rows, line_end, quoting, piece):
    # a bare CR outside quotes is a line end to every reader, the csv module's own included
    is_bare = any("\r" in cell for row in rows for cell in row)
    assume(quoting == csv.QUOTE_ALL or not is_bare)
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end, quoting=quoting).writerows(rows)
    cut = list(csv_rows(Slow(text.getvalue().encode(), piece), uri="x", max_cell_bytes=1000))
    assert all(row.is_sound for row in cut)
    assert [[cell.decode() for cell in row.cells] for row in cut] == rows


def cut_or_refused(stream):
    try:
        return list(csv_rows(stream, uri="x.csv", max_cell_bytes=100))
    except FileUnreadable:
        return None


# Not of a bare CR: whether it is a line end is told by the whole line, which a stream gives at once
MARKS = st.sampled_from(["a", '"', ",", "\n", "\r\n", "ü", "7"])


@given(data=st.lists(MARKS, max_size=30).map("".join).map(str.encode), piece=st.integers(1, 5))
def test_rows_do_not_depend_on_how_the_bytes_arrive(data, piece):
    assert cut_or_refused(io.BytesIO(data)) == cut_or_refused(Slow(data, piece))


def test_list_files_sorts_globs_and_takes_literal_names(tmp_path):
    for name in ("b.csv", "a.csv", "note.txt", "odd[1].csv"):
        (tmp_path / name).write_bytes(b"id\n")
    (tmp_path / "folder.csv").mkdir()
    names = [Path(uri).name for uri in list_files(f"{tmp_path}/*.csv")]
    assert names == ["a.csv", "b.csv", "odd[1].csv"]
    (uri,) = list_files(f"{tmp_path}/odd[1].csv")
    assert rows_of(read(uri, "csv")) == []
    (url,) = list_files(f"file://{tmp_path}/a.csv")
    assert file_sha256(url) == hashlib.sha256(b"id\n").hexdigest()


def test_urls_of_other_file_systems(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/readers/a.csv.gz", gzip.compress(b"id,text\na,1\n"))
    memory.pipe("/readers/rows.parquet", encoded(ROWS, "parquet"))
    assert list_files("memory://readers/*.gz") == ["memory:///readers/a.csv.gz"]
    assert rows_of(read("memory://readers/a.csv.gz", "csv")) == [{"id": "a", "text": "1"}]
    assert rows_of(read("memory://readers/rows.parquet", "parquet", COLUMNS)) == ROWS


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("{}/none-*.csv", "matches no file"),
        ("{}/none.csv", "matches no file"),
        ("{}", "names a directory"),
        ("nowhere://x/*.csv", "cannot be reached"),
    ],
)
def test_patterns_that_name_no_file_say_what_to_do(tmp_path, pattern, what):
    with pytest.raises(InputError, match=what) as caught:
        list_files(pattern.format(tmp_path))
    assert "next: " in str(caught.value)


def test_a_file_that_went_away_is_unreadable(tmp_path):
    with pytest.raises(FileUnreadable, match="does not exist"):
        file_sha256(str(tmp_path / "gone.csv"))
    with pytest.raises(FileUnreadable, match="does not exist"):
        read(tmp_path / "gone.parquet", "parquet")


def test_formats_are_told_by_ending_and_known_by_name(tmp_path):
    assert format_of_name("a/b.jsonl.zst") == "jsonl"
    with pytest.raises(InputError, match="no known format"):
        format_of_name("a.docx")
    with pytest.raises(UnknownName, match="parquet"):
        read(tmp_path, "parquett")
    with pytest.raises(FileUnreadable, match="compressed file"):
        read(tmp_path / "a.parquet.gz", "parquet")


def test_the_repr_of_a_batch_holds_no_value(tmp_path):
    (batch,) = read_bytes(tmp_path, f"id,text\na,{SECRET}\n".encode())
    assert "Geheim" not in repr(batch)


@pytest.mark.slow
@pytest.mark.parametrize("file_format", PLAIN)
def test_memory_is_bounded_on_a_file_of_two_hundred_megabytes(tmp_path, file_format):
    path = tmp_path / f"large.{file_format}"
    text = "finding, with a comma " * 40
    if file_format == "parquet":
        schema = pa.schema([("id", pa.string()), ("text", pa.string())])
        with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
            for start in range(0, 240_000, 20_000):
                ids = [str(n) for n in range(start, start + 20_000)]
                writer.write_table(pa.table({"id": ids, "text": [text] * 20_000}, schema=schema))
    else:
        with path.open("w") as file:
            file.write("id,text\n" if file_format == "csv" else "")
            for n in range(240_000):
                row = (
                    f'{n},"{text}"'
                    if file_format == "csv"
                    else json.dumps(dict(id=str(n), text=text))
                )
                file.write(row + "\n")
    assert path.stat().st_size > 200e6
    code = (
        "import resource, sys\n"
        "from catalog.contracts.contract import ColumnRule\n"
        "from catalog.readers.formats import open_batches\n"
        "columns = {n: ColumnRule(type='string') for n in ('id', 'text')}\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "rows = sum(b.table.num_rows for b in open_batches(*sys.argv[1:3], columns=columns))\n"
        "print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), file_format],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    n_rows, grown_kib = map(int, done.stdout.split())
    assert n_rows == 240_000
    assert grown_kib < 120 * 1024

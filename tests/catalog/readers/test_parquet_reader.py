"""Parquet of other writers: moments of every kind, values beyond Python's range, decoded size."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.contracts.contract import ColumnRule
from catalog.readers.batches import BATCH_BYTES
from catalog.readers.files import FileUnreadable
from catalog.readers.formats import open_batches, read_sample
from catalog.readers.profile import profile_sample
from tests.catalog.lakes import ROOT
from tests.catalog.readers.test_readers import bad_of, rows_of


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


YEAR_1000 = utc(1000, 1, 1, 12, 30, 15, 250000)
LAST_MOMENT = utc(9999, 12, 31, 23, 59, 59, 999999)


def written(path: Path, columns: dict[str, pa.Array], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def read(path: Path, **types: Any) -> list[Any]:
    columns = {name: ColumnRule(type=kind) for name, kind in types.items()}
    return list(open_batches(str(path), "parquet", columns=columns))


def column_of(batches: list[Any], name: str = "x") -> list[Any]:
    return [row[name] for row in rows_of(batches)]


@pytest.mark.parametrize(
    "moment",
    [
        utc(1, 1, 1), YEAR_1000, utc(1582, 10, 15), utc(1677, 9, 21, 0, 12, 43),
        utc(1969, 12, 31, 23, 59, 59, 999999), utc(1970, 1, 1), utc(2262, 4, 12),
        utc(2500, 6, 1, 1, 2, 3, 4), LAST_MOMENT,
    ],
)  # fmt: skip
def test_int96_of_any_year_is_the_moment_that_duckdb_reads(tmp_path, moment):
    """INT96 in nanoseconds ends in 2262; the file is what Spark, Impala and old Arrow write."""
    array = pa.array([moment, None], pa.timestamp("us"))
    path = written(tmp_path / "x.parquet", {"x": array}, use_deprecated_int96_timestamps=True)
    assert pq.ParquetFile(path).schema.column(0).physical_type == "INT96"
    (peer,), _ = duckdb.sql(f"SELECT x FROM '{path}'").fetchall()
    assert peer.replace(tzinfo=UTC) == moment
    batches = read(path, x="timestamp")
    assert column_of(batches) == [moment, None]
    assert bad_of(batches) == []


def test_int96_too_far_for_microseconds_is_a_bad_cell_and_not_another_moment(tmp_path):
    """Days are 32 bits: 213,503,982 of them on, a count of microseconds is the same again."""
    moment = utc(2020, 1, 1)
    path = written(
        tmp_path / "x.parquet",
        {"x": pa.array([utc(2021, 1, 1), moment], pa.timestamp("us"))},
        use_deprecated_int96_timestamps=True, compression="none", use_dictionary=False,
    )  # fmt: skip
    day = 2440588 + (moment - utc(1970, 1, 1)).days
    raw = path.read_bytes()
    assert raw.count(struct.pack("<qI", 0, day)) == 1
    path.write_bytes(
        raw.replace(struct.pack("<qI", 0, day), struct.pack("<qI", 0, day + 213503982))
    )
    batches = read(path, x="timestamp")
    assert column_of(batches) == [utc(2021, 1, 1), None]
    assert bad_of(batches) == [(2, "x", "outside_calendar")]


BEYOND = {
    "infinity of PostgreSQL": ("date", pa.array([2**31 - 1], pa.int32()).cast(pa.date32())),
    "a date before the year 1": ("date", pa.array([-800_000], pa.int32()).cast(pa.date32())),
    "milliseconds of the year 10000": (
        "timestamp", pa.array([253402300800000]).cast(pa.timestamp("ms")),
    ),
    "date64 of the year 10000": ("date", pa.array([253402300800000]).cast(pa.date64())),
    "milliseconds that wrap as microseconds": (
        "timestamp", pa.array([2**64 // 1000 + 1]).cast(pa.timestamp("ms")),
    ),
    "the largest count of microseconds": (
        "timestamp", pa.array([2**63 - 1]).cast(pa.timestamp("us", tz="UTC")),
    ),
    "the smallest count of milliseconds": (
        "timestamp", pa.array([-(2**63)]).cast(pa.timestamp("ms", tz="Europe/Berlin")),
    ),
    "a day before the year 1 in New York": (
        "timestamp", pa.array([-62135596800001]).cast(pa.timestamp("ms", tz="America/New_York")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BEYOND)
def test_what_no_calendar_holds_is_one_bad_cell(tmp_path, name):
    kind, beyond = BEYOND[name]
    stored = beyond.type
    sound = pa.array([10**9], pa.int64() if beyond.type.bit_width == 64 else pa.int32())
    if pa.types.is_date32(stored):
        sound = pa.array([15000], pa.int32())
    array = pa.concat_arrays([sound.cast(stored), beyond, pa.nulls(1, stored)])
    path = written(tmp_path / "x.parquet", {"id": pa.array(["a", "b", "c"]), "x": array})
    batches = read(path, id="string", x=kind)
    values = column_of(batches)
    assert values[0] is not None
    assert values[1:] == [None, None]
    assert column_of(batches, "id") == ["a", "b", "c"]
    assert bad_of(batches) == [(2, "x", "outside_calendar")]
    (_, drafted) = profile_sample(read_sample(str(path), "parquet", rows=100))
    assert drafted.type == kind


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo", "+05:30", "Nowhere/Land"])
def test_a_moment_is_the_same_in_every_unit_and_zone(tmp_path, unit, zone):
    ticks = {"ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    moment = utc(2026, 1, 15, 8, 30)
    array = pa.array([int(moment.timestamp()) * ticks]).cast(pa.timestamp(unit, tz=zone))
    path = written(tmp_path / "x.parquet", {"x": array})
    assert column_of(read(path, x="timestamp")) == [moment]


def test_the_last_moment_is_read_where_the_clock_of_its_zone_is_past_it(tmp_path):
    """9999-12-31T23:59 UTC is the year 10000 in Tokyo; what is stored is UTC."""
    micros = (LAST_MOMENT - utc(1970, 1, 1)) // timedelta(microseconds=1)
    array = pa.array([micros]).cast(pa.timestamp("us", tz="Asia/Tokyo"))
    batches = read(written(tmp_path / "x.parquet", {"x": array}), x="timestamp")
    assert column_of(batches) == [LAST_MOMENT]


def test_finer_than_microseconds_is_cut_off_on_either_side_of_1970(tmp_path):
    nanos = [-1, -1_000, -1_001, 1, 1_999]
    array = pa.array(nanos).cast(pa.timestamp("ns"))
    path = written(tmp_path / "x.parquet", {"x": array})
    peer = [int(value) for value in np.floor_divide(nanos, 1000)]
    epoch = utc(1970, 1, 1)
    expected = [epoch + timedelta(microseconds=micros) for micros in peer]
    assert column_of(read(path, x="timestamp")) == expected


def test_numbers_that_no_type_of_a_contract_holds_are_bad_cells(tmp_path):
    columns = {
        "big": pa.array([2**64 - 1, 7], pa.uint64()),
        "wide": pa.array([Decimal("9" * 70), Decimal(8)], pa.decimal256(76, 0)),
        "half": pa.array([np.float16("nan"), np.float16(1.5)], pa.float16()),
    }
    path = written(tmp_path / "x.parquet", columns)
    batches = read(path, big="integer", wide="integer", half="number")
    assert rows_of(batches)[1] == {"big": 7, "wide": 8, "half": 1.5}
    assert bad_of(batches) == [
        (1, "big", "wrong_type"), (1, "half", "not_finite"), (1, "wide", "wrong_type"),
    ]  # fmt: skip


def test_json_and_uuid_are_text(tmp_path):
    raw = bytes(range(16))
    columns = {
        "j": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}', None])),
        "u": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([raw, None], pa.binary(16))),
    }
    batches = read(written(tmp_path / "x.parquet", columns), j="string", u="string")
    assert rows_of(batches) == [
        {"j": '{"a": 1}', "u": "00010203-0405-0607-0809-0a0b0c0d0e0f"}, {"j": None, "u": None},
    ]  # fmt: skip


def test_a_name_with_a_dot_is_its_own_column(tmp_path):
    moment = utc(1000, 1, 1)
    columns = {
        "t": pa.array([moment], pa.timestamp("us")),
        "t.x": pa.array(["plain"]),
        "n": pa.array([{"x": 1}]),
    }
    path = written(tmp_path / "x.parquet", columns, use_deprecated_int96_timestamps=True)
    batches = read(path, t="timestamp")
    assert rows_of(batches) == [{"t": moment}]
    assert rows_of(read(path, **{"t.x": "string"})) == [{"t.x": "plain"}]


def test_equal_texts_are_read_alike_however_they_are_stored(tmp_path):
    texts = [f"text {i % 7}" if i % 5 else None for i in range(3_000)]
    read_so = [
        column_of(read(written(tmp_path / "x", {"x": pa.array(texts)}, **options), x="string"))
        for options in (
            {}, {"row_group_size": 700}, {"use_dictionary": False},
            {"dictionary_pagesize_limit": 8},
            {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"},
            {"use_dictionary": False, "column_encoding": "DELTA_LENGTH_BYTE_ARRAY"},
        )
    ]  # fmt: skip
    assert all(values == texts for values in read_so)


def peak_mib(script: str, *arguments: object) -> float:
    """The largest memory of a child process that ran the script, above what its imports take."""
    frame = "\n".join(
        [
            "import sys",
            "from catalog.contracts.contract import ColumnRule",
            "from catalog.intake.drafting import draft_contract",
            "from catalog.readers.formats import open_batches",
            "status = open('/proc/self/status')",
            "def peak():",
            "    status.seek(0)",
            "    return next(int(line.split()[1]) for line in status if line.startswith('VmHWM'))",
            "before = peak()",
            script,
            "print((peak() - before) / 1024)",
        ]
    )
    command = [sys.executable, "-c", frame, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


READ_ALL = """
columns = {"id": ColumnRule(type="integer"), "text": ColumnRule(type="string")}
n = 0
for batch in open_batches(sys.argv[1], sys.argv[2], columns=columns):
    n += len(batch.table)
    assert len(batch.table) == 1 or batch.table.nbytes < 40 << 20, batch.table.nbytes
assert n == int(sys.argv[3]), n
"""
DRAFT = "draft_contract(sys.argv[1])"


def repeated_texts(path: Path) -> int:
    """Two texts of 100 KB, 20,000 times: a small file."""
    texts = pa.array(["a" * 100_000, "b" * 100_000])
    indices = pa.array([i % 2 for i in range(20_000)], pa.int32())
    dictionary = pa.DictionaryArray.from_arrays(indices, texts)
    written(path, {"id": pa.array(range(20_000)), "text": dictionary})
    assert path.stat().st_size < 200_000
    return 20_000


def shared_beginnings(path: Path) -> int:
    """Texts of 100 KB that differ in their last characters only, each stored as its difference."""
    texts = pa.array([f"{'c' * 100_000}{i:06}" for i in range(3_000)])
    encoding = {"text": "DELTA_BYTE_ARRAY", "id": "PLAIN"}
    columns = {"id": pa.array(range(3_000)), "text": texts}
    written(path, columns, use_dictionary=False, column_encoding=encoding, compression="zstd")
    return 3_000


def small_rows_then_large(path: Path) -> int:
    """A mean row of 4 KB, and rows of 900 KB behind many small ones."""
    texts = [f"{i}" for i in range(60_000)] + ["d" * 900_000 + str(i) for i in range(400)]
    columns = {"id": pa.array(range(len(texts))), "text": pa.array(texts)}
    written(path, columns, use_dictionary=False, compression="zstd", write_batch_size=16)
    return len(texts)


SLOW = (pytest.mark.slow, pytest.mark.ci_slow)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(repeated_texts, marks=SLOW),
        pytest.param(shared_beginnings, marks=SLOW),
        pytest.param(small_rows_then_large, marks=SLOW),
    ],
)
def test_memory_is_bounded_by_decoded_size(tmp_path, make):
    path = tmp_path / "x.parquet"
    n_rows = make(path)
    assert peak_mib(READ_ALL, path, "parquet", n_rows) < 600
    assert peak_mib(DRAFT, path) < 600


def test_a_draft_looks_into_lists_and_objects_within_a_few_batches(tmp_path):
    path = tmp_path / "x.parquet"
    keys = pa.array(["k" * 50_000] * 2_000)
    nested = pa.MapArray.from_arrays(pa.array(range(0, 2_001, 2), pa.int32()), keys, keys)
    lists = pa.ListArray.from_arrays(
        pa.array(range(0, 4_000_001, 4_000), pa.int32()), pa.array(np.zeros(4_000_000))
    )
    written(path, {"id": pa.array(range(1_000)), "m": nested, "l": lists})
    assert path.stat().st_size < 500_000
    assert peak_mib(DRAFT, path) < 300
    kinds = {
        column.name: column.type
        for column in profile_sample(read_sample(str(path), "parquet", rows=50))
    }
    assert kinds == {"id": "integer", "m": None, "l": None}


def test_batches_end_at_their_size_and_no_row_is_lost(tmp_path):
    path = tmp_path / "x.parquet"
    texts = ["e" * 700_000 if i % 50 == 0 else str(i) for i in range(3_000)]
    written(path, {"id": pa.array(range(3_000)), "text": pa.array(texts)})
    batches = read(path, id="integer", text="string")
    assert column_of(batches, "text") == texts
    assert all(batch.table.nbytes <= BATCH_BYTES + 700_000 for batch in batches)
    starts = np.cumsum([0, *(len(batch.table) for batch in batches)])
    assert [batch.first_row_number for batch in batches] == [n + 1 for n in starts[:-1]]


def test_two_columns_of_one_name_refuse_a_draft_in_words(tmp_path):
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), sink)
    path = tmp_path / "x.parquet"
    path.write_bytes(sink.getvalue())
    with pytest.raises(Exception, match="repeat another"):
        profile_sample(read_sample(str(path), "parquet", rows=5))


def test_a_file_that_gives_fewer_rows_than_it_says_is_refused(tmp_path):
    """Arrow ends such a row group without a word."""
    path = written(tmp_path / "x.parquet", {"x": pa.array(range(5))}, compression="none")
    raw = path.read_bytes()
    five, seven = b"\x16\x0a", b"\x16\x0e"  # 64-bit numbers as the footer writes them
    places = [at for at in range(len(raw)) if raw.startswith(five, at)]
    for at in places:
        path.write_bytes(raw[:at] + seven + raw[at + 2 :])
        if pq.read_metadata(path).row_group(0).num_rows == 7:
            break
    assert pq.read_metadata(path).row_group(0).num_rows == 7
    with pytest.raises(FileUnreadable, match="damaged or cut off"):
        read(path, x="integer")


def test_a_file_of_other_columns_has_its_rows_too(tmp_path):
    (batch,) = read(written(tmp_path / "x.parquet", {"x": pa.array(range(5))}), y="integer")
    assert (len(batch.table), batch.missing_columns) == (5, ("y",))


def test_days_are_dates(tmp_path):
    days = [date(1, 1, 1), date(1969, 12, 31), date(9999, 12, 31), None]
    for kind in (pa.date32(), pa.date64()):
        path = written(tmp_path / "x.parquet", {"x": pa.array(days, kind)})
        assert column_of(read(path, x="date")) == days

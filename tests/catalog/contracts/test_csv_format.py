"""What `files.csv` and a column's `format` say: what is read, what is refused, in which words."""

from __future__ import annotations

import gzip
import io
import math
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from catalog.contracts.contract import ColumnRule
from catalog.contracts.csv_files import CsvFormat
from catalog.contracts.date_format import parse_moment
from catalog.contracts.files import Files
from catalog.contracts.load import parse_contract
from catalog.readers.files import FileUnreadable
from catalog.readers.formats import format_of_name, open_batches
from tests.catalog.contracts.test_contract import GOOD, declared, faults_of, with_column
from tests.catalog.readers.test_readers import bad_of, rows_of

KEY = ColumnRule(type="string", key=True)


def read(
    folder: Path, data: str | bytes, kind: str = "string", *, form: str | None = None,
    nullable: bool = True, **told: Any,
) -> list[Any]:  # fmt: skip
    """The batches of a file with a key `id` and a cell `v` of this type."""
    path = folder / "x.csv"
    csv = CsvFormat(**told)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    columns = {"id": KEY, "v": ColumnRule(type=kind, nullable=nullable, format=form)}
    return list(open_batches(str(path), "csv", columns=columns, csv=csv))


def cells(batches: list[Any]) -> list[Any]:
    return [row["v"] for row in rows_of(batches)]


def column(folder: Path, words: list[str], kind: str, **told: Any) -> tuple[list[Any], list[int]]:
    """What these cells are read as, and which of them are bad."""
    lines = "".join(f"r{n};{word}\n" for n, word in enumerate(words))
    batches = read(folder, f"id;v\n{lines}", kind, delimiter=";", **told)
    return cells(batches), [row - 1 for row, _, _ in bad_of(batches)]


@pytest.mark.parametrize(
    ("decimal", "thousands", "good", "bad"),
    [
        (",", ".", {"1.234,5": 1234.5, "0,5": 0.5, "-1.234.567": -1234567.0, "1234,5": 1234.5},
         ["1.5", "12.34,5", "1.2345", "1,234.5", ".123", "1.234.56", "1..234", "1,2,3"]),
        (",", None, {"1,5": 1.5, ",5": 0.5, "7": 7.0, "1,5e3": 1500.0}, ["1.5", "1.234,5", ","]),
        (".", ",", {"1,234.5": 1234.5, "1,234": 1234.0, "+1,000,000": 1e6}, ["1,5", "1,23,456.0"]),
        (".", " ", {"1 234.5": 1234.5, "1\u00a0234": 1234.0}, ["1 23", "1\u202f234 567"]),
        (".", "'", {"1'234": 1234.0, "12.5": 12.5}, ["1'23", "'123"]),
    ],
)  # fmt: skip
def test_numbers_keep_to_the_marks_that_are_declared(tmp_path, decimal, thousands, good, bad):
    values, refused = column(
        tmp_path, [*good, *bad], "number", decimal=decimal, thousands=thousands
    )
    assert values == [*good.values(), *[None] * len(bad)]
    assert refused == [*range(len(good), len(good) + len(bad))]
    if thousands not in (None, " "):
        text = "v\n" + "".join(f"{word}\n" for word in good)
        peer = pd.read_csv(io.StringIO(text), sep=";", decimal=decimal, thousands=thousands)
        assert [float(value) for value in peer["v"]] == list(good.values())


def test_whole_numbers_have_marks_too(tmp_path):
    told = {"decimal": ",", "thousands": "."}
    assert column(tmp_path, ["1.234", "-7", "3,0", "3,5"], "integer", **told) == (
        [1234, -7, 3, None], [3],
    )  # fmt: skip


def test_words_for_true_false_and_nothing(tmp_path):
    told = {"true": ("ja", "J"), "false": ("nein", "n"), "nulls": ("k.A.", "-")}
    words = ["ja", "JA", "j", "Nein", " n ", "k.A.", "-", "", "1", "true", "k.a."]
    assert column(tmp_path, words, "boolean", **told) == (
        [True, True, True, False, False, None, None, None, None, None, None], [8, 9, 10],
    )  # fmt: skip
    assert column(tmp_path, ["-", "--", "NA"], "string", **told)[0] == [None, "--", "NA"]
    assert column(tmp_path, ["-", "7"], "integer", **told)[0] == [None, 7]


def test_a_map_knows_the_words_that_the_file_declares(tmp_path):
    told = CsvFormat(**{"true": ("ja",), "false": ("nein",), "nulls": ("k.A.",), "decimal": ","})
    path = tmp_path / "x.csv"
    path.write_text('id,v\na,JA\nb,nein\nc,k.A.\nd,\ne,"2,0"\nf,vielleicht\ng,own\n')
    entries = {"true": "sick", "false": "well", "2": "two", "own": None}
    columns = {"id": KEY, "v": ColumnRule(type="string", nullable=True, map=entries)}
    batches = list(open_batches(str(path), "csv", columns=columns, csv=told))
    assert cells(batches) == ["sick", "well", None, None, "two", None, None]
    assert [row for row, _, _ in bad_of(batches)] == [6]


@pytest.mark.parametrize(
    ("form", "kind", "good", "bad"),
    [
        ("%d.%m.%Y", "date", {"15.01.2026": date(2026, 1, 15), "1.2.2026": date(2026, 2, 1)},
         ["2026-01-15", "31.02.2026", "15.01.26", "15.01.2026 ", "15/01/2026", "0.1.2026"]),
        ("%m/%d/%Y", "date", {"12/31/1999": date(1999, 12, 31)}, ["31/12/1999"]),
        ("%Y%m%d", "date", {"20260115": date(2026, 1, 15)}, ["2026115", "202601151"]),
        ("%d-%b-%Y", "date", {"03-MAY-2026": date(2026, 5, 3), "3-sept-2026": date(2026, 9, 3)},
         ["03-Mai-2026", "03-05-2026"]),
        ("%B %d, %Y", "date", {"March 5, 2026": date(2026, 3, 5)}, ["Maerz 5, 2026"]),
        ("%a %d %b %Y", "date", {"Thu 15 Jan 2026": date(2026, 1, 15)}, ["Fri 15 Jan 2026"]),
        ("%Y-%j", "date", {"2024-366": date(2024, 12, 31)}, ["2026-366", "2026-0"]),
        ("%d.%m.%y", "date", {"15.01.68": date(2068, 1, 15), "15.01.69": date(1969, 1, 15)}, []),
        ("%d.%m.%Y %H:%M", "timestamp",
         {"15.01.2026 8:30": datetime(2026, 1, 15, 8, 30, tzinfo=UTC)}, ["15.01.2026 24:00"]),
        ("%Y/%m/%d %I:%M:%S %p", "timestamp",
         {"2026/01/15 12:00:01 am": datetime(2026, 1, 15, 0, 0, 1, tzinfo=UTC)},
         ["2026/01/15 13:00:01 am"]),
        ("%d/%m/%Y %H:%M:%S.%f%z", "timestamp",
         {"15/01/2026 08:30:00.25+02:00": datetime(2026, 1, 15, 6, 30, 0, 250000, tzinfo=UTC)},
         ["15/01/2026 08:30:00.25", "15/01/2026 08:30:00.25+99:00"]),
    ],
)  # fmt: skip
def test_dates_are_read_as_their_format_says(tmp_path, form, kind, good, bad):
    """The peer is strptime, which is as strict but for blanks and needs no month of a locale."""
    bad = [word for word in bad if word == word.strip()]
    values, refused = column(tmp_path, [*good, *bad], kind, form=form)
    assert values == [*good.values(), *[None] * len(bad)]
    assert refused == [*range(len(good), len(good) + len(bad))]
    for word in good:
        if "sept" not in word:
            peer = datetime.strptime(word, form)  # noqa: DTZ007
            mine = parse_moment(word, form)
            assert (
                mine.timestamp() == (peer if peer.tzinfo else peer.replace(tzinfo=UTC)).timestamp()
            )


def test_a_format_reads_texts_of_other_formats_of_files(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": "a", "v": "15.01.2026"}\n{"id": "b", "v": 3}\n{"id": "c"}\n')
    columns = {"id": KEY, "v": ColumnRule(type="date", nullable=True, format="%d.%m.%Y")}
    batches = list(open_batches(str(path), "jsonl", columns=columns))
    assert cells(batches) == [date(2026, 1, 15), None, None]
    assert bad_of(batches) == [(2, "v", "wrong_type")]


WORDS = {
    "cp1252": "Größe", "cp1250": "żółw", "utf-8-sig": "Größe", "utf-16": "Größe", "utf-32": "日本",
    "utf-16-le": "𝔤", "utf-16-be": "日本", "shift_jis": "日本", "gb18030": "中文",
    "iso2022_jp": "日本", "utf-7": "Größe", "mac-roman": "Größe",
}  # fmt: skip


@pytest.mark.parametrize("encoding", WORDS)
def test_any_codec_is_read_in_pieces(tmp_path, encoding):
    text = WORDS[encoding]
    rows = "".join(f"r{n}|{text * (n % 50)}\n" for n in range(20_000))
    batches = read(tmp_path, f"id|v\n{rows}".encode(encoding), delimiter="|", encoding=encoding)
    assert cells(batches) == [text * (n % 50) or None for n in range(20_000)]
    assert bad_of(batches) == []


def test_a_compressed_file_in_another_encoding_is_read(tmp_path):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress("id;v\na;Größe\n".encode("utf-16")))
    columns = {"id": KEY, "v": ColumnRule(type="string")}
    csv = CsvFormat(delimiter=";", encoding="utf-16")
    (batch,) = open_batches(str(path), "csv", columns=columns, csv=csv)
    assert batch.table.to_pylist() == [{"id": "a", "v": "Größe"}]


def test_bytes_that_are_no_text_are_bad_cells_in_true_words(tmp_path):
    data = b"id;v\na;\x81\xfcx\nb;good\n\x81;x\n"
    batches = read(tmp_path, data, delimiter=";", encoding="cp1252")
    assert bad_of(batches) == [(1, "v", "undecodable"), (3, "id", "undecodable")]
    assert cells(batches)[1] == "good"
    cut_off = "id;v\na;x\nb;yy".encode("utf-16-le")[:-1]
    batches = read(tmp_path, cut_off, delimiter=";", encoding="utf-16-le")
    assert bad_of(batches) == [(2, "v", "undecodable")]


def test_lines_above_comments_and_the_hint_are_no_rows(tmp_path):
    above = "# title\n\nmade in 2024,1\n"
    told = {"skip_rows": 3, "comment": "#"}
    data = f'{above}id,v\na,1\n# a note\nb,"2\n# not a note"\n#c,3\nd,x\n'
    assert cells(read(tmp_path, data, **told)) == ["1", "2\n# not a note", "x"]
    # Row numbers count the rows below the header, without what is left out
    assert bad_of(read(tmp_path, data, "integer", **told))[-1] == (3, "v", "wrong_type")
    for hint in ("sep=;\r\n", '"sep=;"\n', "SEP=;\n"):
        assert cells(read(tmp_path, f"{hint}id;v\na;1\n", delimiter=";")) == ["1"]
    assert cells(read(tmp_path, "sep=;\nid;v\na;1\n", delimiter=";", skip_rows=1)) == ["1"]
    with pytest.raises(FileUnreadable, match="names another delimiter"):
        read(tmp_path, "sep=;\nid;v\na;1\n")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_physical_lines_are_skipped_whatever_ends_them(tmp_path, end):
    lines = ["a title", 'with a "quote', "id;v", "a;1"]
    assert cells(read(tmp_path, end.join(lines), delimiter=";", skip_rows=2)) == ["1"]


def test_rows_that_a_broken_quote_took_in_are_lost_by_count_in_any_dialect(tmp_path):
    rows = [f"{n}\tcat {n}\tA" for n in range(1_000)]
    rows[100], rows[600] = "100\t'one cat\tA", "600\tx' old\tB"
    path = tmp_path / "x.tsv"
    path.write_bytes("\r\n".join(["id\ttext\tlabel", *rows]).encode("utf-16"))
    columns = {"id": KEY, "text": ColumnRule(type="string"), "label": ColumnRule(type="string")}
    csv = CsvFormat(delimiter="\t", quote="'", encoding="utf-16")
    batches = list(open_batches(str(path), "csv", columns=columns, csv=csv))
    assert [number for number, _, _ in bad_of(batches)] == list(range(101, 602))


def test_a_long_line_is_never_cut_inside_a_mark(tmp_path):
    piece = 1 << 20
    for n_before in (piece - 6, piece - 5, piece - 4, piece - 3):
        data = f"id||v\na{'x' * n_before}||tail\n"
        assert cells(read(tmp_path, data, delimiter="||")) == ["tail"]
        data = f"id;v\na{'x' * n_before}\\;b;tail\n"
        assert cells(read(tmp_path, data, delimiter=";", quote=None, escape="\\")) == ["tail"]


@pytest.mark.parametrize(
    ("data", "told", "what", "remedy"),
    [
        ("id;v\nGeheim;1\n", {}, "has 1 names and none is a column", "is cut at semicolons"),
        ("id,v\nGeheim,1\n", {"delimiter": "\t"}, "has 1 names", "is cut at commas"),
        ("Geheim,x\n", {}, "has 2 names and none is a column", "separated by commas"),
        ("id,Größe\n".encode("cp1252"), {}, "header line is not UTF-8 text", "encoding: cp1252"),
        ("id,v\na,1\n".encode("utf-16"), {}, "is not UTF-8 text", "files: {csv: {encoding"),
        ("id,v\n".encode("utf-16-le"), {"encoding": "utf-16"}, "has no byte order mark", "-le"),
        (b"id,v\na,1\n", {"encoding": "utf-16-le"}, "is not UTF-16-LE text", "encoding"),
        (b"\xef\xbb\xbfid,v\n", {"encoding": "cp1252"}, "but utf-8 as its byte order mark", "enc"),
        ("id,v\na,\"1\n", {}, "is never closed", "files: {csv: {quote"),
    ],
)  # fmt: skip
def test_a_wrong_dialect_is_refused_in_true_words(tmp_path, data, told, what, remedy):
    with pytest.raises(FileUnreadable) as caught:
        read(tmp_path, data, **told)
    assert what in str(caught.value)
    assert remedy in str(caught.value)
    assert "Geheim" not in str(caught.value)


def test_a_wrong_mark_between_cells_is_told_without_a_header(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("Geheim;1\n")
    columns = {"a": ColumnRule(type="string", in_file=1), "b": ColumnRule(type="string", in_file=2)}
    with pytest.raises(FileUnreadable, match="one cell where it is cut at commas") as caught:
        list(open_batches(str(path), "csv", columns=columns, has_header=False))
    assert "Geheim" not in str(caught.value)


CSV_FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "equal quote": ({"delimiter": "'", "quote": "'"}, "quote", "is in files.csv.delimiter too"),
    "letters": ({"delimiter": "x"}, "delimiter", "cannot stand between cells"),
    "too many": ({"delimiter": "|||||"}, "delimiter", "cannot stand between cells"),
    "none": ({"delimiter": ""}, "delimiter", "cannot stand between cells"),
    "line end": ({"delimiter": "\n"}, "delimiter", "cannot stand between cells"),
    "tab in words": ({"delimiter": "tab"}, "delimiter", "must be the mark itself"),
    "tab unquoted": ({"delimiter": "\\t"}, "delimiter", "must be the mark itself"),
    "two quotes": ({"quote": '""'}, "quote", "is no mark"),
    "escape": ({"escape": '"'}, "escape", "is files.csv.quote too"),
    "decimal": ({"decimal": ";"}, "decimal", "is no valid choice"),
    "thousands": ({"decimal": ",", "thousands": ","}, "thousands", "is files.csv.decimal too"),
    "digit": ({"thousands": "0"}, "thousands", "is no mark between digits"),
    "encoding": ({"encoding": "cp-1252"}, "encoding", "is no known encoding"),
    "no text": ({"encoding": "rot13"}, "encoding", "is no known encoding"),
    "negative": ({"skip_rows": -1}, "skip_rows", "must be at least 0"),
    "half": ({"skip_rows": 1.5}, "skip_rows", "must be a whole number"),
    "comment": ({"comment": ","}, "comment", "begins as a row may"),
    "true alone": ({"true": ["ja"]}, "false", "is missing beside files.csv.true"),
    "both": ({"true": ["x"], "false": ["X"]}, "true", "one word is in both"),
    "null and false": ({"true": ["a"], "false": ["b"], "nulls": ["B"]}, "nulls", "has a word of"),
    "number": ({"nulls": [-9]}, "nulls[0]", "must be text"),
    "unknown": ({"delimeter": ";"}, "", "unknown key 'delimeter'"),
}


@pytest.mark.parametrize("name", CSV_FAULTS)
def test_faults_of_a_dialect(name):
    csv, key, what = CSV_FAULTS[name]
    data = declared(files={"path": "a", "format": "csv", "csv": csv})
    place = f"files.csv.{key}" if key else "files.csv"
    assert what in faults_of(data)[place][0]


def test_an_encoding_is_told_by_its_nearest_name():
    data = declared(files={"path": "a", "format": "csv", "csv": {"encoding": "cp12522"}})
    assert "did you mean 'cp1252'" in faults_of(data)["files.csv.encoding"][1]


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_a_dialect_is_of_csv_only(file_format):
    data = declared(files={"path": "a", "format": file_format, "csv": {"delimiter": ";"}})
    assert "is for CSV only" in faults_of(data)["files.csv"][0]


@pytest.mark.parametrize(
    ("kind", "form", "what"),
    [
        ("string", "%d.%m.%Y", "for dates and timestamps only"),
        ("date", "%d.%m.", "does not say the year"),
        ("date", "%m/%Y", "does not say the day"),
        ("date", "dd.mm.yyyy", "is no format of dates"),
        ("date", "%d.%m.%Q", "not known: %Q"),
        ("date", "%d.%m.%Y %H:%M", "has a time of day"),
        ("timestamp", "%d.%m.%Y", "has no time of day"),
        ("timestamp", "%d.%m.%Y %I:%M", "does not say the hour once"),
        ("timestamp", "%d.%m.%Y %H:%f", "without the one above it"),
        ("date", "%d.%d.%m.%Y", "has a directive twice"),
        ("date", "%d.%m.%Y%y", "does not say the year once"),
        ("date", "%-d.%m.%Y", "directives that are not known"),
    ],
)
def test_faults_of_a_format(kind, form, what):
    faults = faults_of(with_column("seen", type=kind, format=form))
    assert what in " ".join(told for told, _ in [faults["columns.seen.format"]])


def test_a_dialect_that_says_nothing_leaves_the_hash():
    plain = parse_contract(GOOD, file="site_a.yaml")
    told = plain.model_copy(update={"files": Files(**plain.files.model_dump(), csv=CsvFormat())})
    assert told.sha256 == plain.sha256
    other = told.files.model_copy(update={"csv": CsvFormat(delimiter=";")})
    assert told.model_copy(update={"files": other}).sha256 != plain.sha256
    assert told.model_copy(update={"files": other}).shape_sha256 == plain.shape_sha256


@pytest.mark.parametrize(
    "name", ["a.csv", "a.TSV", "a.txt", "a.tab", "a.csv.gz", "a.tsv.zst", "export"]
)
def test_endings_of_text(name):
    assert format_of_name(f"/data.d/{name}") == "csv"


def test_not_a_number_is_what_it_was(tmp_path):
    values, refused = column(tmp_path, ["NaN", "inf", "1,5"], "number", decimal=",")
    assert values == [None, None, 1.5]
    assert refused == [1]
    assert not any(isinstance(value, float) and math.isnan(value) for value in values)

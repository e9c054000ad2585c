"""What a draft calls columns: no cell ever stands for a name, and every name is one that loads."""

from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import yaml

from catalog.contracts.column_names import LAKE_NAMES
from catalog.contracts.contract import ColumnRule
from catalog.contracts.load import TO_FILL, parse_contract, parse_yaml
from catalog.intake.drafting import check_sample, draft_contract
from catalog.intake.landing import ingest
from catalog.readers.files import FileUnreadable
from catalog.readers.formats import open_batches
from catalog.tables.schema import RAW_COLUMNS
from tests.catalog.contracts.test_contract import GOOD, declared, faults_of, with_column
from tests.catalog.intake.test_drafting import signed
from tests.catalog.lakes import RUN, fresh_lake
from tests.properties.test_contract_properties import FULL

PERSON = "Jane Doe of Springfield"
N = 30
TEXTS = [f"There is a small shadow of {n} millimetres in the left part." for n in range(N)]


def written(folder, rows, *, names, name="reports", line_end="\n", delimiter=","):
    path = folder / f"{name}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator=line_end, delimiter=delimiter)
        writer.writerows([names, *rows] if names else rows)
    return path


def rows_of(n_rows=N):
    return [(f"r{n}", TEXTS[n], "ab"[n % 2]) for n in range(n_rows)]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_any_line_end_gives_the_same_names(tmp_path, line_end):
    rows = [(n, PERSON, text, label) for n, (_, text, label) in enumerate(rows_of())]
    names = ["id", "referrer", "text", "label"]
    path = written(tmp_path, rows, names=names, line_end=line_end)
    draft = draft_contract(str(path))
    assert list(parse_yaml(draft, file="x.yaml")["columns"]) == names
    assert list(parse_yaml(draft, file="x.yaml")["columns"]) == pa_csv.read_csv(path).column_names
    assert "Jane" not in draft
    assert "Springfield" not in draft


NO_HEADERS = {
    "persons": [(PERSON, TEXTS[n], "ab"[n % 2]) for n in range(N)],
    "names of one word": [("Lakshmi", "Karimnagar", TEXTS[n]) for n in range(N)],
    "a number that is not known": [("Lakshmi", "unknown", TEXTS[0])]
    + [("Ngozi", n, TEXTS[n]) for n in range(1, N)],
    "labels": [("positive", "left", TEXTS[n][:3]) for n in range(N)],
    "words that columns are called by, too": [
        (("Female", "Chest", "Report"), ("Male", "Head", "Report"))[n % 2] for n in range(N)
    ],
    "a row that repeats a cell": [("Karimnagar", TEXTS[n], "Karimnagar") for n in range(N)],
    "kinds of documents": [
        (("Report", "Letter", "Note")[n % 3], TEXTS[n], "Summary") for n in range(N)
    ],
    "initials": [(f"J. D{n}", "ab"[n % 2], TEXTS[n]) for n in range(N)],
    "a patient a column": [("measure", "Jane Doe", "John Roe")]
    + [("dose", n, n) for n in range(N)],
}


@pytest.mark.parametrize("name", NO_HEADERS)
def test_a_first_line_that_is_not_surely_a_header_is_never_shown(tmp_path, name):
    rows = NO_HEADERS[name]
    draft = draft_contract(str(written(tmp_path, rows, names=None)))
    columns = parse_yaml(draft, file="x.yaml")["columns"]
    assert list(columns) == ["column_1", "column_2", "column_3"]
    assert [rule["in_file"] for rule in columns.values()] == [1, 2, 3]
    assert "not surely a header" in draft
    assert f"header: {TO_FILL}" in draft
    words = {cell for cell in map(str, rows[0]) if len(cell) > 3 and cell != "unknown"}
    assert not [cell for cell in words if cell in draft]


def filled(draft, **header):
    data = parse_yaml(signed(draft), file="x.yaml")
    columns = [*data["columns"]]
    data["files"] = {**data["files"], **header}
    data["task"] = {
        "type": "text-classification",
        "input": columns[1],
        "target": columns[2],
        "labels": {"a": "it is a", "b": "it is b"},
    }
    for rule in data["columns"].values():
        rule.pop("phi_scan", None)
    data["columns"][columns[0]]["key"] = True
    return parse_contract(json.dumps(data), file="reports.yaml")


@pytest.mark.parametrize("is_header", [True, False])
def test_the_operator_says_whether_the_first_line_is_a_row(tmp_path, is_header):
    rows = [(f"Ward-{n}", TEXTS[n], "ab"[n % 2]) for n in range(N)]
    path = written(tmp_path, rows, names=None)
    contract = filled(draft_contract(str(path)), header=is_header)
    assert check_sample(contract) == []
    with fresh_lake(tmp_path) as lake:
        ingest(lake, contract, run=RUN, scratch=tmp_path)
        found = lake.rows("SELECT column_1, column_2, column_3 FROM raw.reports")
    expected = rows[1:] if is_header else rows  # as the csv module reads it
    assert sorted(tuple(row.values()) for row in found) == sorted(expected)


HEADERS = [
    ["Report ID", "Finding (text)", "Category"],
    ["PatientID", "ReportText", "Label"],
    ["nummer", "befund", "klasse"],
    ["id", "noteText", "y"],
    ["numéro", "compte rendu", "étiquette"],
    ["row", "body of the letter", "is it urgent"],
]


@pytest.mark.parametrize("names", HEADERS)
def test_headers_that_are_sure_stand_by_name(tmp_path, names):
    draft = draft_contract(str(written(tmp_path, rows_of(), names=names)))
    assert list(parse_yaml(draft, file="x.yaml")["columns"]) == names
    assert check_sample(parse_contract(signed(draft), file="reports.yaml")) == []


def test_many_typed_columns_tell_a_header_whatever_its_words(tmp_path):
    names = ["Pregnancies", "Glucose", "SkinThickness", "Insulin", "PedigreeFunction"]
    rows = [(n, n % 7, n % 3, 0.5 * n, 0.25) for n in range(N)]
    draft = draft_contract(str(written(tmp_path, rows, names=names)))
    assert list(parse_yaml(draft, file="x.yaml")["columns"]) == names


def test_names_that_the_loader_refuses_are_renamed(tmp_path):
    names = [
        "_id",
        "__index_level_0__",
        "patient's age",
        "a;b",
        "ID",
        "id",
        "recorded_at",
        "null",
        "größe",
        "a.b",
        "a b",
        "label",
    ]
    columns = [
        [f"r{n}" for n in range(N)],
        *([[n % 5 for n in range(N)]] * 9),
        TEXTS,
        ["a", "b"] * 15,
    ]
    path = tmp_path / "reports.parquet"
    pq.write_table(pa.table([pa.array(column) for column in columns], names=names), path)
    contract = parse_contract(signed(draft_contract(str(path))), file="reports.yaml")
    told = {name: rule.in_file for name, rule in contract.columns.items()}
    assert told == {
        "id": "_id", "index_level_0": "__index_level_0__", "patient_s_age": "patient's age",
        "a_b": "a;b", "ID_2": "ID", "id_3": "id", "column_recorded_at": "recorded_at", "null": None,
        "größe": None, "a.b": None, "a b": None, "label": None,
    }  # fmt: skip
    assert check_sample(contract) == []
    with fresh_lake(tmp_path) as lake:
        ingest(lake, contract, run=RUN, scratch=tmp_path)
        (row,) = lake.rows('SELECT "id", "ID_2", "a b" FROM raw.reports WHERE "id" = \'r7\'')
    assert row == {"id": "r7", "ID_2": 2, "a b": TEXTS[7]}


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["", "text", "label"], [(n, TEXTS[n], "ab"[n % 2]) for n in range(N)]),
        (["id", "text", "label", ""], [(*row, "") for row in rows_of()]),
        (["id", "text", "label", "", ""], [(*row, "", n) for n, row in enumerate(rows_of())]),
    ],
    ids=["index of pandas", "comma at the end", "two unnamed columns"],
)
def test_columns_without_a_name_are_called_by_their_place(tmp_path, names, rows):
    path = written(tmp_path, rows, names=names)
    contract = parse_contract(signed(draft_contract(str(path))), file="reports.yaml")
    assert list(contract.columns) == [name or f"column_{at}" for at, name in enumerate(names, 1)]
    assert contract.key_column == (names[0] or "column_1")
    assert check_sample(contract) == []
    (batch,) = open_batches(str(path), "csv", columns=contract.columns)
    last = [cells[-1] for cells in rows]
    assert batch.table.columns[-1].to_pylist() == [None if cell == "" else cell for cell in last]
    assert batch.unknown_columns == ()


def test_patients_as_columns_of_parquet_are_called_by_their_place(tmp_path):
    names = ["report_id", "text", "label", "Jane Doe", "Hildegunst Geheim", "00417736", "患者"]
    cells = [[r[0] for r in rows_of()], TEXTS, ["a", "b"] * 15, *([[0.5] * N] * 4)]
    path = tmp_path / "reports.parquet"
    pq.write_table(pa.table([pa.array(column) for column in cells], names=names), path)
    draft = draft_contract(str(path))
    assert not any(name in draft for name in names[3:])
    assert "4 columns have no name, or one that looks like a value" in draft
    contract = parse_contract(signed(draft), file="reports.yaml")
    assert [rule.in_file for rule in contract.columns.values()] == [None, None, None, 4, 5, 6, 7]
    assert check_sample(contract) == []


def test_keys_of_json_that_are_values_are_left_out(tmp_path):
    path = tmp_path / "reports.jsonl"
    rows = [
        {"id": f"r{n}", "text": TEXTS[n], "label": "ab"[n % 2], f"Patient Roe{n}": 1, "Jane Doe": n}
        for n in range(N)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    draft = draft_contract(str(path))
    assert "Jane" not in draft
    assert "keys look like values" in draft
    assert check_sample(parse_contract(signed(draft), file="reports.yaml")) == []
    path.write_text(json.dumps({"Jane Doe": {"age": 4}, "John Roe": {"age": 5}}) + "\n")
    with pytest.raises(FileUnreadable, match="its 2 keys look like values") as caught:
        draft_contract(str(path))
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("id,text,text\n1,well,a\n2,ill,b\n", "1 of its 3 column names repeat another"),
        (f"{PERSON}\n1,2\n3\n4,5,6\n7,8,9,10\n1\n2\n", "where it is cut at commas, its first line"),
    ],
)
def test_what_is_no_table_is_refused_in_true_words(tmp_path, text, what):
    path = tmp_path / "reports.csv"
    path.write_text(text)
    with pytest.raises(FileUnreadable) as caught:
        draft_contract(str(path))
    assert what in str(caught.value)
    assert "Jane" not in str(caught.value)


def test_a_check_never_shows_a_name_that_may_be_a_cell(tmp_path):
    contract = parse_contract(
        signed(draft_contract(str(written(tmp_path, rows_of(), names=["id", "text", "label"])))),
        file="reports.yaml",
    )
    rows = [("id", TEXTS[0], "label", PERSON, "Lakshmi"), *((*row, "", "") for row in rows_of())]
    written(tmp_path, rows, names=None)
    told = "\n".join(map(str, check_sample(contract)))
    assert "has 3 columns that are not declared, whose names are not shown" in told
    assert not any(cell in told for cell in (PERSON, "Lakshmi", TEXTS[0]))


IN_FILE = {
    "twice": (with_column("label", in_file="text"), "columns", "2 columns are one column"),
    "place": (with_column("label", in_file=0), "columns.label.in_file", "no place of a column"),
    "json": (
        {**with_column("label", in_file=3), "files": {"path": "a", "format": "jsonl"}},
        "columns.label.in_file",
        "keys of JSON have none",
    ),
    "parquet without header": (
        declared(files={"path": "a", "format": "parquet", "header": False}),
        "files.header",
        "for CSV and Excel only",
    ),
    "names without header": (
        declared(files={"path": "a", "format": "csv", "header": False}),
        "columns.text.in_file",
        "there are no names",
    ),
    "lake": (with_column("Recorded_At", type="string"), "columns.Recorded_At", "the lake adds"),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_FILE)
def test_faults_of_names_in_the_file(name):
    data, path, what = IN_FILE[name]
    assert what in faults_of(data)[path][0]


def test_the_names_of_the_lake_are_known_to_the_rules():
    assert set(LAKE_NAMES) == {c.name for c in RAW_COLUMNS if not c.name.startswith("_")}


def test_hashes_of_contracts_that_say_nothing_new_are_what_they_were():
    # Measured on the release before `in_file` and `header` were there
    hashes = {GOOD: "a9f706c981cc", FULL: "25c8d9d71735"}
    shapes = {GOOD: "f32196ced4f1", FULL: "9dbb9a39c7e5"}
    for text, sha256 in hashes.items():
        contract = parse_contract(text, file="site_a.yaml")
        assert contract.sha256.startswith(sha256)
        assert contract.shape_sha256.startswith(shapes[text])


def test_a_place_counts_the_columns_of_parquet_and_csv(tmp_path):
    rules = {"b": ColumnRule(type="integer", in_file=2), "a": ColumnRule(type="integer")}
    pq.write_table(pa.table({"a": [1], "x": [2], "b": [3]}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("a,x,b\n1,2,3\n")
    for file_format in ("parquet", "csv"):
        (batch,) = open_batches(str(tmp_path / f"t.{file_format}"), file_format, columns=rules)
        assert batch.table.to_pylist() == [{"b": 2, "a": 1}]
        assert batch.unknown_columns == ("b (not declared)",)


def test_renamed_columns_round_trip_through_yaml():
    data = with_column("label", in_file='patient\'s \\ "age"\t')
    contract = parse_contract(yaml.safe_dump(data), file="site_a.yaml")
    assert contract.columns["label"].in_file == 'patient\'s \\ "age"\t'


def test_the_only_text_is_the_input_and_no_key(tmp_path):
    rows = [(f"this film is {n} times good and long", n % 2) for n in range(N)]
    data = parse_yaml(
        draft_contract(str(written(tmp_path, rows, names=["review", "sentiment"]))), file="x.yaml"
    )
    assert (data["task"]["input"], data["task"]["target"]) == ("review", "sentiment")
    assert not any(rule.get("key") for rule in data["columns"].values())

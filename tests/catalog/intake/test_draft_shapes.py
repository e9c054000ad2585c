"""From a file to landed rows by a draft: nested JSON and Parquet, folders of Hive, Excel and FHIR.

Each draft is signed, edited in at most three places, checked against the data and ingested; what
lands equals what another reader finds in the file.
"""

from __future__ import annotations

import base64
import json
from datetime import date, timedelta

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.contracts.load import parse_contract, parse_yaml
from catalog.intake.drafting import check_sample, draft_contract
from catalog.intake.landing import ingest
from catalog.readers.fhir_sample import MAPPINGS
from rpe_core.errors import InputError
from tests.catalog.intake.test_drafting import signed
from tests.catalog.lakes import RUN, fresh_lake
from tests.catalog.readers.test_nested import delivered

SECRET = "Jane Doe"
WORDS = ["lung", "heart", "clear", "shadow", "small", "left", "right", "lower", "lobe", "nodule"]


def text(n):
    return " ".join(WORDS[(n * 7 + k * k) % len(WORDS)] for k in range(9)) + f" on film {n % 10}"


def landed(tmp_path, uri, *edits, name):
    """The rows that a draft of these files lands, by key."""
    draft = signed(draft_contract(str(uri)))
    assert len(edits) <= 3
    for old, new in edits:
        assert old in draft
        draft = draft.replace(old, new)
    contract = parse_contract(draft, file=f"{name}.yaml")
    assert check_sample(contract) == []
    home = tmp_path / "home"
    home.mkdir()
    with fresh_lake(home) as lake:
        report = ingest(lake, contract, run=RUN, scratch=home)
        assert not any(batch.is_refused for batch in report.batches)
        columns = ", ".join(f'"{column}"' for column in contract.columns)
        return lake.rows(f'SELECT {columns} FROM raw."{name}" ORDER BY "{contract.key_column}"')


def nested_rows():
    return [
        {
            "report": {"id": f"rep-{n:03}", "body": {"text": text(n)}, "tags": ["a", "b"][: n % 3]},
            "patient": {"pseudonym": f"px{n // 2}", "sex": "fm"[n % 4 // 2], "größe": 2**60 + n},
            "result": None if n == 7 else {"label": ["negative", "positive"][n % 2]},
            "site.code": "abc"[n % 3],
        }
        for n in range(60)
    ]


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_nested_rows(tmp_path, file_format):
    path = delivered(tmp_path, file_format, nested_rows())
    rows = landed(tmp_path, path, name="a")
    assert rows == [
        {
            "site.code": row["site.code"],
            "report_id": row["report"]["id"],
            "report_body_text": row["report"]["body"]["text"],
            "report_tags": "; ".join(row["report"]["tags"]) or None,
            "patient_pseudonym": row["patient"]["pseudonym"],
            "patient_sex": row["patient"]["sex"],
            "patient_größe": row["patient"]["größe"],
            "result_label": (row["result"] or {}).get("label"),
        }
        for row in nested_rows()
    ]


def test_a_draft_of_nested_rows_tells_roles_and_shows_no_key_that_is_data(tmp_path):
    rows = [
        {**row, "visits": {f"{SECRET} {n}": 1}, "by": {SECRET: {"x": 1}, "ok": [{"v": n}]}}
        for n, row in enumerate(nested_rows())
    ]
    draft = draft_contract(delivered(tmp_path, "jsonl", rows))
    assert "Doe" not in draft
    data = parse_yaml(signed(draft), file="a.yaml")
    columns = data["columns"]
    assert columns["patient_pseudonym"]["group"]
    assert columns["report_id"]["key"]
    assert columns["report_tags"]["join"] == "; "
    assert columns["by_ok_v"] == {"type": "string", "from": "by.ok[].v", "join": "; "}
    assert (data["task"]["input"], data["task"]["target"]) == ("report_body_text", "result_label")
    assert "keys look like values" in draft


def test_rows_that_are_nested_without_end_are_drafted(tmp_path):
    deep: object = 1
    wide: object = 1
    for _ in range(200):
        deep, wide = [deep], {"a": wide}
    many = {f"k{n}": n for n in range(500)}
    rows = [{**row, "deep": deep, "wide": wide, "many": many} for row in nested_rows()]
    columns = parse_yaml(signed(draft_contract(delivered(tmp_path, "jsonl", rows))), file="a.yaml")
    assert not any(name.startswith(("deep_", "wide_", "many_")) for name in columns["columns"])
    assert columns["on_violation"]["unknown_column"] == "ignore"


def test_folders_of_hive(tmp_path):
    root = tmp_path / "lake"
    for year in (2023, 2024):
        for finding in ("benign", "malignant"):
            folder = root / f"year={year}" / f"finding={finding}"
            folder.mkdir(parents=True)
            start = 1000 * year + 500 * (finding == "benign")
            rows = [{"row": start + 10 * k, "note": text(start + k)} for k in range(15)]
            pq.write_table(pa.Table.from_pylist(rows), folder / "part-0.parquet")
    (root / "_SUCCESS").write_text("")
    rows = landed(tmp_path, root, name="lake")
    expected = duckdb.sql(
        "SELECT row, note, year, finding FROM read_parquet(?, hive_partitioning = true) ORDER BY 1",
        params=[f"{root}/**/*.parquet"],
    ).fetchall()
    assert [tuple(row.values()) for row in rows] == expected
    draft = draft_contract(str(root))
    assert "year=*/finding=*/*.parquet" in draft
    contract = parse_contract(signed(draft), file="lake.yaml")
    assert set(contract.labels) == {"benign", "malignant"}
    assert contract.columns["year"].type == "integer"


def test_folders_of_hive_around_files_of_another_dialect(tmp_path):
    root = tmp_path / "lake"
    for year in (2024, 2025):
        folder = root / f"year={year}"
        folder.mkdir(parents=True)
        lines = ["report;findings;finding;dose"]
        lines += [f"r{year}-{n:03};{text(n)};{'np'[n % 2]};{n},5" for n in range(20)]
        (folder / "part.csv").write_text("\n".join(lines) + "\n")
    rows = landed(tmp_path, root, name="lake")
    assert [(row["report"], row["year"], row["dose"]) for row in rows] == [
        (f"r{year}-{n:03}", year, n + 0.5) for year in (2024, 2025) for n in range(20)
    ]


def test_a_folder_of_other_files_is_told_so(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\na,b\n")
    (tmp_path / "b.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(InputError, match="files of one format"):
        draft_contract(str(tmp_path))


def test_names_of_folders_that_are_data_are_not_shown(tmp_path):
    folder = tmp_path / "lake" / f"{SECRET}=1" / "site=north"
    folder.mkdir(parents=True)
    delivered(folder, "jsonl", [{"id": f"k{n}", "text": text(n)} for n in range(9)])
    draft = draft_contract(str(tmp_path / "lake"))
    assert "Doe" not in draft
    assert "site: {type: string" in draft


def workbook(path):
    made = openpyxl.Workbook()
    made.active.title = "Legend"
    made.active.append(["x"])
    sheet = made.create_sheet("Findings")
    for row in (
        ["Export of findings"],
        [],
        ["report id", "patient", "seen on", "text", "label", None],
    ):
        sheet.append(row)
    for n in range(40):
        day = date(2024, 1, 1) + timedelta(n)
        sheet.append(
            [n + 1, f"p{n // 2}" if n % 2 == 0 else None, day, text(n), ["no", "yes"][n % 2]]
        )
        if n % 2:
            sheet.merge_cells(start_row=n + 3, end_row=n + 4, start_column=2, end_column=2)
    made.save(path)


def test_a_workbook(tmp_path):
    workbook(tmp_path / "book.xlsx")
    rows = landed(tmp_path, tmp_path / "book.xlsx", name="book")
    sheet = openpyxl.load_workbook(tmp_path / "book.xlsx")["Findings"]
    found = [*sheet.iter_rows(min_row=4, max_col=5, values_only=True)]
    assert [(r["report id"], r["text"], r["label"]) for r in rows] == [
        (r[0], *r[3:]) for r in found
    ]
    assert [r["seen on"] for r in rows] == [r[2].date() for r in found]
    assert [r["patient"] for r in rows] == [f"p{n // 2}" for n in range(40)]


def diagnostic_report(n):
    coded = base64.b64encode(text(n + 1).encode()).decode()
    return {
        "resourceType": "DiagnosticReport",
        "id": f"dr{n:03}",
        "status": "final",
        "subject": {"reference": f"Patient/p{n // 2}"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "30746-2"}]},
        "conclusion": text(n),
        "conclusionCode": [{"coding": [{"code": ["neg", "pos"][n % 2]}]}],
        "presentedForm": [{"contentType": "text/plain", "data": coded}],
    }


def test_fhir(tmp_path):
    found = [diagnostic_report(n) for n in range(60)]
    patients = [{"resourceType": "Patient", "id": f"p{n}", "name": SECRET} for n in range(9)]
    delivered(tmp_path, "jsonl", [*patients, *found])
    (tmp_path / "a.jsonl").rename(tmp_path / "reports.ndjson")
    labels = (
        '    "neg": "Neg"\n    "pos": "Pos"',
        "    negative: Negative\n    positive: Positive",
    )
    old = 'from: "conclusionCode[0].coding[0].code"'
    mapped = (old, f"{old}, map: {{neg: negative, pos: positive}}")
    rows = landed(tmp_path, tmp_path / "reports.ndjson", labels, mapped, name="reports")
    assert rows == [
        {
            "id": one["id"],
            "patient": one["subject"]["reference"],
            "status": "final",
            "code": "30746-2",
            "conclusion": one["conclusion"],
            "conclusion_code": {"neg": "negative", "pos": "positive"}[
                one["conclusionCode"][0]["coding"][0]["code"]
            ],
            "report_text": base64.b64decode(one["presentedForm"][0]["data"]).decode(),
        }
        for one in found
    ]


def observation(n):
    coded = {"coding": [{"code": ["neg", "pos"][n % 2]}], "text": ["none", "some"][n % 2]}
    return {
        "resourceType": "Observation",
        "id": f"ob{n:03}",
        "status": "final",
        "subject": {"reference": f"Patient/p{n // 2}"},
        "code": {"coding": [{"code": "30746-2"}], "text": "Film"},
        "category": [{"coding": [{"code": "imaging"}]}],
        "effectiveDateTime": f"2024-05-{1 + n % 28:02}",
        "issued": f"2024-05-{1 + n % 28:02}T10:00:00Z",
        "valueString": text(n),
        "valueCodeableConcept": coded,
        "valueQuantity": {"value": n + 0.5, "unit": "mm"},
        "interpretation": [coded],
        "bodySite": coded,
        "note": [{"text": text(n + 1)}],
    }


def test_a_draft_of_fhir_takes_all_of_the_mapping_that_it_finds(tmp_path):
    path = delivered(tmp_path, "jsonl", [observation(n) for n in range(60)])
    data = parse_yaml(signed(draft_contract(str(path))), file="a.yaml")
    assert [*data["columns"]] == [name for name, _ in MAPPINGS["Observation"]]
    assert data["columns"]["effective"] == {"type": "date", "from": "effectiveDateTime"}
    assert data["columns"]["value_text"]["from"] == "valueString"
    assert data["task"]["input"] == "value_text"


def test_other_resources_are_drafted_by_their_fields(tmp_path):
    entries = [
        {
            "resource": {
                "resourceType": "Communication",
                "id": f"c{n}",
                "payload": [{"contentString": text(n)}],
            }
        }
        for n in range(20)
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"resourceType": "Bundle", "entry": entries}, indent=1))
    data = parse_yaml(signed(draft_contract(str(path))), file="a.yaml")
    assert (data["files"]["format"], data["files"]["resource"]) == ("fhir", "Communication")
    assert data["columns"]["payload_contentString"]["from"] == "payload[].contentString"


@pytest.mark.parametrize("file_format", ["jsonl", "parquet", "xlsx"])
def test_dates_that_are_texts_of_a_typed_file(tmp_path, file_format):
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(60)]
    rows = [
        {"id": f"rep-{n:03}", "body": text(n), "label": ["no", "sure"][n % 2],
         "seen": f"{day:%d.%m.%Y}", "sent": f"{day:%m/%d/%Y} 12:30"}
        for n, day in enumerate(days)
    ]  # fmt: skip
    if file_format == "xlsx":
        book = openpyxl.Workbook()
        for line in [[*rows[0]], *([*row.values()] for row in rows)]:
            book.active.append(line)
        book.save(path := tmp_path / "a.xlsx")
    else:
        path = delivered(tmp_path, file_format, rows)
    found = landed(tmp_path, path, name="a")
    assert [row["seen"] for row in found] == days
    assert [(row["sent"].date(), row["sent"].hour) for row in found] == [(day, 12) for day in days]


def test_a_day_that_may_be_a_month_waits_for_a_person_in_a_typed_file(tmp_path):
    rows = [{"id": f"k{n}", "text": text(n), "seen": f"0{n % 9 + 1}.02.2024"} for n in range(30)]
    draft = draft_contract(delivered(tmp_path, "jsonl", rows))
    assert "seen: {type: date, format: TO-FILL}" in draft
    assert "nothing tells days from months" in draft

"""FHIR: resources of one type as rows, from NDJSON, Bundles in a file and Bundles in lines."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from catalog.readers.files import FileUnreadable
from catalog.readers.formats import format_of_name, open_batches
from rpe_core.errors import InputError
from tests.catalog.contracts.test_contract import declared, faults_of
from tests.catalog.readers.test_nested import rule

SECRET = "Jöhn Q. Geheim"


def coded(text):
    return base64.b64encode(text.encode()).decode()


def report(number, **changes):
    """A diagnostic report as servers write it."""
    return {
        "resourceType": "DiagnosticReport",
        "id": f"r{number}",
        "meta": {"versionId": "1"},
        "status": "final",
        "category": [{"coding": [{"system": "http://x/section", "code": "RAD"}]}],
        "code": {
            "coding": [
                {"system": "http://loinc.org", "code": "36643-5"},
                {"system": "http://local", "code": f"l{number}"},
            ],
            "text": "Chest film",
        },
        "subject": {"reference": f"Patient/p{number // 2}"},
        "issued": "2026-01-15T08:30:00+01:00",
        "conclusion": f"No finding {number}.",
        "conclusionCode": [{"coding": [{"code": "neg"}]}],
        "presentedForm": [
            {"contentType": "text/html", "data": coded("<p>no</p>")},
            {"contentType": "text/plain; charset=utf-8", "data": coded(f"Befund {number} ü")},
        ],
        **changes,
    }


PATIENT = {"resourceType": "Patient", "id": "p0", "name": [{"family": SECRET}]}
COLUMNS = {
    "id": rule(key=True),
    "patient": rule(path="subject.reference", group=True),
    "code": rule(path="code.coding[system=http://loinc.org].code"),
    "issued": rule("timestamp"),
    "conclusion": rule(),
    "finding": rule(path="conclusionCode[0].coding[0].code", map={"neg": "negative"}),
    "body": rule(path="presentedForm[contentType=text/plain*].data", decode="base64"),
}


def written(tmp_path, found, *, how):
    path = tmp_path / ("a.ndjson" if how.startswith("lines") else "a.json")
    bundle = {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [{"resource": r} for r in found],
    }
    if how == "lines":
        text = "".join(json.dumps(r) + "\n" for r in found)
    elif how == "lines of Bundles":
        text = 2 * (json.dumps({**bundle, "entry": bundle["entry"][:1]}) + "\n")
    else:
        text = json.dumps(bundle, indent=2 if how == "pretty" else None)
    path.write_text(text)
    return str(path)


def read(path, columns=COLUMNS, resource="DiagnosticReport", **options):
    return list(open_batches(path, "fhir", columns=columns, resource=resource, **options))


@pytest.mark.parametrize("how", ["lines", "Bundle", "pretty"])
def test_resources_of_one_type_are_rows(tmp_path, how):
    found = [PATIENT, report(0), report(1), PATIENT, report(2, conclusion=None)]
    batches = read(written(tmp_path, found, how=how))
    (batch,) = batches
    assert batch.bad_cells == []
    assert (batch.unknown_columns, batch.missing_columns) == ((), ())
    rows = batch.table.to_pylist()
    assert [row["id"] for row in rows] == ["r0", "r1", "r2"]
    assert list(batch.numbers) == [2, 3, 5]
    assert {k: v for k, v in rows[0].items() if k != "issued"} == {
        "id": "r0",
        "patient": "Patient/p0",
        "code": "36643-5",
        "conclusion": "No finding 0.",
        "finding": "negative",
        "body": "Befund 0 ü",
    }
    assert rows[0]["issued"].isoformat() == "2026-01-15T07:30:00+00:00"
    assert [row["conclusion"] for row in rows][2] is None


def test_bundles_in_lines_have_the_numbers_of_the_lines(tmp_path):
    (batch,) = read(written(tmp_path, [report(0)], how="lines of Bundles"))
    assert list(batch.numbers) == [1, 2]


def test_a_file_of_one_resource_and_one_that_is_compressed(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(report(7), indent=1))
    assert read(str(path))[0].table.column("id").to_pylist() == ["r7"]
    packed = tmp_path / "a.ndjson.gz"
    packed.write_bytes(gzip.compress(json.dumps(report(8)).encode()))
    assert read(str(packed))[0].table.column("id").to_pylist() == ["r8"]


def test_what_is_no_resource_costs_itself(tmp_path):
    path = tmp_path / "a.ndjson"
    lines = ['{"id": "x"', json.dumps(report(1)), '{"id": "y"}', "{", json.dumps(report(2))]
    path.write_text("\n".join(lines))
    (batch,) = read(str(path))
    assert [(batch.numbers[c.row], c.column, c.reason) for c in batch.bad_cells] == [
        (1, "", "invalid_json"),
        (3, "", "not_fhir"),
        (4, "", "invalid_json"),
    ]
    assert batch.table.column("id").to_pylist() == [None, "r1", None, None, "r2"]


def test_entries_without_a_resource_and_bundles_in_bundles(tmp_path):
    inner = {"resourceType": "Bundle", "entry": [{"resource": report(1)}]}
    entries = [{"fullUrl": "u"}, {"resource": inner}, {"resource": report(2)}, {"request": {}}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"resourceType": "Bundle", "entry": entries}))
    assert read(str(path))[0].table.column("id").to_pylist() == ["r1", "r2"]


def test_a_json_file_that_is_not_fhir_is_told_so(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(f'[{{"name": "{SECRET}"}}]')
    with pytest.raises(FileUnreadable, match="JSON array") as caught:
        read(str(path))
    assert "Geheim" not in str(caught.value)
    with pytest.raises(InputError, match="type of resource"):
        read(str(path), resource=None)
    assert format_of_name("/data/a.json") == "fhir"


def test_observations_by_their_values(tmp_path):
    found = [
        {
            "resourceType": "Observation",
            "id": "o1",
            "valueQuantity": {"value": 7.25, "unit": "mmol/L"},
            "note": [{"text": "one"}, {"text": "two"}],
        },
        {
            "resourceType": "Observation",
            "id": "o2",
            "valueCodeableConcept": {"coding": [{"code": "a"}, {"code": "b"}], "text": "worse"},
        },
        {"resourceType": "Observation", "id": "o3", "valueString": "as before"},
    ]
    columns = {
        "id": rule(),
        "value": rule("number", path="valueQuantity.value"),
        "codes": rule(path="valueCodeableConcept.coding[].code", join="+"),
        "text": rule(path=["valueString", "valueCodeableConcept.text", "note[].text"], join="\n"),
    }
    (batch,) = read(written(tmp_path, found, how="lines"), columns, "Observation")
    assert batch.table.to_pylist() == [
        {"id": "o1", "value": 7.25, "codes": None, "text": "one\ntwo"},
        {"id": "o2", "value": None, "codes": "a+b", "text": "worse"},
        {"id": "o3", "value": None, "codes": None, "text": "as before"},
    ]


def test_the_type_of_resource_is_asked_for():
    files = {"path": "/data/a.ndjson", "format": "fhir"}
    assert "files.resource" in faults_of(declared(files=files))
    assert "files.resource" in faults_of(declared(files={**files, "resource": "not a type"}))
    files = {"path": "/data/a.jsonl", "format": "jsonl", "resource": "Observation"}
    assert "files.resource" in faults_of(declared(files=files))

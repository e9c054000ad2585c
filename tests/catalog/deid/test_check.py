"""The gate over texts and columns: findings without values, all column types, bounded time."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pytest

from catalog.deid.check import Finding, scan_column, scan_text
from catalog.errors import ContractError
from rpe_core.errors import InputError
from tests.experiments.deid import measure
from tests.experiments.deid.planted import KINDS, plant

STRUCTURED = sorted(set(KINDS) - {"name"})


def test_a_finding_has_no_place_for_text() -> None:
    assert {field.name for field in fields(Finding)} == {"start", "end", "rule_id", "identifier"}


def test_findings_come_in_order_and_point_into_the_original_text() -> None:
    text = "Jos\u00e9 \u00c1lvarez, MRN 00417736, seen 03/14/2019."
    found = scan_text(text)
    assert found == sorted(found)
    assert {text[f.start : f.end] for f in found} >= {"00417736", "03/14/2019"}


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["No fever.", None, "", "MRN 00417736"]),
        pa.array(["No fever.", None, "", "MRN 00417736"], pa.large_string()),
        pa.chunked_array([["No fever.", None], ["", "MRN 00417736"]]),
        pa.array(["No fever.", None, "", "MRN 00417736"]).dictionary_encode(),
        pa.chunked_array([pa.array(["No fever.", None, "", "MRN 00417736"]).dictionary_encode()]),
    ],
    ids=["string", "large", "chunked", "dictionary", "chunked dictionary"],
)
def test_every_string_column_is_scanned(column: pa.Array) -> None:
    assert scan_column(column) == {3: ("mrn",)}


def test_a_sliced_column_counts_its_own_rows() -> None:
    assert scan_column(pa.array(["a", "b", "MRN 00417736"]).slice(1)) == {1: ("mrn",)}


def test_a_column_of_numbers_is_refused_without_its_values() -> None:
    with pytest.raises(InputError) as raised:
        scan_column(pa.array([219099999]))
    assert "219099999" not in str(raised.value)
    assert "int64" in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        *("1 " * 20_000, "A" * 40_000, "Aa " * 13_000, "a.b@" * 10_000, "-" * 40_000),
        *("1." * 20_000, "(216) " * 7_000, "Mr. " * 10_000, "0:" * 20_000, "MRN " * 10_000),
        *("www." * 10_000, "call " * 8_000, "his wife " * 5_000, "May " * 10_000, "fax 1 " * 7_000),
        *("ID: " * 10_000, "Lives in A" * 4_000, "Aa, " * 10_000, "J. " * 13_000, "a-1" * 13_000),
    ],
    ids=lambda text: text[:6].strip() or "blank",
)
def test_repetition_does_not_explode(text: str) -> None:
    """Each of these takes a second at most; a quadratic rule, minutes."""
    assert isinstance(scan_text(text), list)


@pytest.mark.parametrize("kind", STRUCTURED)
def test_structured_identifiers_are_found_in_planted_text(kind: str) -> None:
    share = _recall(kind)
    assert share.interval()[0] >= 0.95


def test_names_are_found_in_planted_text() -> None:
    assert _recall("name").interval()[0] >= 0.85


def _recall(kind: str) -> measure.Share:
    identifier = KINDS[kind][0]
    rows = plant(kind, 300, seed=5)
    n_found = sum(
        any(
            f.identifier == identifier and f.start < r.end and f.end > r.start
            for f in scan_text(r.text)
        )
        for r in rows
    )
    return measure.Share(n_found, len(rows))


def test_planting_is_a_function_of_the_seed() -> None:
    assert plant("name", 20, seed=1) == plant("name", 20, seed=1)
    assert plant("name", 20, seed=1) != plant("name", 20, seed=2)


def test_the_corpus_is_measured_by_entity_type(tmp_path: Path) -> None:
    text = "Maria Okonkwo, SSN 219-09-9999, seen in 1999."
    spans = [("PERSON", 0, 13), ("US_SSN", 19, 30), ("DATE_TIME", 40, 44), ("ORGANIZATION", 0, 3)]
    row = {
        "full_text": text,
        "spans": [
            {
                "entity_type": kind,
                "entity_value": text[start:end],
                "start_position": start,
                "end_position": end,
            }
            for kind, start, end in spans
        ],
    }
    path = tmp_path / "corpus.json"
    path.write_text(json.dumps([row]))
    lines = {line.kind: line for line in measure.measure_corpus(path)}
    assert lines["PERSON"].recall == measure.Share(1, 1)
    assert lines["US_SSN"].precision == measure.Share(1, 1)
    assert lines["DATE_TIME"].recall.n == 0
    assert "ORGANIZATION" not in lines


def test_a_corpus_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "corpus.json"
    path.write_text('[{"text": "Maria Okonkwo"}]')
    with pytest.raises(ContractError) as raised:
        measure.measure_corpus(path)
    assert "Okonkwo" not in str(raised.value)


def test_a_row_with_a_true_identifier_is_no_false_alarm(tmp_path: Path, capsys) -> None:
    rows = [
        {"id": "r1", "input": "Seen 03/14/2019 by Dr. Okonkwo.", "target": None},
        {"id": "r2", "input": "No fever.", "target": "Champion Lindqvist tool used."},
        {"id": "r3", "input": "No fever.", "target": "Stable."},
        {"id": "r4", "input": "Call 216-555-0147.", "target": "Stable."},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    judged = tmp_path / "judged.csv"
    judged.write_text(
        "row_id,identifier,judgement\nr1,date_or_age,true_identifier\nr1,name,false_alarm\n"
        "r2,name,false_alarm\n"
    )
    alarms, pairs = measure.measure_rows(tmp_path, judged)
    assert alarms == measure.Alarms(4, 3, 1, 1, 1, 2)
    assert ("r4", "phone") in pairs
    assert measure.main(["--rows", str(tmp_path), "--adjudicated", str(judged)]) == 0
    shown = capsys.readouterr().out
    assert "unjudged: r4,phone" in shown
    assert "Okonkwo" not in shown


def test_the_adjudicated_list_holds_ids_and_judgements_only() -> None:
    lines = Path(__file__).with_name("mts_dialog_adjudicated.csv").read_text().splitlines()
    assert lines[0] == "row_id,identifier,judgement"
    identifiers = {identifier for identifier, _ in KINDS.values()}
    for line in lines[1:]:
        row, identifier, judgement = line.split(",")
        assert row.startswith("mtsd-")
        assert identifier in identifiers
        assert judgement in {"true_identifier", "false_alarm"}

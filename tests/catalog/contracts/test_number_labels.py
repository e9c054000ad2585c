"""Labels that are numbers or truth values: a label is the text of its cell, from file to item."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from catalog.contracts.load import TO_FILL, parse_contract, parse_yaml
from catalog.errors import ContractInvalid
from catalog.intake.drafting import check_sample, draft_contract
from catalog.intake.landing import ingest, read_rows
from catalog.readers.items import item_source
from tests.catalog.contracts.test_contract import declared, faults_of
from tests.catalog.intake.test_drafting import deliver, signed
from tests.catalog.lakes import RUN, fresh_lake

N = 40
PROMPTS = ("The finding is absent.", "The finding is there.")


def rows_of(labels):
    return [
        {
            "note_id": f"r{n}",
            "text": f"There is a small shadow of {n} millimetres in the left part, no change.",
            "label": labels[n % len(labels)],
        }
        for n in range(N)
    ]


def with_prompts(draft):
    for prompt in PROMPTS:
        draft = draft.replace(f": {TO_FILL}     # in words", f": {prompt}", 1)
    return parse_contract(signed(draft), file="notes.yaml")


CELLS = {
    "integers": ([0, 1], "integer", ["0", "1"]),
    "negative": ([-1, 1], "integer", ["-1", "1"]),
    "truth values": ([True, False], "boolean", ["false", "true"]),
    "whole floats": ([0.0, 1.0], "integer", ["0", "1"]),
    "floats with gaps": ([0.0, 1.0, None], "integer", ["0", "1"]),
    "integers with gaps": ([1, None, 0], "integer", ["0", "1"]),
}


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", CELLS)
def test_numbers_are_labels_from_the_draft_to_the_item(tmp_path, name, file_format):
    cells, kind, labels = CELLS[name]
    path = deliver(tmp_path, rows_of(cells), file_format, name="notes")
    contract = with_prompts(draft_contract(path))
    assert contract.columns["label"].type == kind
    assert (contract.task.target, [*contract.task.labels]) == ("label", labels)
    assert [*contract.task_spec.labels.values()] == [*PROMPTS]
    assert check_sample(contract) == []
    with fresh_lake(tmp_path) as lake:
        report = ingest(lake, contract, run=RUN, scratch=tmp_path)
        source = item_source(contract)
        table = read_rows(lake, report.dataset_version_id, columns=["note_id", *source.columns])
    targets = dict(zip(table.column("note_id").to_pylist(), source.targets(table), strict=True))
    plain = [None if c is None else json.dumps(int(c) if kind == "integer" else c) for c in cells]
    assert targets == {f"r{n}": plain[n % len(cells)] for n in range(N)}


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_a_number_that_is_no_label_is_set_aside(tmp_path, file_format):
    contract = with_prompts(
        draft_contract(deliver(tmp_path, rows_of([0, 1]), file_format, name="notes"))
    )
    loose = contract.on_violation.model_copy(update={"max_quarantined_ratio": 0.5})
    contract = contract.model_copy(update={"on_violation": loose})
    rows = [{**row, "label": 2} if n == 3 else row for n, row in enumerate(rows_of([0, 1]))]
    deliver(tmp_path, rows, file_format, name="notes")
    with fresh_lake(tmp_path) as lake:
        (batch,) = ingest(lake, contract, run=RUN, scratch=tmp_path).batches
    assert (batch.n_accepted, dict(batch.failed)) == (N - 1, {"unknown_label(label)": 1})


def test_one_class_of_numbers_is_refused_as_one_of_words_is(tmp_path):
    contract = with_prompts(draft_contract(deliver(tmp_path, rows_of([0, 1]), name="notes")))
    deliver(tmp_path, rows_of([1]), name="notes")
    with fresh_lake(tmp_path) as lake, pytest.raises(Exception, match="one_class_only"):
        ingest(lake, contract, run=RUN, scratch=tmp_path)


def labelled(kind, labels, **task):
    data = declared()
    data["columns"] = {**data["columns"], "label": {"type": kind}}
    data["task"] = {**data["task"], "labels": labels, **task}
    return data


@pytest.mark.parametrize("text", ["{0: Absent., 1: Present.}", "{ 1 : Present., 0 : Absent. }"])
def test_keys_of_yaml_are_read_by_their_text(text):
    contract = yaml.safe_dump(labelled("integer", "LABELS")).replace("LABELS", text)
    found = parse_contract(contract, file="site_a.yaml").task.labels
    assert found == {"0": "Absent.", "1": "Present."}
    truths = yaml.safe_dump(labelled("boolean", "LABELS"))
    truths = truths.replace("LABELS", "{true: Present., false: Absent.}")
    assert [*parse_contract(truths, file="site_a.yaml").task.labels] == ["true", "false"]


@pytest.mark.parametrize(
    ("kind", "label", "what"),
    [
        ("integer", "01", "no value of a column of type integer"),
        ("integer", "1.0", "no value of a column of type integer"),
        ("integer", "yes", "no value of a column of type integer"),
        ("integer", "9" * 20, "no value of a column of type integer"),
        ("boolean", "1", "no value of a column of type boolean"),
        ("boolean", "True", "no value of a column of type boolean"),
    ],
)
def test_labels_that_no_cell_can_say(kind, label, what):
    data = labelled(kind, {"0" if kind == "integer" else "true": "One.", label: "Other."})
    (fault,) = faults_of(data).values()
    assert what in fault[0]


@pytest.mark.parametrize("kind", ["number", "date", "timestamp"])
def test_what_is_no_label_at_all(kind):
    what, expected = faults_of(labelled(kind, {"0": "One.", "1": "Other."}))["task.target"]
    assert "not text" in what
    assert expected == "a column of type string, integer, boolean"


def test_a_target_of_written_text_is_still_text():
    data = labelled("integer", None)
    data["task"] = {"type": "text-generation", "input": "text", "target": "label"}
    assert faults_of(data)["task.target"][0] == "names a column that is not text"


def test_a_drafted_number_asks_for_words(tmp_path):
    draft = draft_contract(deliver(tmp_path, rows_of([1, 0]), name="notes"))
    assert parse_yaml(draft, file="x.yaml")["task"]["labels"] == {"0": TO_FILL, "1": TO_FILL}
    with pytest.raises(ContractInvalid) as caught:
        parse_contract(signed(draft), file="notes.yaml")
    assert {f.path for f in caught.value.faults} == {"task.labels.'0'", "task.labels.'1'"}


def test_words_are_preferred_to_numbers_as_labels(tmp_path):
    rows = [
        {**row, "label_text": ["absent", "there"][n % 2]} for n, row in enumerate(rows_of([0, 1]))
    ]
    draft = draft_contract(deliver(tmp_path, rows, name="notes"))
    assert parse_yaml(draft, file="x.yaml")["task"]["target"] == "label_text"


def test_labels_of_narrow_and_unsigned_integers(tmp_path):
    table = pa.Table.from_pylist(rows_of([0, 1]))
    for kind in (pa.int8(), pa.uint8(), pa.uint64(), pa.float32(), pa.decimal128(20, 0)):
        cells = table.column("label").cast(kind)
        path = tmp_path / "notes.parquet"
        pq.write_table(table.set_column(2, "label", cells), path)
        contract = with_prompts(draft_contract(str(path)))
        assert contract.columns["label"].type == "integer"
        assert check_sample(contract) == []

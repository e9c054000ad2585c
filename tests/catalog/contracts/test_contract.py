"""Contracts: a good one loads, and every fault of a bad one is told at once, without a value."""

from __future__ import annotations

import copy
from datetime import date
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import BaseModel, Field, ValidationError

from catalog.contracts.contract import SourceContract, SplitColumn, SplitGlobs, SplitShares, Strict
from catalog.contracts.faults import declaration_faults, shown_path
from catalog.contracts.load import (
    MAX_BYTES,
    TO_FILL,
    load_contract,
    parse_contract,
    parse_yaml,
    read_yaml,
)
from catalog.errors import ContractInvalid
from rpe_core.errors import DeclarationError

GOOD = """
source: site_a
title: Discharge letters
owner: data@example.org
license: internal
files: {path: "/data/site_a/*.csv.gz", format: csv}
task:
  {type: text-classification, input: text, target: label, labels: {yes: It is., no: It is not.}}
deidentified: {method: synthetic, attested_by: jane.roe, attested_on: 2026-01-15}
columns:
  id: {type: string, key: true}
  patient: {type: string, group: true}
  age: {type: integer, min: 0, max: 120, nullable: true}
  text: {type: string, phi_scan: true, min_chars: 1}
  label: {type: string, nullable: true}
"""


def declared(**changes):
    """The good contract as plain values, with top-level keys replaced; None leaves a key out."""
    data = parse_yaml(GOOD, file="site_a.yaml")
    data.update(changes)
    return {key: value for key, value in data.items() if value is not None}


def with_column(name, **rule):
    data = declared()
    data["columns"] = {**data["columns"], name: {**data["columns"].get(name, {}), **rule}}
    return data


def faults_of(data):
    """path -> (what, expected) of every fault; the text may be YAML or plain values."""
    text = data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False)
    with pytest.raises(ContractInvalid) as caught:
        parse_contract(text, file="site_a.yaml")
    assert caught.value.__context__ is None
    return {fault.path: (fault.what, fault.expected) for fault in caught.value.faults}


def test_a_good_contract_loads(tmp_path):
    path = tmp_path / "site_a.yaml"
    path.write_text("\ufeff" + GOOD)
    contract = load_contract(path)
    assert contract.key_column == "id"
    assert contract.group_column == "patient"
    assert list(contract.task.labels) == ["yes", "no"]
    assert contract.deidentified.attested_on == date(2026, 1, 15)
    assert contract.splits == SplitShares()
    assert SourceContract.model_validate(contract.model_dump(mode="json")) == contract


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({"train": 0.9, "test": 0.1}, SplitShares(train=0.81, validation=0.09, test=0.1)),
        ({"column": "label"}, SplitColumn(column="label")),
        ({"train": "*.a.csv", "test": "*.b.csv"}, SplitGlobs(train="*.a.csv", test="*.b.csv")),
    ],
)
def test_three_ways_to_split(splits, expected):
    contract = parse_contract(yaml.safe_dump(declared(splits=splits)), file="site_a.yaml")
    assert contract.splits == expected


def test_a_contract_that_says_nothing_of_other_scripts_keeps_its_hash():
    silent = parse_contract(GOOD, file="site_a.yaml")
    assert silent.sha256 == "a9f706c981cc045c83fe9bcf70c0b9accb1288c6a4def0a44d03b6c3bef36a07"
    attested = {**declared()["deidentified"], "other_scripts_read": True}
    read = SourceContract.model_validate(declared(deidentified=attested))
    assert read.deidentified.other_scripts_read
    assert read.sha256 != silent.sha256
    assert read.shape_sha256 == silent.shape_sha256
    assert SourceContract.model_validate(read.model_dump(mode="json")) == read


def test_all_faults_are_told_at_once():
    data = declared(title=None, owner=7, titel="x", freshness={"max_age_days": 0})
    data["files"]["format"] = "parket"
    data["columns"]["id"] = {"type": "strng", "kee": True}
    data["columns"]["age"]["max"] = -1
    data["task"]["input"] = "txt"
    faults = faults_of(data)
    assert faults["title"] == ("is missing", "")
    assert faults["owner"] == ("must be text", "put it in quotes")
    assert "did you mean 'title'?" in faults["(file)"][1]
    assert faults["freshness.max_age_days"] == ("must be at least 1", "")
    assert "did you mean 'parquet'?" in faults["files.format"][1]
    assert "did you mean 'string'?" in faults["columns.id.type"][1]
    assert faults["columns.id"] == ("unknown key 'kee'", faults["columns.id"][1])
    assert "did you mean 'key'?" in faults["columns.id"][1]
    assert faults["columns.age.min"] == ("is more than `max`", "")
    assert faults["task.input"][0] == "is no column of `columns`"
    assert "did you mean 'text'?" in faults["task.input"][1]
    assert len(faults) == 9


CROSS = {
    "no key": (with_column("id", key=False), "columns", "0 columns have `key: true`"),
    "two keys": (with_column("text", key=True), "columns", "2 columns have `key: true`"),
    "two groups": (with_column("text", group=True), "columns", "2 columns have `group: true`"),
    "null key": (with_column("id", nullable=True), "columns.id.nullable", "never null"),
    "null group": (with_column("patient", nullable=True), "columns.patient.nullable", "never null"),
    "target type": (with_column("label", type="number"), "task.target", "not text"),
    "scan": (with_column("age", phi_scan=True), "columns.age.phi_scan", "for text only"),
    "values": (with_column("age", values=["1"]), "columns.age.values", "for text only"),
    "no values": (with_column("label", values=[]), "columns.label.values", "is empty"),
    "min": (with_column("text", min=1), "columns.text.min", "for numbers only"),
    "chars": (with_column("text", min_chars=9, max_chars=3), "columns.text.min_chars", "more than"),
    "pattern": (with_column("id", pattern="("), "columns.id.pattern", "no pattern"),
    "look-ahead": (with_column("id", pattern="a(?=b)"), "columns.id.pattern", "no pattern"),
    "endless": (with_column("id", pattern="(a|(b+))*$"), "columns.id.pattern", "never end"),
    "long": (with_column("id", pattern="a" * 201), "columns.id.pattern", "too long"),
    "system": (with_column("_split", type="string"), "columns._split", "underscore"),
    "case": (with_column("ID", type="string"), "columns", "differ only in case"),
    "split": (declared(splits={"column": "fold"}), "splits.column", "is no column"),
    "shares": (declared(splits={"train": 0.5, "test": 0.1}), "splits", "must sum to one"),
    "split key": (declared(splits={"trian": 0.5}), "splits", "unknown key 'trian'"),
    "globs": (declared(splits={"train": "a*", "test": 3}), "splits.test", "must be text"),
    "no mapping": (declared(splits="column"), "splits", "must be a mapping"),
    "expectation": (
        declared(expectations=[{"name": "x", "column": "agee"}]),
        "expectations[0].column",
        "no column",
    ),
    "traversal": (declared(source="../../etc/passwd"), "source", "right form"),
    "sql": (declared(source="a; DROP TABLE core.runs"), "source", "right form"),
    "columns": (declared(columns=[]), "columns", "must be a mapping"),
}  # fmt: skip


@pytest.mark.parametrize("name", CROSS)
def test_rules_that_join_keys(name):
    data, path, what = CROSS[name]
    assert what in faults_of(data)[path][0]


def test_labels_must_differ_and_say_something():
    data = declared()
    data["task"]["labels"] = {"a": "same", "b": "same ", "c": " "}
    faults = faults_of(data)
    assert "same prompt" in faults["task.labels"][0]
    assert "is empty" in faults["task.labels.c"][0]


def test_what_a_draft_left_open_is_told_once_and_with_a_remedy():
    data = declared(owner=TO_FILL)
    data["deidentified"] = dict.fromkeys(("method", "attested_by", "attested_on"), TO_FILL)
    faults = faults_of(data)
    assert set(faults) == {
        "owner", "deidentified.method", "deidentified.attested_by", "deidentified.attested_on",
    }  # fmt: skip
    assert all(what == "is still TO-FILL" and expected for what, expected in faults.values())


def test_the_file_is_named_after_its_source(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(GOOD)
    with pytest.raises(ContractInvalid, match=r"file must be named <source>\.yaml"):
        load_contract(path)


YAML_FAULTS = {
    "malformed": ("a: [1,\nb: 2", "line 2, column 5", "is not valid YAML"),
    "tab": ("a:\n\t- 1", "line 2, column 1", "is not valid YAML"),
    "control": ("a: \x07", "(file)", "characters that YAML does not allow"),
    "anchor": ("a: &x 1\nb: *x", "line 1, column 4", "anchor or alias"),
    "bomb": ("a: &a [x, x]\nb: &b [*a, *a]", "line 1, column 4", "anchor or alias"),
    "tag": ("a: !!python/object/apply:os.system [ls]", "line 1, column 4", "uses a tag"),
    "deep": ("[" * 3000, "line 1, column 21", "nested too deeply"),
    "documents": ("a: 1\n---\nb: 1", "line 2, column 1", "is not valid YAML"),
    "list": ("- 1", "(file)", "must be a mapping"),
    "empty": ("", "(file)", "must be a mapping"),
    "mapping as key": ("{a: 1}: 1", "line 1, column 1", "single word"),
    "duplicate": ("a: 1\nb: {c: 1,\n c: 2}", "b.c", "is written twice, again on line 3"),
    "large": ("a: " + "x" * MAX_BYTES, "(file)", "larger than 1 MB"),
}


@pytest.mark.parametrize("name", YAML_FAULTS)
def test_yaml_that_is_refused(tmp_path, name):
    text, place, what = YAML_FAULTS[name]
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(DeclarationError) as caught:
        read_yaml(path)
    (fault,) = caught.value.faults
    assert fault.path == place
    assert what in fault.what
    assert str(caught.value).startswith("plan.yaml has 1 fault:")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: path.write_bytes(b"title: \xff"), "is not UTF-8"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, make, what):
    path = tmp_path / "site_a.yaml"
    make(path)
    with pytest.raises(ContractInvalid, match=what):
        load_contract(path)


def test_yaml_reads_words_and_numbers_as_a_person_does():
    text = "yes: no\non: 010\nx: [1e-3, 2.0e-3, .5, -7, ~, true, 2026-01-15, 1_0, .inf]\n1: null"
    data = parse_yaml(text, file="x.yaml")
    assert data == {
        "yes": "no",
        "on": 10,
        "x": [1e-3, 2e-3, 0.5, -7, None, True, "2026-01-15", "1_0", float("inf")],
        "1": None,
    }


class Leaf(Strict):
    kind: Literal["leaf"]
    size: int = Field(gt=0)


class Branch(Strict):
    parts: tuple[Leaf, ...]
    names: dict[Annotated[str, Field(pattern="^[a-z]+$")], int] = Field(default_factory=dict)
    either: Leaf | float | None = None


def test_faults_of_any_model():
    data = {
        "parts": [{"kind": "leaf", "size": 0}, {"kind": "laef", "sise": 1}],
        "names": {"Not Good!": 1},
        "either": {"kind": "leaf", "size": "many"},
    }
    with pytest.raises(ValidationError) as caught:
        Branch.model_validate(data)
    assert [str(fault) for fault in declaration_faults(caught.value, Branch)] == [
        "parts[0].size: must be more than 0",
        "parts[1].kind: is no valid choice (leaf  (did you mean 'leaf'?))",
        "parts[1].size: is missing",
        "parts[1]: unknown key 'sise' (known: kind, size  (did you mean 'size'?))",
        "names.(9 characters, not shown): as a key it does not have the right form "
        "(the form ^[a-z]+$)",
        "either.size: must be a whole number",
    ]


def test_every_error_type_of_pydantic_gives_a_sentence_of_ours():
    class Own(BaseModel):
        n: int

    with pytest.raises(ValidationError) as caught:
        Own.model_validate({"n": "secret"})
    (fault,) = declaration_faults(caught.value, Own)
    assert "secret" not in str(fault)
    assert shown_path([]) == "(file)"


def test_a_contract_is_not_changed_by_checking():
    data = declared()
    before = copy.deepcopy(data)
    SourceContract.model_validate(data)
    assert data == before

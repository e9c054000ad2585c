import csv
import gzip
import io
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from catalog.contracts.contract import SourceContract
from catalog.deid.check import scan_text
from catalog.examples.files import render
from catalog.examples.text_world import (
    PLANTED_BAD,
    PLANTED_PHI,
    PLANTED_SOURCE,
    UNLABELLED,
    make_rows,
    sites,
    write_world,
)

NAMES = [site.name for site in sites()]
SITES = {site.name: site for site in sites()}
# Wider than any rule of the gate has to be: no digit, title, address or month occurs at all.
IDENTIFYING = re.compile(
    r"\d|[@/#:]{2}|@|\b(mr|mrs|ms|dr|prof|mrn|ssn|street|road|january|february|march|april|may"
    r"|june|july|august|september|october|november|december|monday|tuesday|wednesday|thursday"
    r"|friday|saturday|sunday|aged|year[- ]old|birth)\b",
    re.IGNORECASE,
)


def _contract(name, data="/data"):
    return SourceContract.model_validate(
        yaml.safe_load(render("text", data=data)[f"sources/{name}.yaml"])
    )


def _read(path: Path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    return [{k: v or None for k, v in row.items()} for row in csv.DictReader(io.StringIO(text))]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_a_function_of_the_seed(name):
    assert make_rows(name, seed=3) == make_rows(name, seed=3)
    assert make_rows(name, seed=3) != make_rows(name, seed=4)


def test_files_are_the_same_on_every_run_and_hold_the_rows(tmp_path):
    first, second = write_world(tmp_path / "a"), write_world(tmp_path / "b")
    assert sorted(first) == sorted(NAMES)
    for name in NAMES:
        assert first[name].read_bytes() == second[name].read_bytes()
        assert _read(first[name]) == make_rows(name)


def test_every_format_is_met():
    endings = {Path(site.file).suffix for site in sites()}
    assert endings == {".jsonl", ".parquet", ".csv", ".gz"}


@pytest.mark.parametrize("name", NAMES)
def test_contracts_fit_their_rows(name):
    contract, site, rows = _contract(name), SITES[name], make_rows(name)
    assert contract.source == name
    assert contract.files.path == f"/data/{site.file}"
    assert contract.files.format in site.file
    assert tuple(contract.columns) == site.columns == tuple(rows[0])
    assert list(contract.task.labels) == list(site.labels)
    assert contract.deidentified.method == "synthetic"
    text = contract.columns[contract.task.input]
    assert text.phi_scan
    bad = [number for number, row in enumerate(rows) if not _is_within(text, row[site.columns[-2]])]
    assert bad == (sorted(PLANTED_BAD) if name == PLANTED_SOURCE else [])
    for column, rule in contract.columns.items():
        if rule.values:
            allowed = {*rule.values, None} if rule.nullable else set(rule.values)
            assert {row[column] for row in rows} <= allowed
    assert contract.columns[contract.task.target].nullable == (
        None in {row[contract.task.target] for row in rows}
    )


def _is_within(rule, text):
    return rule.min_chars <= len(text) <= rule.max_chars


@pytest.mark.parametrize("name", NAMES)
def test_sizes_suit_a_night_on_two_cores(name):
    site, rows = SITES[name], make_rows(name)
    assert len(rows) == site.n_rows
    assert 240 <= len(rows) <= 400
    key, group = site.columns[:2]
    assert len({row[key] for row in rows}) == len(rows)
    assert 0.4 < len({row[group] for row in rows}) / len(rows) < 0.6
    texts = [row[site.columns[-2]] for row in rows]
    assert len(set(texts)) / len(rows) > 0.85
    words = sorted(len(text.split()) for text in texts)
    assert 8 <= words[len(words) // 2] <= 30


@pytest.mark.parametrize("name", NAMES)
def test_identifiers_stand_in_the_planted_rows_only(name):
    site = SITES[name]
    found = {
        number
        for number, row in enumerate(make_rows(name))
        if IDENTIFYING.search(row[site.columns[-2]])
    }
    assert found == (set(PLANTED_PHI) if name == PLANTED_SOURCE else set())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_the_gate_finds_the_planted_rows_and_no_other(name, seed):
    texts = [row[SITES[name].columns[-2]] for row in make_rows(name, seed=seed)]
    found = {number for number, text in enumerate(texts) if scan_text(text)}
    assert found == (set(PLANTED_PHI) if name == PLANTED_SOURCE else set())


def test_planted_rows_stay_within_the_contracts_limits():
    contract, rows = _contract(PLANTED_SOURCE), make_rows(PLANTED_SOURCE)
    limits = contract.on_violation
    assert 0 < len(PLANTED_PHI) / len(rows) <= limits.max_phi_ratio
    assert 0 < len(PLANTED_BAD) / len(rows) <= limits.max_quarantined_ratio


def test_the_new_sites_have_the_labels_that_their_evidence_needs():
    (name,) = UNLABELLED
    assert all(row[SITES[name].columns[-1]] is None for row in make_rows(name))
    rows = make_rows("ultrasound_reports")
    splits = {row["case_id"]: row["split"] for row in rows}
    assert all(splits[row["case_id"]] == row["split"] for row in rows)
    assert all((row["section"] is None) == (row["split"] == "train") for row in rows)
    counts = {split: sum(row["split"] == split for row in rows) for split in splits.values()}
    assert counts["test"] >= 120
    assert counts["validation"] >= 50


def test_the_plan_names_sources_of_the_demo_only():
    plan = yaml.safe_load(render("text", data="/data")["plan.yaml"])
    (reference,) = plan["references"]
    assert len(reference["sources"]) == 6
    used = {*reference["sources"], *(target["source"] for target in plan["targets"])}
    assert used == set(NAMES)
    assert set(reference["sources"]).isdisjoint(UNLABELLED)


def test_declarations_survive_an_odd_folder():
    odd = 'C:\\da "ta'
    assert _contract("mri_reports", odd).files.path == f"{odd}/mri_reports.parquet"


def test_an_unknown_source_is_refused():
    with pytest.raises(KeyError):
        make_rows("radiology_report")

"""The reports demo: rows by a seed, impressions that follow by rule, declarations that fit them."""

import re

import pytest
import yaml

from catalog.contracts.contract import SourceContract
from catalog.deid.check import scan_text
from catalog.examples.files import render
from catalog.examples.reports_world import (
    archive,
    make_archive,
    make_rows,
    sites,
    vocabulary,
    write_world,
)

SITES = {site.name: site for site in sites()}
ROWS = {name: make_rows(name) for name in SITES}
SIGNS = "|".join(vocabulary()["signs"])
SEEN = re.compile(
    rf"(?P<sign>{SIGNS}) of (?P<size>\d+) mm in the (?P<place>.+)"
    rf"|(?P<size2>\d+) mm (?P<sign2>{SIGNS}) in the (?P<place2>.+)"
    rf"|(?:clear|faint) (?P<sign3>{SIGNS}) measuring (?P<size3>\d+) mm in the (?P<place3>.+)"
)


def _contract(name, data="/data"):
    text = render("reports", data=data, models="/models")[f"sources/{name}.yaml"]
    return SourceContract.model_validate(yaml.safe_load(text))


def _seen(findings):
    """What was seen, read back from the text: (sign, place, size) of each sentence that says so."""
    found = [SEEN.fullmatch(part) for part in findings.removesuffix(".").split(". ")]
    return [
        tuple(match[f"{key}{i}"] for key in ("sign", "place", "size"))
        for match in found
        if match
        for i in ("", 2, 3)
        if match[f"sign{i}"]
    ]


@pytest.mark.parametrize("name", SITES)
def test_rows_are_a_function_of_the_seed(name):
    assert make_rows(name) == ROWS[name]
    assert make_rows(name, seed=1, n_rows=9) != make_rows(name, n_rows=9)
    assert len({row["report_id"] for row in ROWS[name]}) == 400


def test_files_are_the_same_on_every_run(tmp_path):
    first, second = (write_world(tmp_path / folder, n_rows=40) for folder in "ab")
    assert set(first) == set(SITES)
    for name in SITES:
        assert first[name].read_bytes() == second[name].read_bytes()
        assert first[name].name == SITES[name].file


@pytest.mark.parametrize("name", SITES)
def test_an_impression_says_what_was_seen_and_nothing_else(name):
    site, urgent = SITES[name], set(vocabulary()["urgent"])
    for row in ROWS[name]:
        seen, impression = _seen(row["findings"]), row["impression"]
        said = [site.signs[sign] for sign, _, _ in seen]
        places = [re.search(rf"{re.escape(place)}\b", impression) for _, place, _ in seen]
        assert all(places)
        assert sum(impression.count(word) for word in set(site.signs.values())) == len(seen)
        assert (impression == site.style.none) == (not seen)
        is_alarm = bool(site.style.alarm) and not urgent.isdisjoint(said)
        assert impression.endswith(" please act now.") == is_alarm
        sizes = [f"{size} mm" in impression for _, _, size in seen]
        assert all(sizes) if name.startswith("ct_") else not any(sizes)
        ranks = [word not in urgent for word in sorted(said, key=impression.index)]
        assert ranks == sorted(ranks), "the urgent come first"
        assert ("1. " in impression) == (site.style.is_numbered and bool(seen))


def test_no_archive_report_is_in_the_style_of_a_source():
    styles = {site.style.item for site in sites()} | {site.style.none for site in sites()}
    assert styles.isdisjoint({site.style.item for site in archive()})
    assert styles.isdisjoint({site.style.none for site in archive()})
    words = {word for report in make_archive(1000) for text in report for word in text.split()}
    asked = {w for name in SITES for row in ROWS[name] for w in row["impression"].split()}
    assert {word.strip(".,") for word in asked} <= {word.strip(".,()") for word in words}


@pytest.mark.parametrize("name", SITES)
def test_contracts_fit_their_rows_and_the_gate_finds_nothing(name):
    contract, site, rows = _contract(name), SITES[name], ROWS[name]
    assert (contract.source, contract.files.path) == (name, f"/data/{site.file}")
    assert contract.files.format in site.file
    assert tuple(contract.columns) == site.columns == tuple(rows[0])
    assert contract.group_column == "patient_id"
    assert 0.4 < len({row["patient_id"] for row in rows}) / len(rows) < 0.6
    assert set(contract.columns[site.columns[2]].values) == set(site.slices)
    for column in ("findings", "impression"):
        rule = contract.columns[column]
        assert rule.phi_scan
        assert all(rule.min_chars <= len(row[column]) <= rule.max_chars for row in rows)
        assert not any(scan_text(row[column]) for row in rows)


def test_the_plan_names_the_four_sources_as_references_and_targets():
    plan = yaml.safe_load(render("reports", data="/data", models="/m")["plan.yaml"])
    (reference,) = plan["references"]
    assert set(reference["sources"]) == {target["source"] for target in plan["targets"]}
    assert set(reference["sources"]) == set(SITES)
    assert plan["bases"]["llama"]["model"] == "/m/reports-llama"

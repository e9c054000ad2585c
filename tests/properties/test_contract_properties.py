"""Whatever is written as a value of any key of a contract, no message repeats it."""

from __future__ import annotations

import copy
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from catalog.contracts.contract import SourceContract
from catalog.contracts.load import parse_contract, parse_yaml
from catalog.errors import ContractInvalid

FULL = """
source: site_a
title: Discharge letters
owner: data@example.org
license: internal
files: {path: "/data/site_a/*.csv.gz", format: csv}
task: {type: text-classification, input: text, target: label, labels: {a: First., b: Second.}}
deidentified: {method: synthetic, attested_by: jane.roe, attested_on: 2026-01-15}
columns:
  id: {type: string, key: true, pattern: "[a-z0-9]+", max_chars: 9}
  age: {type: integer, min: 0, max: 120, nullable: true}
  text: {type: string, phi_scan: true, min_chars: 1}
  label: {type: string, slice: true, group: false, values: [a, b]}
splits: {train: 0.8, validation: 0.1, test: 0.1}
on_violation: {unknown_column: refuse, bad_row: quarantine, changed_row: refuse,
  max_quarantined_ratio: 0.01, max_phi_ratio: 0.02}
freshness: {max_age_days: 7}
expectations: [{name: balance, column: label, parameters: {low: 0.1}}]
"""
CONTRACT = parse_yaml(FULL, file="site_a.yaml")


def places(value, path=()):
    """Every place of a nested value, inner ones too."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items if isinstance(value, dict | list) else ():
        yield from places(item, (*path, key)) if isinstance(item, dict | list) else [(*path, key)]


def planted(place, value):
    data = copy.deepcopy(CONTRACT)
    holder = data
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    return data


SECRETS = ["Hildegunst4471", "Jöhn Q. Geheim #4471", "'; DROP TABLE patients --", "zq: {zq: [zq"]
SHAPES = {
    "text": lambda secret: secret,
    "list": lambda secret: [secret, secret],
    "mapping": lambda secret: {"a": secret},
    "deep": lambda secret: {"type": {"a": [secret]}},
}


def message_of(text):
    try:
        parse_contract(text, file="site_a.yaml")
    except ContractInvalid as error:
        behind = f"{error.__context__!r} {error.__cause__!r}"
        return str(error) + repr(error) + behind + json.dumps([str(f) for f in error.faults])
    return ""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_as_any_value_is_never_repeated(secret, shape):
    for place in places(CONTRACT):
        message = message_of(yaml.safe_dump(planted(place, SHAPES[shape](secret))))
        assert secret not in message
        assert secret.encode("unicode_escape").decode() not in message


@given(place=st.sampled_from(list(places(CONTRACT))), secret=st.text(min_size=8, max_size=40))
def test_any_text_as_any_value_is_never_repeated(place, secret):
    known = yaml.safe_dump(CONTRACT) + str(SourceContract.model_json_schema())
    message = message_of(yaml.safe_dump(planted(place, secret)))
    assert secret in known or secret not in message


@given(secret=st.text(st.characters(codec="utf-8"), min_size=8, max_size=40))
def test_raw_text_in_the_file_is_never_repeated(secret):
    for line in (f"title: {secret}", f"title: '{secret}'", f"title: [{secret}", f"x: {{{secret}"):
        message = message_of(FULL.replace("title: Discharge letters", line))
        assert secret not in message or not secret.strip()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_contract_or_a_list_of_faults(data):
    message_of(data.decode("latin-1"))


@given(order=st.permutations(list(CONTRACT)))
def test_the_order_of_keys_does_not_change_the_hash(order):
    text = yaml.safe_dump({key: CONTRACT[key] for key in order}, sort_keys=False)
    assert parse_contract(text, file="x").sha256 == parse_contract(FULL, file="x").sha256

"""What the tests of databases share: a contract of a query, made as YAML is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalog.contracts.contract import SourceContract
from catalog.contracts.load import parse_contract
from catalog.intake.extracts import with_extracts_below

QUERY = "SELECT report_id, patient, findings, verdict, changed_at FROM reports"
CONTRACT = """
source: reports
title: Reports of a database
owner: data@example.org
license: internal
files: {files}
task: {{type: text-classification, input: findings, target: verdict,
  labels: {{normal: nothing found, abnormal: something found}}}}
deidentified: {{method: synthetic, attested_by: tests, attested_on: 2026-01-15}}
columns:
  report_id: {{type: integer, key: true}}
  patient: {{type: string, group: true}}
  findings: {{type: string}}
  verdict: {{type: string}}
  changed_at: {{type: timestamp}}
on_violation: {{changed_row: supersede, max_quarantined_ratio: 0.5}}
"""


def text_of(uri: str, *, query: str = QUERY, **more: Any) -> str:
    told = {"query": query, "uri": uri, **more}
    files = "{" + ", ".join(f'{key}: "{value}"' for key, value in told.items()) + "}"
    return CONTRACT.format(files=files)


def contract_of(uri: str, place: Path, **more: Any) -> SourceContract:
    return with_extracts_below(parse_contract(text_of(uri, **more), file="reports.yaml"), place)


def label_of(number: int) -> str:
    return ("normal", "abnormal")[number % 2]


def row(number: int, *, minute: int = 0) -> tuple[Any, ...]:
    moment = f"2026-01-02 03:{minute:02d}:00"
    return (number, f"p{number % 5}", f"scan {number} is clear", label_of(number), moment)

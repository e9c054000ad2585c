"""Names that data bring reach no statement of ours: DuckDB's own, words of SQL, odd marks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.contracts.contract import SourceContract
from catalog.errors import ContractViolated
from catalog.intake.drafting import check_sample
from catalog.intake.landing import ingest, read_rows
from catalog.stores.lake.lake import Lake
from tests.catalog.lakes import RUN, fresh_lake

NAMES = (
    "filename", "rowid", "snapshot_id", "file_row_number", "file_index", "row_id",
    "begin_snapshot", "_row_number", "_ducklake_internal_row_id", "index", "level_0",
    "__index_level_0__", "select", "order", "group", "table", "item", "grp", "batch", "input",
    "verdict", "n", "p", "c", "c0", "c1", "marks", "path", "a b", "a;b", "patient's age", 'a"b',
    "a.b", "a{x}", "%s", "$1", "?", "名前", "1", "true", "null", "date",
)  # fmt: skip
ROLES = ("id", "text", "label", "more")
# Each set plays the four roles at once
SETS = (
    ("filename", "rowid", "snapshot_id", "file_row_number"),
    ("_row_number", "item", "index", "FileName"),
    ("c1", "c0", "order", "input"),
    ('a"b', "patient's age", "a{x}", "$1"),
)


def contract_of(
    source: str, inbox: Path, names: dict[str, str], others: tuple[str, ...] = ()
) -> SourceContract:
    """A contract whose columns of these four roles have these names, and others have more."""
    columns: dict[str, Any] = {
        names["id"]: {"type": "string", "key": True},
        names["text"]: {"type": "string", "min_chars": 2},
        names["label"]: {"type": "string", "nullable": True},
        names["more"]: {"type": "string", "nullable": True, "slice": True},
        **{name: {"type": "string", "nullable": True} for name in others},
    }
    return SourceContract.model_validate(
        {
            "source": source,
            "title": "t",
            "owner": "o",
            "license": "internal",
            "files": {"path": f"{inbox}/*.jsonl", "format": "jsonl"},
            "task": {
                "type": "text-classification",
                "input": names["text"],
                "target": names["label"],
                "labels": {"yes": "It is so.", "no": "It is not so."},
            },
            "deidentified": {
                "method": "synthetic",
                "attested_by": "tests",
                "attested_on": "2026-01-01",
            },
            "columns": columns,
            "on_violation": {"changed_row": "supersede", "max_quarantined_ratio": 0.5},
            "expectations": [
                {"name": "null_ratio", "column": names["label"], "parameters": {"max_ratio": 0.9}}
            ],
        }
    )


def rows(names: dict[str, str], start: int, end: int, text: str) -> list[dict[str, Any]]:
    labels = ("yes", "no", None)
    return [
        {
            names["id"]: f"k{i}",
            names["text"]: f"{text} {i}",
            names["label"]: labels[i % 3],
            names["more"]: f"m{i % 2}",
        }
        for i in range(start, end)
    ]


def deliver(path: Path, given: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in given))


def held(lake: Lake, version: str | None, names: dict[str, str]) -> list[dict[str, Any]]:
    assert version
    found = read_rows(lake, version, columns=list(names.values())).to_pylist()
    plain = [{name: row[name] for name in names.values()} for row in found]
    return sorted(plain, key=lambda row: int(row[names["id"]][1:]))


@pytest.mark.parametrize("set_of_names", SETS)
def test_a_column_may_have_any_name_in_any_role(tmp_path, set_of_names):
    """Landed, replaced, set aside for its key and read again, as under plain names."""
    names = dict(zip(ROLES, set_of_names, strict=True))
    inbox = tmp_path / "in"
    inbox.mkdir()
    contract = contract_of("s", inbox, names)
    first, second = rows(names, 0, 6, "a note"), rows(names, 4, 9, "another note")
    deliver(inbox / "a.jsonl", first)
    assert check_sample(contract) == []
    with fresh_lake(tmp_path) as lake:
        assert held(lake, ingest(lake, contract, run=RUN).dataset_version_id, names) == first
        deliver(inbox / "b.jsonl", second)
        version = ingest(lake, contract, run=RUN).dataset_version_id
        assert held(lake, version, names) == first[:4] + second
        deliver(inbox / "c.jsonl", [*rows(names, 0, 1, "one"), *rows(names, 0, 1, "two")])
        with pytest.raises(ContractViolated, match="duplicate_key"):
            ingest(lake, contract, run=RUN)
        aside = lake.rows("SELECT _row_json FROM quarantine.s")
        assert [json.loads(row["_row_json"])[names["id"]] for row in aside] == ["k0", "k0"]


def test_columns_of_every_odd_name_land_side_by_side(tmp_path):
    plain = {role: f"{role}_plain" for role in ROLES}
    given = rows(plain, 0, 6, "a note")
    given = [{**row, **{name: f"{name} {i}" for name in NAMES}} for i, row in enumerate(given)]
    (tmp_path / "in").mkdir()
    deliver(tmp_path / "in" / "a.jsonl", given)
    with fresh_lake(tmp_path) as lake:
        contract = contract_of("select", tmp_path / "in", plain, NAMES)
        version = ingest(lake, contract, run=RUN).dataset_version_id
        given_names = {"id": plain["id"], **{name: name for name in given[0]}}
        assert held(lake, version, given_names) == given

"""CSV of many dialects goes from its file to landed rows by its own draft."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from catalog.contracts.contract import SourceContract
from catalog.contracts.load import TO_FILL, parse_contract, parse_yaml
from catalog.intake.drafting import check_sample, draft_contract
from catalog.intake.landing import ingest
from catalog.readers.formats import open_delivery
from tests.catalog.dialects import DIALECTS, NAMES, values
from tests.catalog.lakes import RUN, fresh_lake

NOT_OF_PANDAS = ("MySQL", "Excel with its hint", "a mark of two")
LANDED_ALWAYS = ("Excel in German",)
ENDINGS = ("csv", "tsv", "txt", "")


def signed(draft: str) -> SourceContract:
    """The draft with what is marked filled in: by one who looks at the file."""
    data = parse_yaml(draft, file="x.yaml")
    data["owner"] = "data@example.org"
    data["deidentified"] = {
        "method": "synthetic", "attested_by": "jane.roe", "attested_on": "2026-01-15",
    }  # fmt: skip
    places = {rule.get("in_file", name): name for name, rule in data["columns"].items()}
    if data["task"]["target"] == TO_FILL:
        data["task"]["target"] = places[6]
        data["task"]["labels"] = {"a": "it is a", "b": "it is b"}
    return parse_contract(json.dumps(data), file="x.yaml")


def drafted(folder: Path, name: str) -> SourceContract:
    """The signed draft of a file in this dialect, which says what it is to say."""
    dialect = DIALECTS[name]
    ending = ENDINGS[len(name) % 4]
    path = folder / (f"reports.{ending}" if ending else "reports")
    path.write_bytes(dialect.write())
    draft = draft_contract(str(path))
    told = parse_yaml(draft, file="x.yaml")["files"]
    assert told.get("csv", {}) == dialect.told
    assert told.get("header") == dialect.header
    contract = signed(draft)
    assert check_sample(contract) == []
    return contract


def in_order(rows: Iterable[Mapping[str, Any]], contract: SourceContract) -> list[list[Any]]:
    read = ([row[column] for column in contract.columns] for row in rows)
    return sorted(read, key=lambda row: row[0])


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_read_by_its_own_draft(tmp_path, name):
    contract = drafted(tmp_path, name)
    batches = list(open_delivery(contract, contract.files.path))
    assert [batch.bad_cells for batch in batches] == [[]]
    rows = in_order(batches[0].table.to_pylist(), contract)
    assert rows == [list(row.values()) for row in values()]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[] if name in LANDED_ALWAYS else [pytest.mark.slow, pytest.mark.ci_slow]
        )
        for name in DIALECTS
    ],
)
def test_a_dialect_lands_by_its_own_draft(tmp_path, name):
    contract = drafted(tmp_path, name)
    with fresh_lake(tmp_path) as lake:
        (batch,) = ingest(lake, contract, run=RUN, scratch=tmp_path).batches
        assert (batch.n_accepted, batch.reasons) == (len(values()), ())
        rows = in_order(lake.rows(f"SELECT * FROM raw.{contract.source}"), contract)
    assert rows == [list(row.values()) for row in values()]


@pytest.mark.parametrize("name", [n for n in DIALECTS if n not in NOT_OF_PANDAS])
def test_an_independent_reader_sees_the_same_values(tmp_path, name):
    """The peer is pandas, told what the draft tells; without this the table would be its own."""
    dialect = DIALECTS[name]
    path = tmp_path / "reports.csv"
    path.write_bytes(dialect.write())
    told = {"quote": '"', **dialect.told}
    renamed = {"delimiter": "sep", "skip_rows": "skiprows", "quote": "quotechar",
               "escape": "escapechar", "nulls": "na_values"}  # fmt: skip
    options = {renamed.get(key, key): value for key, value in told.items()}
    table = pd.read_csv(
        path, keep_default_na=False, header=None if dialect.header is False else 0, names=NAMES,
        dtype={"report text": str}, **{"na_values": [""], **options},
    )  # fmt: skip
    expected = values()
    assert table["report text"].tolist() == [row["report text"] for row in expected]
    doses = [None if pd.isna(dose) else float(dose) for dose in table["dose"]]
    assert doses == [row["dose"] for row in expected]


def test_no_line_of_the_file_is_in_a_draft_without_a_header(tmp_path):
    for name, dialect in DIALECTS.items():
        if dialect.header is False:
            path = tmp_path / "reports.csv"
            path.write_bytes(dialect.write())
            draft = draft_contract(str(path))
            first = next(
                csv.reader(
                    io.StringIO(dialect.write().decode()), delimiter=dialect.told["delimiter"]
                )
            )
            assert not [cell for cell in first if len(cell) > 1 and cell in draft], name

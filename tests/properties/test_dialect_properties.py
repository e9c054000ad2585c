"""Whatever a table holds and however it is written, its draft reads what the csv module reads."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from catalog.contracts.contract import ColumnRule
from catalog.contracts.csv_files import CsvFormat
from catalog.contracts.load import TO_FILL, parse_contract, parse_yaml
from catalog.intake.drafting import check_sample, draft_contract
from catalog.readers.formats import open_batches, open_delivery

N = 12
TEXTS = [f"a shadow of {n} millimetres; in the left part, which has not changed" for n in range(N)]
PLAIN = st.sampled_from(
    ["a", "ü", "", " b ", "x;y", "x,y", "x|y", "x\ty", 'a "b" c', "it's", "#", "\\",
     "line\nline", "0", "é\\", "NA", "-", "∂", "::"]
)  # fmt: skip
TYPED = st.sampled_from(
    [
        [str(n) for n in range(N)], [f"{n}.5" for n in range(N)], [f"{n},5" for n in range(N)],
        [f"1.{n:03d},5" for n in range(N)], [f"{n + 13}.01.2026" for n in range(N)],
        [f"2026-01-{n + 10}" for n in range(N)], [["ja", "nein"][n % 2] for n in range(N)],
        [["7", "NA"][n % 2] for n in range(N)], [["2026-01-15", "-"][n % 2] for n in range(N)],
        [f"01/{n + 1}/2026" for n in range(N)], [f"{n} or so" for n in range(N)],
    ]
)  # fmt: skip


@st.composite
def dialects(draw: Any) -> dict[str, Any]:
    """Marks for the csv module."""
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    escape = draw(st.sampled_from([None, None, "\\"]))
    return {
        "delimiter": delimiter,
        "quotechar": draw(st.sampled_from(['"', '"', "'"])),
        "escapechar": escape,
        "doublequote": escape is None,
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        "lineterminator": draw(st.sampled_from(["\n", "\r\n"])),
    }


ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
SOME = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@given(
    dialects(),
    ENCODINGS,
    st.lists(st.lists(PLAIN, min_size=3, max_size=3), min_size=1, max_size=6),
)
def test_a_declared_dialect_reads_what_the_csv_module_reads(dialect, encoding, rows):
    """The peer reads the text; the file is read from its bytes."""
    out = io.StringIO(newline="")
    csv.writer(out, **dialect).writerows([["id", "a", "b"], *rows])
    text = out.getvalue()
    try:
        data = text.encode(encoding)
    except UnicodeEncodeError:
        assume(False)
    peer = [row for row in csv.reader(io.StringIO(text, newline=""), **dialect) if row][1:]
    columns = {name: ColumnRule(type="string", nullable=True) for name in ("id", "a", "b")}
    told = CsvFormat(
        delimiter=dialect["delimiter"], quote=dialect["quotechar"], escape=dialect["escapechar"],
        encoding=encoding,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "x.csv"
        path.write_bytes(data)
        batches = list(open_batches(str(path), "csv", columns=columns, csv=told))
    read = [[cell or "" for cell in row.values()] for b in batches for row in b.table.to_pylist()]
    assert read == peer


@SOME
@given(dialects(), ENCODINGS, st.lists(TYPED, max_size=3), st.booleans())
def test_a_draft_of_any_dialect_keeps_every_cell(dialect, encoding, more, has_header):
    table = {
        "report_id": [f"r{n}" for n in range(N)], "text": TEXTS,
        "label": ["ab"[n % 2] for n in range(N)], "n": [str(n + 40) for n in range(N)],
        **{f"more_{place}": column for place, column in enumerate(more)},
    }  # fmt: skip
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    out = io.StringIO(newline="")
    csv.writer(out, **dialect).writerows([list(table), *rows] if has_header else rows)
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "x.csv"
        path.write_bytes(out.getvalue().encode(encoding))
        data = parse_yaml(draft_contract(str(path)), file="x.yaml")
        fill_in(data, has_header=has_header)
        contract = parse_contract(json.dumps(data), file="x.yaml")
        assert check_sample(contract) == []
        batches = list(open_delivery(contract, str(path)))
    read = [row for batch in batches for row in batch.table.to_pylist()]
    assert [batch.bad_cells for batch in batches] == [[]]
    names = {rule.in_file or name: name for name, rule in contract.columns.items()}
    for place, (name, cells) in enumerate(table.items(), start=1):
        column = names.get(name) or names[place]
        kind = contract.columns[column].type
        found = [row[column] for row in read]
        assert len(found) == N
        if kind == "string":
            nulls = contract.files.csv.nulls if contract.files.csv else ()
            assert found == [None if cell in nulls else cell for cell in cells]
        else:
            assert [cell is None for cell in found] == [cell in ("NA", "-") for cell in cells]


def fill_in(data: dict[str, Any], *, has_header: bool) -> None:
    """What a person does who looks at the file."""
    data["owner"] = "data@example.org"
    data["deidentified"] = {
        "method": "synthetic", "attested_by": "jane.roe", "attested_on": "2026-01-15",
    }  # fmt: skip
    data["on_violation"]["max_phi_ratio"] = 1.0
    if data["files"].get("header") == TO_FILL:
        data["files"]["header"] = has_header
    names = {rule.get("in_file", name): name for name, rule in data["columns"].items()}
    label = names.get("label") or names[3]
    if data["task"]["target"] in (TO_FILL, data["task"]["input"]):
        data["task"]["target"], data["task"]["labels"] = label, {"a": "it is a", "b": "it is b"}
    labels = data["task"]["labels"]
    data["task"]["labels"] = {k: f"it is {k}" if v == TO_FILL else v for k, v in labels.items()}
    for rule in data["columns"].values():
        if rule.get("format") == TO_FILL:
            rule["format"] = "%m/%d/%Y"

"""Whatever a table holds and its columns are called, its draft passes, once signed, and lands."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from catalog.contracts.contract import SourceContract
from catalog.contracts.load import TO_FILL, parse_contract, parse_yaml
from catalog.intake.drafting import check_sample, draft_contract
from catalog.intake.landing import ingest
from catalog.readers.headers import is_number_like
from tests.catalog.lakes import RUN, fresh_lake

N = 24
Table = list[tuple[str, Any]]
TEXTS = [f"a shadow of {n} millimetres in the left part, which has not changed" for n in range(N)]
LABELS = {"yes": ["yes", "no"], "0": ["0", "1"], "True": ["true", "false"]}
SIGNED = {
    "method": "synthetic", "attested_by": "jane.roe", "attested_on": "2026-01-15",
    "other_scripts_read": True,  # cells are drawn from all letters there are
}  # fmt: skip
NASTY = [
    "_id", "__index_level_0__", "patient's age", "a;b", "ID", "id", "Id", "recorded_at", "select",
    "null", "true", "Jane Doe", "2019", "0", "größe", "年齢", "a.b", "a b", " a", "a ", "rowid",
    "label (0/1)", '"', "\\", "x\ny", "_split", "text", "n", "item", "column_3", "straße",
    "filename", "STRASSE", "i̇", "-", "#", "e\u0301", "file_row_number", "[0]", "{x}", "a,b", "a:b",
    "*", "|", "",
]  # fmt: skip
# A file that begins with a null character or a byte order mark is read or refused as such
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")
PLAIN_TEXT = st.text(LETTERS, max_size=12)
NAMES = st.one_of(st.sampled_from(NASTY), PLAIN_TEXT)
DAY = st.dates(date(1, 1, 1), date(9999, 12, 31))
MOMENT = DAY.map(lambda day: datetime.combine(day, datetime.min.time()) + timedelta(microseconds=7))
TEXT = st.sampled_from(["left", "right", "both", "007", "1e5", "+1", "ü", " ", "x" * 70, "nan"])
BYTES = st.binary(max_size=6)


def of(kind: pa.DataType, cells: st.SearchStrategy[Any]) -> st.SearchStrategy[pa.Array]:
    whole = st.lists(st.one_of(st.none(), cells), min_size=N, max_size=N)
    return st.one_of(whole, st.lists(cells, min_size=N, max_size=N)).map(
        lambda c: pa.array(c, kind)
    )


def extension(kind: Any, storage: st.SearchStrategy[pa.Array]) -> st.SearchStrategy[pa.Array]:
    return storage.map(lambda cells: pa.ExtensionArray.from_storage(kind, cells))


BITS = [8, 16, 32, 64]
WHOLE = {getattr(pa, f"int{b}")(): st.integers(-(2 ** (b - 1)), 2 ** (b - 1) - 1) for b in BITS}
WHOLE |= {getattr(pa, f"uint{b}")(): st.integers(0, 2**b - 1) for b in BITS}
MOMENTS = [pa.timestamp(unit, tz) for unit in ("s", "ms", "us") for tz in (None, "Asia/Tokyo")]
ARRAYS = st.one_of(
    *(of(kind, cells) for kind, cells in WHOLE.items()),
    *(of(kind, st.floats(width=32)) for kind in (pa.float32(), pa.float64())),
    of(pa.float64(), st.sampled_from([0.0, 1.0, float("nan"), 2.0**60])),
    of(pa.float64(), st.integers(0, 9).map(float)),
    of(pa.bool_(), st.booleans()),
    *(
        of(kind, TEXT)
        for kind in (
            pa.string(),
            pa.large_string(),
            pa.string_view(),
            pa.dictionary(pa.int8(), pa.string()),
        )
    ),
    *(of(kind, BYTES) for kind in (pa.binary(), pa.large_binary())),
    of(pa.binary(3), st.binary(min_size=3, max_size=3)),
    of(pa.decimal128(9, 2), st.decimals("-999", "999", places=2)),
    of(pa.decimal128(38, 0), st.integers(0, 10**37).map(Decimal)),
    of(pa.decimal256(60, 20), st.decimals("0", "1e30", places=20)),
    of(pa.date32(), DAY),
    of(pa.date64(), DAY),
    *(of(kind, MOMENT) for kind in MOMENTS),
    of(pa.time32("s"), st.times().map(lambda t: t.replace(microsecond=0))),
    of(pa.time64("us"), st.times()),
    of(pa.duration("us"), st.timedeltas(timedelta(-9999), timedelta(9999))),
    of(pa.list_(pa.int8()), st.lists(st.integers(0, 9), max_size=3)),
    of(pa.struct({"a": pa.string()}), st.fixed_dictionaries({"a": TEXT})),
    of(
        pa.map_(pa.string(), pa.int8()),
        st.dictionaries(TEXT, st.integers(0, 9)).map(lambda pairs: [*pairs.items()]),
    ),
    of(pa.null(), st.none()),
    extension(pa.uuid(), of(pa.binary(16), st.binary(min_size=16, max_size=16))),
    extension(pa.json_(), of(pa.string(), st.sampled_from(["{}", '{"a": 1}', "null"]))),
    extension(pa.bool8(), of(pa.int8(), st.integers(0, 1))),
)  # fmt: skip
CELLS = st.one_of(
    st.lists(cells, min_size=N, max_size=N)
    for cells in (
        TEXT, st.integers(), st.integers(-(2**64), 2**64), st.integers(0, 1),
        st.floats(allow_nan=True), st.sampled_from([0.5, 1, "x"]), st.booleans(),
        st.sampled_from(["2026-01-15", None]), st.sampled_from([["a"], {"b": 1}, None]),
        st.sampled_from(["00417736", "417736"]), st.sampled_from(["1.0", "0.0", ""]),
        st.text(LETTERS, max_size=9),
    )
)  # fmt: skip


@st.composite
def tables(draw: Any, cells: st.SearchStrategy[Any], *, is_keyed: bool = False) -> Table:
    """Names with cells: a key, a text and a label at any place among others.

    Keys of JSON have no place to be called by, so there the three have names that may be shown.
    """
    others = draw(st.lists(cells, max_size=5))
    answers = draw(st.sampled_from([["yes", "no"], [0, 1], [True, False]]))
    named = {"row id": [f"r{n}" for n in range(N)], "words": TEXTS, "is so": answers * (N // 2)}
    columns = [*named.items(), *((None, column) for column in others)]
    called = st.lists(NAMES, min_size=len(columns), max_size=len(columns), unique=True)
    names = draw(called.filter(lambda found: not named.keys() & set(found)))
    given_names = [
        (name if is_keyed and name else free, column)
        for (name, column), free in zip(columns, names, strict=True)
    ]
    return list(draw(st.permutations(given_names)))


def signed(draft: str, table: Table) -> SourceContract:
    """The draft as a person would fill it in, who looks at the table."""
    data = parse_yaml(draft, file="x.yaml")
    data["deidentified"] = SIGNED
    data["on_violation"]["max_phi_ratio"] = 1.0
    data["owner"] = "data@example.org"
    files, task, columns = data["files"], data["task"], data["columns"]
    if files.get("header") == TO_FILL:
        files["header"] = True
    names = [name for name, _ in table]
    places = {
        places_of.get(rule.get("in_file", name), rule.get("in_file")): name
        for places_of in [{name: at for at, name in enumerate(names, start=1)}]
        for name, rule in columns.items()
    }
    first = {str(cells[0]): places.get(at) for at, (_, cells) in enumerate(table, start=1)}
    task["input"] = next(name for cell, name in first.items() if cell.startswith("a shadow"))
    if task["target"] in (TO_FILL, task["input"]):
        answer = next(cell for cell in LABELS if cell in first)
        task["target"], task["labels"] = first[answer], {label: label for label in LABELS[answer]}
    task["labels"] = {
        label: f"it is {label}" if prompt == TO_FILL else prompt
        for label, prompt in task["labels"].items()
    }
    return parse_contract(json.dumps(data), file="x.yaml")


@contextmanager
def delivered(table: Table, file_format: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / f"reports.{file_format}"
        names, columns = [name for name, _ in table], [cells for _, cells in table]
        if file_format == "parquet":
            arrays = [c if isinstance(c, pa.Array) else pa.array(c) for c in columns]
            pq.write_table(pa.table(arrays, names=names), path)
        elif file_format == "jsonl":
            rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([names, *zip(*columns, strict=True)])
        yield path


def land(table: Table, file_format: str) -> None:
    """Draft, sign, check and ingest; all rows land, whatever the columns are."""
    with delivered(table, file_format) as path, fresh_lake(path.parent) as lake:
        contract = signed(draft_contract(str(path)), table)
        assert check_sample(contract) == []
        (batch,) = ingest(lake, contract, run=RUN, scratch=path.parent).batches
        # The gate may find a drawn number to look like a card's; nothing else is set aside
        assert (batch.n_accepted + batch.n_phi, batch.reasons) == (N, ())
        landed = lake.table(f'SELECT * FROM raw."{contract.source}"')
        assert landed.num_rows == batch.n_accepted


def is_refused(names: list[str]) -> bool:
    """Whether a first line is one that a draft refuses: a row of data."""
    return any(map(is_number_like, names))


SOME = settings(max_examples=3, deadline=None, phases=[Phase.generate], derandomize=True)


@SOME
@given(tables(ARRAYS))
def test_a_draft_of_any_parquet_file_passes_and_lands(table):
    land(table, "parquet")


@SOME
@given(tables(CELLS, is_keyed=True))
def test_a_draft_of_any_json_lines_passes_and_lands(table):
    land(table, "jsonl")


@SOME
@given(tables(CELLS).filter(lambda table: not is_refused([name for name, _ in table])))
def test_a_draft_of_any_csv_file_passes_and_lands(table):
    land(table, "csv")

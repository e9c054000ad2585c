"""Nested columns: paths, joined and exploded lists, mapped cells, the same from every format."""

from __future__ import annotations

import base64
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.contracts.contract import ColumnRule
from catalog.contracts.load import parse_contract
from catalog.contracts.paths import PathFaultError, path_steps
from catalog.readers.files import FileUnreadable
from catalog.readers.formats import open_batches
from catalog.readers.nested import reach
from tests.catalog.contracts.test_contract import faults_of, with_column
from tests.catalog.intake.test_landing import World
from tests.catalog.lakes import fresh_lake

ROWS = [
    {
        "id": "a",
        "who": {"pseudo": "p1", "study.id": "s-1", "größe": 2**60 + 1},
        "notes": [{"text": "one", "tags": ["x", "y"]}, {"text": None, "tags": []}, None],
    },
    {"id": "b", "who": None, "notes": []},
    {"id": "c", "notes": None},
    {"id": "d", "who": {"pseudo": None}, "notes": [{"text": "four"}]},
]
FORMATS = ["jsonl", "parquet"]


def rule(kind: str = "string", **said) -> ColumnRule:
    """A column's rule as YAML says it; `path` is its `from`."""
    if "path" in said:
        said["from"] = said.pop("path")
    return ColumnRule(type=kind, **said)


def delivered(tmp_path, file_format, rows=ROWS):
    path = tmp_path / f"a.{file_format}"
    if file_format == "parquet":
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
        pq.write_table(table, path)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return str(path)


def read(tmp_path, file_format, columns, rows=ROWS, **limits):
    path = delivered(tmp_path, file_format, rows)
    return list(open_batches(path, file_format, columns=columns, **limits))


def cells(batches, name):
    return [cell for batch in batches for cell in batch.table.column(name).to_pylist()]


PATHS = {
    "field": ("who.pseudo", {}, ["p1", None, None, None]),
    "quoted": ('who."study.id"', {}, ["s-1", None, None, None]),
    "unicode, past 2**53": ("who.größe", {"kind": "integer"}, [2**60 + 1, None, None, None]),
    "first": ("notes[0].text", {}, ["one", None, None, "four"]),
    "last": ("notes[-1].text", {}, [None, None, None, "four"]),
    "joined": ("notes[].text", {"join": "; "}, ["one", None, None, "four"]),
    "lists in lists": ("notes[].tags[]", {"join": ","}, ["x,y", None, None, None]),
    "a list at the end": ("notes[0].tags", {"join": ","}, ["x,y", None, None, None]),
    "a condition": ("notes[text=four].text", {}, [None, None, None, "four"]),
    "a beginning": ("notes[text=o*].text", {}, ["one", None, None, None]),
    "top": ("id", {}, ["a", "b", "c", "d"]),
    "two": (["id", "who.pseudo"], {"join": "/"}, ["a/p1", "b", "c", "d"]),
    "a key of two": (["id", "who.pseudo"], {"join": "/", "key": True}, ["a/p1", None, None, None]),
}


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", PATHS)
def test_paths(tmp_path, file_format, name):
    path, said, expected = PATHS[name]
    (batch,) = read(tmp_path, file_format, {"cell": rule(path=path, **said)})
    assert batch.table.column("cell").to_pylist() == expected
    assert (batch.bad_cells, batch.missing_columns) == ([], ())


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_list_makes_a_row_of_each_element(tmp_path, file_format):
    columns = {
        "key": rule(path=["id", "notes[#]"], join="-", key=True),
        "id": rule(),
        "at": rule("integer", path="notes[#]"),
        "text": rule(path="notes[].text", explode=True),
        "tags": rule(path="notes[].tags", explode=True, join="+"),
        "who": rule(path="who.pseudo"),
    }
    (batch,) = read(tmp_path, file_format, columns)
    assert batch.table.to_pylist() == [
        {"key": "a-1", "id": "a", "at": 1, "text": "one", "tags": "x+y", "who": "p1"},
        {"key": "a-2", "id": "a", "at": 2, "text": None, "tags": None, "who": "p1"},
        {"key": "a-3", "id": "a", "at": 3, "text": None, "tags": None, "who": "p1"},
        {"key": "d-1", "id": "d", "at": 1, "text": "four", "tags": None, "who": None},
    ]
    assert list(batch.numbers) == [1, 1, 1, 4]
    assert (batch.bad_cells, batch.unknown_columns) == ([], ())


@pytest.mark.parametrize("file_format", FORMATS)
def test_lists_inside_lists_make_rows_too(tmp_path, file_format):
    rows = [
        {"s": "1", "series": [{"n": "u", "im": [{"x": 1}, {"x": 2}]}, {"n": "v", "im": [{"x": 3}]}]}
    ]
    columns = {
        "k": rule(path=["s", "series[].n", "series[].im[#]"], join=".", explode=True, key=True),
        "n": rule(path="series[].n", explode=True),
        "x": rule("integer", path="series[].im[].x", explode=True),
    }
    (batch,) = read(tmp_path, file_format, columns, rows)
    assert batch.table.to_pylist() == [
        {"k": "1.u.1", "n": "u", "x": 1},
        {"k": "1.u.2", "n": "u", "x": 2},
        {"k": "1.v.1", "n": "v", "x": 3},
    ]


def test_what_is_no_list_and_no_object_is_a_bad_cell(tmp_path):
    rows = [
        {"id": "a", "who": "Jane", "notes": {"text": "x"}},
        {"id": "b", "who": ["Jane"], "notes": ["x", {"text": "y"}]},
        {"id": "c", "who": {"pseudo": {"n": 1}}, "notes": [{"text": "x"}, {"text": "x"}]},
    ]
    columns = {
        "id": rule(),
        "who": rule(path="who.pseudo"),
        "joined": rule(path="notes[].text", join=";"),
        "one": rule(path="notes[text=x].text"),
    }
    (batch,) = read(tmp_path, "jsonl", columns, rows)
    bad = {(cell.row, cell.column): cell.reason for cell in batch.bad_cells}
    assert bad == {
        (0, "who"): "wrong_type",
        (1, "who"): "wrong_type",
        (2, "who"): "wrong_type",
        (0, "joined"): "wrong_type",
        (1, "joined"): "wrong_type",
        (0, "one"): "wrong_type",
        (2, "one"): "several_values",
    }
    assert batch.table.column("one").to_pylist() == [None, None, None]


def test_what_should_be_exploded_and_is_no_list_is_a_bad_row(tmp_path):
    columns = {
        "id": rule(key=True, path=["i", "notes[#]"], join="-"),
        "t": rule(path="notes[].t", explode=True),
    }
    rows = [{"i": "a", "notes": "Jane"}, {"i": "b", "notes": [{"t": "x"}]}]
    (batch,) = read(tmp_path, "jsonl", columns, rows)
    assert [(c.row, c.column, c.reason) for c in batch.bad_cells] == [(0, "t", "wrong_type")]
    assert batch.table.num_rows == 2


@pytest.mark.parametrize("file_format", FORMATS)
def test_columns_that_a_file_lacks_are_told_from_nulls(tmp_path, file_format):
    rows = [{"id": "a", "who": {"x": 1}, "more": 1}, {"id": "b", "who": None, "more": 2}]
    columns = {"id": rule(), "x": rule("integer", path="who.x"), "y": rule(path="who.y.z")}
    (batch,) = read(tmp_path, file_format, columns, rows)
    assert (batch.unknown_columns, batch.missing_columns) == (("more",), ("y",))


def test_a_name_at_the_top_may_hold_a_dot(tmp_path):
    rows = [{"a.b": "top", "a": {"b": "below"}}]
    for file_format in FORMATS:
        columns = {
            "one": rule(in_file="a.b"),
            "two": rule(path="a.b"),
            "three": rule(path='"a.b"', map={"top": "T"}),
        }
        (batch,) = read(tmp_path, file_format, {k: columns[k] for k in ("one", "two")}, rows)
        assert batch.table.to_pylist() == [{"one": "top", "two": "below"}]
        assert batch.unknown_columns == ()
        (batch,) = read(tmp_path, file_format, {"three": columns["three"]}, rows)
        assert (batch.table.to_pylist(), batch.unknown_columns) == ([{"three": "T"}], ("a",))


STORED = {
    "large": pa.array([[{"t": "x"}], None], pa.large_list(pa.struct([("t", pa.large_string())]))),
    "view": pa.array([[{"t": "x"}], None], pa.list_view(pa.struct([("t", pa.string())]))),
    "fixed": pa.array([[{"t": "x"}], [None]], pa.list_(pa.struct([("t", pa.string())]), 1)),
    "dictionary": pa.ListArray.from_arrays(
        pa.array([0, 1, 1], pa.int32()),
        pa.StructArray.from_arrays([pa.array(["x"]).dictionary_encode()], ["t"]),
        mask=pa.array([False, True]),
    ),
}


@pytest.mark.parametrize("name", STORED)
def test_lists_of_every_kind_in_parquet(tmp_path, name):
    table = pa.table({"a": STORED[name]})
    columns = {"t": rule(path="a[0].t"), "j": rule(path="a[].t", join=";")}
    (batch,) = read(tmp_path, "parquet", columns, table)
    assert batch.table.to_pylist() == [{"t": "x", "j": "x"}, {"t": None, "j": None}]


def test_maps_in_parquet_are_walked_by_their_keys(tmp_path):
    kind = pa.map_(pa.string(), pa.struct([("v", pa.int64())]))
    column = pa.array([[("k.1", {"v": 7}), ("z", None)], None, []], kind)
    columns = {"v": rule("integer", path='m."k.1".v')}
    (batch,) = read(tmp_path, "parquet", columns, pa.table({"m": column}))
    assert batch.table.column("v").to_pylist() == [7, None, None]


def test_types_that_parquet_stores_otherwise_are_refused_in_words(tmp_path):
    for path, said, what in (
        ("notes.text", {}, "has a list where its path has no brackets"),
        ("notes", {}, "holds nested and not string"),
        ("id.x", {}, "has no fields"),
        ("who[0].pseudo", {}, "has no list where its path has brackets"),
        ("who.pseudo", {"kind": "integer"}, "holds string and not integer"),
    ):
        with pytest.raises(FileUnreadable, match=what):
            read(tmp_path, "parquet", {"cell": rule(path=path, **said)})


def test_only_the_leaves_that_are_wanted_are_read(tmp_path):
    inner = pa.array([{"a": "x", "b": "y" * 1000}] * 3)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"s": inner}), path)
    damaged = bytearray(path.read_bytes())
    at = pq.ParquetFile(path).metadata.row_group(0).column(1).data_page_offset
    damaged[at : at + 20] = b"\xff" * 20
    path.write_bytes(bytes(damaged))
    (batch,) = open_batches(str(path), "parquet", columns={"a": rule(path="s.a")})
    assert batch.table.column("a").to_pylist() == ["x"] * 3
    with pytest.raises(FileUnreadable):
        list(open_batches(str(path), "parquet", columns={"b": rule(path="s.b")}))


def test_batches_of_exploded_texts_stay_small(tmp_path):
    rows = [{"id": "a", "long": "x" * (1 << 20), "n": [{"v": i} for i in range(200)]}]
    columns = {"long": rule(), "v": rule("integer", path="n[].v", explode=True)}
    for file_format in FORMATS:
        batches = read(tmp_path, file_format, columns, rows)
        assert max(batch.table.nbytes for batch in batches) < 40 << 20
        assert cells(batches, "v") == list(range(200))


nodes = st.recursive(
    st.none() | st.text(max_size=3) | st.integers(-(2**63), 2**63 - 1),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b.c", "ü"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def peer(node, steps):
    """What the path means, written as plainly as can be; raises where it leads nowhere."""
    if not steps or node is None:
        return node
    first, *rest = steps
    if isinstance(first, int):
        if not isinstance(node, list):
            raise TypeError
        return peer(node[first], rest) if first < len(node) else None
    if not isinstance(node, dict):
        raise TypeError
    return peer(node.get(first), rest)


@settings(max_examples=150)
@given(nodes, st.lists(st.sampled_from(["a", "b.c", "ü", 0, 1]), max_size=3))
def test_walking_equals_a_plain_walk(tmp_path_factory, node, steps):
    steps = ["top", *steps]
    text = "top" + "".join(f"[{s}]" if isinstance(s, int) else f'."{s}"' for s in steps[1:])
    path = tmp_path_factory.mktemp("n") / "a.jsonl"
    path.write_text(json.dumps({"top": node}) + "\n")
    (batch,) = open_batches(str(path), "jsonl", columns={"x": rule("integer", path=text)})
    try:
        expected = peer({"top": node}, steps)
    except TypeError:
        expected = "bad"
    is_bad = isinstance(expected, str | list | dict)
    assert [c.reason for c in batch.bad_cells] == (["wrong_type"] if is_bad else [])
    assert batch.table.column("x").to_pylist() == [None if is_bad else expected]


@pytest.mark.parametrize(
    "text", ["", ".a", "a.", "a..b", "a[", "a[x]", "a[=x]", "a[x=]", "a]", "a[]b", "a[#].b", '"a']
)
def test_texts_that_are_no_path(text):
    with pytest.raises(PathFaultError):
        path_steps(text)


def test_conditions_may_hold_any_sign():
    ((found,), _) = reach(
        {"x": [{"u.v": "http://a/b.c]", "w": 1}, {"u.v": "z", "w": 2}]},
        path_steps('x["u.v"="http://a/b.c]"].w'),
    )
    assert found == 1


MAPS = {
    "csv": ("id,v\na,0\nb, 1\nc,1.0\nd,\ne,2\n", ["neg", "pos", "pos", None, None]),
    "jsonl": (
        '{"id":"a","v":0}\n{"id":"b","v":"1"}\n{"id":"c","v":1.0}\n{"id":"d"}\n{"id":"e","v":true}\n',
        ["neg", "pos", "pos", None, None],
    ),
}


@pytest.mark.parametrize("file_format", MAPS)
def test_maps_say_what_lands(tmp_path, file_format):
    text, expected = MAPS[file_format]
    path = tmp_path / f"a.{file_format}"
    path.write_text(text)
    columns = {"id": rule(), "v": rule(map={"0": "neg", "1": "pos"}, nullable=True)}
    (batch,) = open_batches(str(path), file_format, columns=columns)
    assert batch.table.column("v").to_pylist() == expected
    assert [tuple(cell) for cell in batch.bad_cells] == [(4, "v", "not_in_map")]


def test_maps_of_truth_values_and_to_every_type(tmp_path):
    table = pa.table({"b": [True, False, None], "t": ["y", "n", "u"], "d": [1, 2, 3]})
    columns = {
        "b": rule(map={"True": "yes", "false": "no"}, nullable=True),
        "t": rule("boolean", map={"y": True, "n": False, "u": None}, nullable=True),
        "d": rule("number", map={"1": 0.5, "2": 1, "3": 2}),
    }
    (batch,) = read(tmp_path, "parquet", columns, table)
    assert batch.bad_cells == []
    assert batch.table.to_pydict() == {
        "b": ["yes", "no", None],
        "t": [True, False, None],
        "d": [0.5, 1.0, 2.0],
    }


def test_base64_is_decoded_as_text(tmp_path):
    coded = [base64.b64encode(text).decode() for text in ("Bericht ü".encode(), b"\xff\xfe")]
    rows = [
        {"a": {"d": c}} for c in [*coded, "no base64!", None, coded[0][:8] + "\n" + coded[0][8:]]
    ]
    (batch,) = read(tmp_path, "jsonl", {"t": rule(path="a.d", decode="base64")}, rows)
    assert batch.table.column("t").to_pylist() == ["Bericht ü", None, None, None, "Bericht ü"]
    assert [(c.row, c.reason) for c in batch.bad_cells] == [(1, "invalid_utf8"), (2, "not_base64")]


def test_drift_between_files_is_settled_by_the_rule(tmp_path):
    columns = {"id": rule(key=True), "n": rule("number"), "late": rule(nullable=True)}
    tables = [
        pa.table({"id": [1, 2], "n": pa.array([1, 2], pa.int32())}),
        pa.table({"id": ["3"], "n": [0.5], "late": ["x"]}),
        pa.table({"id": pa.array(["4"]).dictionary_encode(), "n": pa.array([3], pa.uint8())}),
    ]
    batches = [batch for table in tables for batch in read(tmp_path, "parquet", columns, table)]
    assert cells(batches, "id") == ["1", "2", "3", "4"]
    assert cells(batches, "n") == [1.0, 2.0, 0.5, 3.0]
    assert [batch.missing_columns for batch in batches] == [("late",), (), ("late",)]


def with_rule(file_format="jsonl", **said):
    data = with_column("extra", **{"type": "string", "nullable": True, **said})
    return {**data, "files": {"path": f"/data/*.{file_format}", "format": file_format}}


FAULTY = {
    "both": (with_rule(in_file="a", **{"from": "a"}), "columns.extra.from", "beside `in_file`"),
    "no path": (with_rule(**{"from": "a..b"}), "columns.extra.from", "is no path"),
    "flat": (with_rule("csv", **{"from": "a.b"}), "columns.extra.from", "nested column"),
    "flat join": (with_rule("csv", join=","), "columns.extra.join", "nested columns only"),
    "open list": (with_rule(**{"from": "a[].b"}), "columns.extra.from", "has []"),
    "joined number": (with_rule(type="integer", join=","), "columns.extra.join", "makes a text"),
    "several": (with_rule(**{"from": ["a", "b"]}), "columns.extra.from", "several paths"),
    "the key repeats": (with_rule(explode=True), "columns.id", "same in every row"),
    "empty map": (with_rule(map={}), "columns.extra.map", "too few"),
    "map to another type": (with_rule(map={"a": 1}), "columns.extra.map.a", "no value of type"),
    "map of dates": (
        with_rule(type="date", map={"a": "b"}),
        "columns.extra.map",
        "not for columns",
    ),
    "map to null": (with_rule(map={"a": None}, nullable=False), "columns.extra.map.a", "is null"),
    "counted": (with_rule(**{"from": "a[#]"}), "columns", "no column explodes"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faults_of_rules(name):
    data, path, what = FAULTY[name]
    assert what in faults_of(data)[path][0]


def test_a_name_of_one_step_is_legal_in_every_table():
    for file_format in ("csv", "jsonl", "parquet", "xlsx"):
        text = yaml.safe_dump(with_rule(file_format, **{"from": "a"}), sort_keys=False)
        assert parse_contract(text, file="site_a.yaml").columns["extra"].from_ == "a"


def test_exploded_rows_land_once_each_and_say_their_line(tmp_path):
    with fresh_lake(tmp_path) as lake:
        world = World(lake, tmp_path)
        columns = {
            "id": {"type": "string", "key": True, "from": ["r", "n[#]"], "join": "#"},
            "text": {"type": "string", "from": "n[].t", "explode": True},
            "label": {"type": "string", "nullable": True, "map": {"1": "yes", "0": "no"}},
            "x": {"type": "string", "from": "who.id", "nullable": True},
        }
        lines = [
            {
                "r": f"r{i}",
                "label": i % 2,
                "who": {"id": f"g{i}"},
                "n": [{"t": f"text {i} {j}"} for j in range(3)],
            }
            for i in range(10)
        ]
        lines[4]["n"][1]["t"] = ["no text"]
        world.deliver("a.jsonl", lines)
        contract = world.contract(columns=columns)
        (batch,) = world.ingest(contract).batches
        assert (batch.n_rows, batch.n_accepted, batch.n_quarantined) == (30, 29, 1)
        aside = lake.rows("SELECT _row_number, _reasons FROM quarantine.site_a")
        assert [(row["_row_number"]) for row in aside] == [5]
        rows = lake.rows("SELECT id, label, x FROM raw.site_a ORDER BY id")
        assert rows[0] == {"id": "r0#1", "label": "no", "x": "g0"}
        assert len({row["id"] for row in rows}) == 29
        assert world.ingest(contract).batches == ()


def test_siblings_with_one_key_are_a_fault_that_names_their_line(tmp_path):
    with fresh_lake(tmp_path) as lake:
        world = World(lake, tmp_path)
        columns = {
            "id": {"type": "string", "key": True, "from": "n[].k", "explode": True},
            "text": {"type": "string", "from": "n[].t", "explode": True},
            "label": {"type": "string", "nullable": True},
            "x": {"type": "string", "nullable": True},
        }
        lines = [{"n": [{"k": f"{i}", "t": "a"}]} for i in range(5)]
        lines.append(
            {"n": [{"k": "same", "t": "b"}, {"k": "same", "t": "c"}, {"k": "o", "t": "d"}]}
        )
        world.deliver("a.jsonl", lines)
        with pytest.raises(Exception, match="duplicate_key"):
            world.ingest(world.contract(columns=columns))
        aside = lake.rows("SELECT _row_number, _row_json FROM quarantine.site_a")
        assert [(row["_row_number"], json.loads(row["_row_json"])["text"]) for row in aside] == [
            (6, "b"),
            (6, "c"),
        ]

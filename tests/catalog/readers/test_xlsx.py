"""Excel workbooks: cells as openpyxl reads them, rows by the sheet's numbers, faults in words."""

from __future__ import annotations

import re
import tracemalloc
import zipfile
from datetime import UTC, date, datetime, time, timedelta

import openpyxl
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from openpyxl.xml.constants import SHEET_MAIN_NS

from catalog.contracts.files import Excel
from catalog.readers.files import FileUnreadable
from catalog.readers.formats import format_of_name, open_batches
from rpe_core.errors import InputError
from tests.catalog.contracts.test_contract import faults_of, with_column
from tests.catalog.intake.test_landing import World
from tests.catalog.lakes import fresh_lake
from tests.catalog.readers.test_nested import cells, rule

SECRET = "Jöhn Q. Geheim"


def book(tmp_path, rows, *, name="a.xlsx", change=None, epoch=None):
    """A workbook with a sheet of these rows; `change` gets the workbook before it is saved."""
    made = openpyxl.Workbook()
    if epoch is not None:
        made.epoch = epoch
    for row in rows:
        made.active.append(row)
    if change is not None:
        change(made)
    path = tmp_path / name
    made.save(path)
    return str(path)


def patched(path, pattern, new, *, part="xl/worksheets/sheet1.xml"):
    """The workbook with something else in one of its parts."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    text, count = re.subn(pattern, new, parts[part].decode())
    assert count
    parts[part] = text.encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def shared(path):
    """The workbook with its texts in one table, as Excel writes it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    texts: dict[str, int] = {}

    def moved(found):
        place = texts.setdefault(found[2], len(texts))
        return f'<c{found[1]}t="s"><v>{place}</v></c>'

    sheet = "xl/worksheets/sheet1.xml"
    pattern = r'<c([^>]*?)t="inlineStr"><is><t[^>]*>(.*?)</t></is></c>'
    parts[sheet] = re.sub(pattern, moved, parts[sheet])
    items = "".join(f"<si><t>{text}</t></si>" for text in texts)
    parts["xl/sharedStrings.xml"] = f'<sst xmlns="{SHEET_MAIN_NS}">{items}</sst>'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    types = "[Content_Types].xml"
    if kind not in parts[types]:
        told = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
        parts[types] = parts[types].replace("</Types>", told)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def read(path, columns, **options):
    excel = Excel(**{k: v for k, v in options.items() if k != "has_header"})
    header = {k: v for k, v in options.items() if k == "has_header"}
    return list(open_batches(path, "xlsx", columns=columns, excel=excel, **header))


def bad(batches):
    return [(b.numbers[c.row], c.column, c.reason) for b in batches for c in b.bad_cells]


COLUMNS = {
    "id": rule(key=True),
    "age": rule("integer", nullable=True),
    "score": rule("number", nullable=True),
    "is_new": rule("boolean", nullable=True),
    "on": rule("date", nullable=True),
    "at": rule("timestamp", nullable=True),
    "text": rule(nullable=True),
}
NOON = datetime.fromisoformat("2026-01-15T12:30:05")


@pytest.mark.parametrize("epoch", [None, CALENDAR_MAC_1904])
def test_cells_are_what_they_are_typed_as(tmp_path, epoch):
    rows = [
        [*COLUMNS],
        [17, 41, 0.5, True, date(2026, 1, 15), NOON, "ü, \n<&>"],
        ["b", "42", "1e3", "false", "2026-01-15", "2026-01-15 12:30", 7],
        ["c", 3.0, 2, None, datetime.fromisoformat("1999-12-31"), date(2026, 1, 15), time(1, 2, 3)],
    ]
    (batch,) = read(book(tmp_path, rows, epoch=epoch), COLUMNS)
    assert batch.bad_cells == []
    day = date(2026, 1, 15)
    assert [tuple(row.values()) for row in batch.table.to_pylist()] == [
        ("17", 41, 0.5, True, day, NOON.replace(tzinfo=UTC), "ü, \n<&>"),
        ("b", 42, 1000.0, False, day, datetime(2026, 1, 15, 12, 30, tzinfo=UTC), "7"),
        ("c", 3, 2.0, None, date(1999, 12, 31), datetime(2026, 1, 15, tzinfo=UTC), "01:02:03"),
    ]


def test_cells_that_do_not_fit_are_told_by_the_row_of_the_sheet(tmp_path):
    rows = [["title"], [], [*COLUMNS], ["a", 1.5, "x", 1, NOON, 45000, 1.5], [], [None, True]]
    found = read(book(tmp_path, rows), COLUMNS, header_row=3)
    assert bad(found) == [
        (4, "age", "wrong_type"),
        (4, "at", "wrong_type"),
        (4, "is_new", "wrong_type"),
        (4, "on", "wrong_type"),
        (4, "score", "wrong_type"),
        (4, "text", "wrong_type"),
        (6, "age", "wrong_type"),
    ]


def test_values_of_a_larger_sheet_equal_those_of_openpyxl(tmp_path):
    rows = [["id", "age", "text"], *([f"k{n}", n, f"words {n % 7}"] for n in range(500))]
    path = book(tmp_path, rows)
    sheet = openpyxl.load_workbook(path, data_only=True).active
    expected = [*sheet.iter_rows(min_row=2, values_only=True)]
    found = read(path, {name: COLUMNS[name] for name in ("id", "age", "text")})
    assert [tuple(row.values()) for b in found for row in b.table.to_pylist()] == expected


def test_formulas_give_what_was_computed_last_and_errors_are_bad_cells(tmp_path):
    rows = [["id", "age"], ["a", "=1+1"], ["b", "=1+1"], ["c", "#N/A"], ["d", 4]]
    path = book(tmp_path, rows, change=lambda made: setattr(made.active["B4"], "data_type", "e"))
    patched(path, r'(<c r="B2"[^>]*><f>1\+1</f>)<v ?/?>(</v>)?', r"\g<1><v>2</v>")
    found = read(path, {"id": rule(), "age": rule("integer")})
    assert cells(found, "age") == [2, None, None, 4]
    assert bad(found) == [(3, "age", "not_computed"), (4, "age", "excel_error")]


def test_days_that_no_calendar_has(tmp_path):
    rows = [["id", "on"], *(["x", date(2026, 1, 1)] for _ in range(5))]
    path = book(tmp_path, rows)
    for number, count in (("2", "60"), ("3", "-3"), ("4", "99999999"), ("5", "61"), ("6", "1")):
        patched(path, rf'(<c r="B{number}"[^>]*>)<v>\d+</v>', rf"\g<1><v>{count}</v>")
    found = read(path, {"id": rule(), "on": rule("date")})
    assert cells(found, "on") == [None, None, None, date(1900, 3, 1), date(1900, 1, 1)]
    assert bad(found) == [(n, "on", "outside_calendar") for n in (2, 3, 4)]


def test_dates_before_1900_are_text_and_read_as_such(tmp_path):
    path = book(tmp_path, [["id", "on"], ["a", "1887-04-05"]])
    assert cells(read(path, {"id": rule(), "on": rule("date")}), "on") == [date(1887, 4, 5)]


def test_durations_are_seconds(tmp_path):
    path = book(tmp_path, [["id", "took"], ["a", timedelta(days=1, seconds=2)]])
    assert cells(read(path, {"id": rule(), "took": rule("number")}), "took") == [86402.0]


def test_inline_and_rich_texts(tmp_path):
    path = book(tmp_path, [["id", "text"], ["a", "x"]])
    inline = '<c r="B2" t="inlineStr"><is><r><t>one </t></r><r><t>two</t></r></is></c>'
    patched(path, r'<c r="B2"[^>]*>.*?</c>', inline)
    assert cells(read(path, {"id": rule(), "text": rule()}), "text") == ["one two"]


MERGED = [["id", "site"], ["a", "north"], ["b", None], ["c", None], ["d", "south"]]


@pytest.mark.parametrize(
    ("merged", "expected", "faults"),
    [
        (None, ["north", None, None, "south"], [(n, "site", "merged_cell") for n in (3, 4)]),
        ("empty", ["north", None, None, "south"], []),
        ("repeat", ["north", "north", "north", "south"], []),
    ],
)  # fmt: skip
def test_merged_cells_are_never_taken_for_empty_ones_in_silence(tmp_path, merged, expected, faults):
    path = book(tmp_path, MERGED, change=lambda made: made.active.merge_cells("B2:B4"))
    found = read(path, {"id": rule(), "site": rule(nullable=True)}, merged=merged)
    assert (cells(found, "site"), bad(found)) == (expected, faults)


def test_merged_titles_and_headers_of_two_rows(tmp_path):
    rows = [
        ["Study of 2024", None, None],
        ["id", "values", None],
        [None, "age", "score"],
        ["a", 1, 2],
    ]

    def change(made):
        for area in ("A1:C1", "A2:A3", "B2:C2"):
            made.active.merge_cells(area)

    path = book(tmp_path, rows, change=change)
    columns = {"id": rule(), "age": rule("integer"), "score": rule("integer")}
    (batch,) = read(path, columns, header_row=3)
    assert batch.table.to_pylist() == [{"id": "a", "age": 1, "score": 2}]
    assert (batch.bad_cells, batch.unknown_columns) == ([], ())


def test_columns_without_a_name_are_columns_only_where_a_cell_stands(tmp_path):
    rows = [
        ["id", None, "age", None],
        ["a", None, 1, None],
        ["b", None, 2, None],
        [None, None, None, ""],
    ]
    columns = {"id": rule(), "age": rule("integer")}
    (batch,) = read(book(tmp_path, rows), columns)
    assert (batch.table.num_rows, batch.unknown_columns) == (2, ())
    (batch,) = read(book(tmp_path, [*rows, ["c", None, 3, None, "note"]]), columns)
    assert batch.unknown_columns == ("column 5",)
    (batch,) = read(
        book(tmp_path, [*rows, ["c", None, 3, None, "note"]]), {**columns, "n": rule(in_file=5)}
    )
    assert (cells([batch], "n"), batch.unknown_columns) == ([None, None, "note"], ())


def test_a_sheet_without_a_header_and_its_first_and_last_rows(tmp_path):
    rows = [["a", 1], ["b", 2], ["c", 3], ["sum", 6]]
    columns = {"id": rule(in_file=1), "n": rule("integer", in_file=2)}
    (batch,) = read(book(tmp_path, rows), columns, has_header=False, first_row=2, last_row=3)
    assert batch.table.to_pydict() == {"id": ["b", "c"], "n": [2, 3]}
    assert list(batch.numbers) == [2, 3]


def with_sheets(made):
    made.active.title = "Codes"
    made.active.append(["x"])
    for name in ("Findings", SECRET, "Empty"):
        made.create_sheet(name)
    made["Findings"].append(["id"])
    made["Findings"].append(["a"])
    made[SECRET].append(["id"])
    made[SECRET].sheet_state = "hidden"


def test_a_sheet_is_named_or_the_only_one(tmp_path):
    path = book(tmp_path, [], change=with_sheets)
    columns = {"id": rule()}
    assert cells(read(path, columns, sheet="Findings"), "id") == ["a"]
    assert cells(read(path, columns, sheet=2), "id") == ["a"]
    with pytest.raises(FileUnreadable, match="2 of its sheets hold cells") as caught:
        read(path, columns)
    assert "'Findings'" in str(caught.value)
    with pytest.raises(FileUnreadable, match="no sheet of the name or place") as caught:
        read(path, columns, sheet="Elsewhere")
    assert "Geheim" not in str(caught.value)
    assert "3" in str(caught.value)
    alone = book(tmp_path, [["id"], ["b"]], change=lambda made: made.create_sheet("Empty"))
    assert cells(read(alone, columns), "id") == ["b"]


def test_a_header_of_another_table_is_counted_and_not_shown(tmp_path):
    path = book(tmp_path, [[SECRET, 41], ["x", 7]])
    with pytest.raises(FileUnreadable, match="has 2 names and none is a column") as caught:
        read(path, {"id": rule(), "age": rule()})
    assert "Geheim" not in str(caught.value)
    with pytest.raises(FileUnreadable, match="row 9 of its sheet holds no cell"):
        read(path, {"id": rule()}, header_row=9)
    with pytest.raises(FileUnreadable, match="1 of its 2 column names repeat"):
        read(book(tmp_path, [["id", "id"], ["a", "b"]]), {"id": rule()})


def ole(stream):
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + stream.encode("utf-16-le")


OTHERS = {
    "protected": (ole("EncryptedPackage"), "protected by a password"),
    "xls": (ole("Workbook"), "the old Excel format .xls"),
    "html": (b"<html><table><tr><td>1</td></tr></table></html>", "no Excel workbook, whatever"),
    "csv": (b"id,age\na,1\n", "no Excel workbook, whatever"),
    "empty": (b"", "it is empty"),
    "cut off": (b"PK\x03\x04" + b"\0" * 50, "damaged or cut off"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_workbook_is_refused_in_true_words(tmp_path, name):
    content, what = OTHERS[name]
    path = tmp_path / "a.xlsx"
    path.write_bytes(content)
    with pytest.raises(FileUnreadable, match=what):
        read(str(path), {"id": rule()})


@pytest.mark.parametrize(
    ("part", "what"),
    [("xl/workbook.bin", r"\.xlsb"), ("content.xml", "OpenDocument"), ("x", "damaged")],
)
def test_archives_of_other_programs(tmp_path, part, what):
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "x")
        archive.writestr(part, "x")
    with pytest.raises(FileUnreadable, match=what):
        read(str(path), {"id": rule()})


@pytest.mark.parametrize("ending", [".xls", ".xlsb", ".ods"])
def test_endings_of_other_spreadsheets_have_their_remedy(ending):
    with pytest.raises(InputError, match="spreadsheet of a format"):
        format_of_name(f"/data/a{ending}")
    assert format_of_name("/data/a.XLSM") == "xlsx"


def test_damage_inside_says_nothing_of_the_cells(tmp_path):
    for pattern, new in (
        (r"</row>", "<row>"),
        (r"<v>0</v>", "<v>999</v>"),
        (r"<v>0</v>", f"<v>{SECRET}</v>"),
    ):
        path = patched(shared(book(tmp_path, [["id"], [SECRET]])), pattern, new)
        with pytest.raises(FileUnreadable, match="damaged") as caught:
            read(path, {"id": rule()})
        assert "Geheim" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_shared_texts_are_read_by_their_places(tmp_path):
    path = shared(book(tmp_path, [["id", "text"], ["a", "one"], ["b", "zwei ü"], ["c", "one"]]))
    assert cells(read(path, {"id": rule(), "text": rule()}), "text") == ["one", "zwei ü", "one"]
    found = [row[1] for row in openpyxl.load_workbook(path).active.iter_rows(values_only=True)]
    assert found == ["text", "one", "zwei ü", "one"]


def test_entities_that_grow_are_refused(tmp_path):
    path = book(tmp_path, [["id"], ["a"]])
    patched(path, r"^", '<!DOCTYPE a [<!ENTITY b "bbbb">]>')
    with pytest.raises(FileUnreadable):
        read(path, {"id": rule()})


def test_memory_is_bounded(tmp_path):
    rows = [["id", "text"], *([f"k{n}", f"{n} " + "x" * 8000] for n in range(2500))]
    path = shared(book(tmp_path, rows))
    columns = {"id": rule(), "text": rule()}
    batches = open_batches(path, "xlsx", columns=columns, batch_rows=128)
    tracemalloc.start()
    n_rows = 0
    while (batch := next(batches, None)) is not None:
        n_rows += batch.table.num_rows
        del batch
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_rows == 2500
    assert peak < 10 << 20  # of 20 MB of texts


def test_faults_of_the_contract():
    for excel, path in (
        ({"first_row": 1}, "files.excel.first_row"),
        ({"header_row": 3, "last_row": 2}, "files.excel.last_row"),
        ({"sheet": 0}, "files.excel.sheet"),
        ({"header_row": 0}, "files.excel.header_row"),
    ):
        data = with_column("age", type="integer")
        data["files"] = {"path": "/data/a.xlsx", "format": "xlsx", "excel": excel}
        assert path in faults_of(data)
    data["files"] = {"path": "/data/a.csv", "format": "csv", "excel": {}}
    assert "files.excel" in faults_of(data)


def test_a_workbook_lands_and_its_bad_rows_have_the_numbers_of_the_sheet(tmp_path):
    with fresh_lake(tmp_path) as lake:
        world = World(lake, tmp_path)
        rows = [["Report list"], ["id", "text", "label", "x"]]
        rows += [[n, f"note {n}", "yes" if n % 2 else "no", f"g{n}"] for n in range(20)]
        rows[7][0] = None
        book(world.inbox, rows)
        files = {"path": f"{world.inbox}/*.xlsx", "format": "xlsx", "excel": {"header_row": 2}}
        (batch,) = world.ingest(world.contract(files=files)).batches
        assert (batch.n_accepted, batch.n_quarantined) == (19, 1)
        aside = lake.rows("SELECT _row_number FROM quarantine.site_a")
        assert [row["_row_number"] for row in aside] == [8]

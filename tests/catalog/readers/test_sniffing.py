"""What a draft tells of a file's dialect: only what is sure, and never a line that may be data."""

from __future__ import annotations

import csv
import io
import json

import pytest

from catalog.contracts.load import TO_FILL, parse_contract, parse_yaml
from catalog.intake.drafting import check_sample, draft_contract
from catalog.readers.formats import open_delivery
from catalog.readers.sniffed_encoding import sniff_encoding
from catalog.readers.sniffing import sniff_marks
from tests.catalog.intake.test_drafting import signed

PERSON = "Jane Doe of Springfield"
N = 30
TEXTS = [
    f"There is a small shadow of {n} millimetres, in the left part; no change." for n in range(N)
]


def drafted(folder, columns, *, header=True, encoding="utf-8", above="", **dialect):
    """The draft of a table with a key, a text, a label and these columns."""
    table = {
        "report_id": [f"r{n}" for n in range(N)], "text": TEXTS,
        "label": ["ab"[n % 2] for n in range(N)],
        **{name: [words[n % len(words)] for n in range(N)] for name, words in columns.items()},
    }  # fmt: skip
    out = io.StringIO(newline="")
    rows = zip(*table.values(), strict=True)
    csv.writer(out, **dialect).writerows([list(table), *rows] if header else rows)
    path = folder / "reports.csv"
    path.write_bytes((above + out.getvalue()).encode(encoding))
    draft = draft_contract(str(path))
    return draft, parse_yaml(draft, file="x.yaml")


@pytest.mark.parametrize("delimiter", [";", "|", "\t", ",", "^", "~", "||"])
@pytest.mark.parametrize("header", [True, False])
def test_a_line_of_a_patient_is_no_name(tmp_path, delimiter, header):
    rows = [(PERSON, TEXTS[n], f"19{n + 40}-01-15", n) for n in range(N)]
    names = [("referrer", "text", "born on", "age")] if header else []
    out = io.StringIO(newline="")
    csv.writer(out, delimiter="\x02" if len(delimiter) > 1 else delimiter).writerows(
        [*names, *rows]
    )
    path = tmp_path / "reports.csv"
    path.write_text(out.getvalue().replace("\x02", delimiter), newline="")
    draft = draft_contract(str(path))
    data = parse_yaml(draft, file="x.yaml")
    assert data["files"].get("csv", {}).get("delimiter", ",") == delimiter
    assert data["files"].get("header") is (None if header else False)
    assert [rule["type"] for rule in data["columns"].values()] == [
        "string",
        "string",
        "date",
        "integer",
    ]
    assert not [word for word in ("Jane", "Springfield", "shadow", "1940") if word in draft]


@pytest.mark.parametrize(
    ("words", "told", "kind"),
    [
        (["1,5", "2,25"], {"decimal": ","}, "number"),
        (["1.234,5", "7"], {"decimal": ",", "thousands": "."}, "number"),
        (["1,234.5", "12"], {"thousands": ","}, "number"),
        (["1 234", "12 345"], {"thousands": " "}, "integer"),
        (["1,234", "2,345"], {}, "string"),  # decimals or thousands
        (["689 123 456", "689 765 432"], {}, "string"),  # of a telephone
        (["192.168.100.200", "192.168.100.201"], {}, "string"),
        (["13.01.2026", "01.02.2026"], {}, "%d.%m.%Y"),
        (["01/13/2026", "02/01/2026"], {}, "%m/%d/%Y"),
        (["01/02/2026", "03/04/2026"], {}, TO_FILL),  # day or month
        (["01.02.2026 8:30"], {}, TO_FILL),
        (["15.01.26", "16.01.26"], {}, TO_FILL),  # of which century
        (["2026/01/15", "2026/01/02"], {}, "%Y/%m/%d"),
        (["15-JAN-2026", "02-MAY-2026"], {}, "%d-%b-%Y"),
        (["May 3, 2026", "June 13, 2026"], {}, "%B %d, %Y"),
        (["13.01.2026 8:30", "01.02.2026 23:59"], {}, "%d.%m.%Y %H:%M"),
        (["01/13/2026 8:30 AM", "02/01/2026 11:59 PM"], {}, "%m/%d/%Y %I:%M %p"),
        (["13/01/2026T08:30:00.5+01:00"], {}, "%d/%m/%YT%H:%M:%S.%f%z"),
        (["7", "NA"], {"nulls": ["NA"]}, "integer"),
        (["2026-01-15", "-"], {"nulls": ["-"]}, "date"),
        (["well", "NA", "-"], {}, "string"),
        (["J", "N"], {"true": ["j"], "false": ["n"]}, "boolean"),
        (["007", "008"], {}, "string"),
        (["1.5", "NaN"], {}, "number"),
    ],
)
def test_a_column_is_told_where_it_is_sure(tmp_path, words, told, kind):
    draft, data = drafted(tmp_path, {"v": words}, delimiter=";")
    assert data["files"]["csv"] == {"delimiter": ";", **told}
    rule = data["columns"]["v"]
    assert kind in (rule["type"], rule.get("format"))
    if kind != TO_FILL and "look identifying" not in draft:
        assert check_sample(parse_contract(signed(draft), file="x.yaml")) == []


def test_signs_of_one_column_do_not_break_another(tmp_path):
    _, data = drafted(tmp_path, {"a": ["1,5", "2,5"], "b": ["1.5", "2.5"]}, delimiter=";")
    assert data["files"]["csv"] == {"delimiter": ";"}
    assert [data["columns"][name]["type"] for name in "ab"] == ["string", "number"]
    draft, data = drafted(tmp_path, {"a": ["0,5", "2,5"], "b": ["1.234", "2.345"]}, delimiter=";")
    assert data["files"]["csv"] == {"delimiter": ";", "decimal": ","}
    assert [data["columns"][name]["type"] for name in "ab"] == ["number", "string"]
    assert "of decimals or of thousands" in draft
    _, data = drafted(tmp_path, {"a": ["-", "2"], "b": ["-", "word"]})
    assert "csv" not in data["files"]


def test_words_of_a_label_stay_words(tmp_path):
    _, data = drafted(tmp_path, {"outcome": ["yes", "no"], "smoker": ["yes", "no"]})
    assert data["columns"]["outcome"]["type"] == "string"
    assert data["columns"]["smoker"]["type"] == "boolean"
    path = tmp_path / "x.csv"
    path.write_text(
        "id,text,answer\n" + "".join(f"r{n},{n} words,{'yn'[n % 2]}\n" for n in range(9))
    )
    assert "csv" not in parse_yaml(draft_contract(str(path)), file="x.yaml")["files"]


@pytest.mark.parametrize(
    ("above", "told"),
    [
        ("sep=;\r\n", {}),
        ("Clinic of Springfield\n", {"skip_rows": 1}),
        ("Clinic\n\nMade on;2026-01-15\n", {"skip_rows": 3}),
        ("Clinic;;\n;;\n", {"skip_rows": 2}),
        ("# made by Jane\n# on Monday\n", {"comment": "#"}),
    ],
)
def test_what_stands_above_a_table_is_no_name(tmp_path, above, told):
    draft, data = drafted(tmp_path, {}, above=above, delimiter=";")
    assert data["files"]["csv"] == {"delimiter": ";", **told}
    assert list(data["columns"]) == ["report_id", "text", "label"]
    assert not [word for word in ("Clinic", "Springfield", "Jane") if word in draft]


def test_years_above_numbers_may_be_names(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("land,1990,1991\n" + "".join(f"l{n},{n}.5,{n}\n" for n in range(9)))
    assert parse_yaml(draft_contract(str(path)), file="x.yaml")["files"]["header"] == TO_FILL


@pytest.mark.parametrize(
    ("text", "written", "told", "is_sure"),
    [
        ("id;Größe\n", "utf-8", "utf-8", True),
        ("id;Größe\n", "utf-8-sig", "utf-8", True),
        ("id;text\n", "ascii", "utf-8", True),
        ("id;Größe für Ärzte\n", "utf-16", "utf-16", True),
        ("id;Größe für Ärzte\n", "utf-16-le", "utf-16-le", True),
        ("id;Größe für Ärzte\n", "utf-16-be", "utf-16-be", True),
        ("Größe, Übelkeit und Röntgen für Ärzte, naïve façade\n", "cp1252", "cp1252", False),
        ("Größe, Übelkeit und Röntgen für die Straße\n", "mac-roman", "mac-roman", False),
        ("Ciśnienie, gorączka, żołądek, śledziona, łączność\n", "cp1250", "cp1250", False),
        (
            "Пациент осмотрен сегодня, жалоб нет, давление без изменений\n",
            "cp1251",
            "cp1251",
            False,
        ),
        ("患者は本日診察を受けた。熱はなく、血圧は正常である。\n", "shift_jis", "shift_jis", False),
        ("患者今日接受检查,没有发烧,血压正常。\n", "gb18030", "gb18030", False),
    ],
)
def test_an_encoding_is_told_by_its_bytes(tmp_path, text, written, told, is_sure):
    path = tmp_path / "x.csv"
    path.write_bytes((text * 20).encode(written))
    assert sniff_encoding(str(path)) == (told, is_sure)


def test_a_letter_far_below_is_seen(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"id,text\n" + b"1,plain\n" * 400_000 + "2,Größe\n".encode("cp1252"))
    assert sniff_encoding(str(path)).name == "cp1252"


def test_a_damaged_letter_does_not_make_a_file_another(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"id,text\n" + "1,Größe\n".encode() * 40 + b"2,Gr\xf6\xdfe\n")
    assert sniff_encoding(str(path)) == ("utf-8", True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "a",
        "words and words\nwords and words\n",
        '"',
        "\x00",
        ";;;;\n",
        "a,b\n" * 3,
        "'a','b'",
    ],
)
def test_any_text_is_told_something(text):
    assert sniff_marks(text.encode(), is_whole=True).encoding == "utf-8"


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "cell",
    [
        lambda n: n if n % 20 == 0 and n < 220 else f"w{n}",
        lambda n: "pending" if n % 5 == 0 else 10**9 * n,
        lambda n: "pending" if n % 5 == 0 else n / 7,
        lambda n: [n, f"w{n}", n / 2][n % 3],
    ],
)
def test_a_draft_of_a_mixed_column_passes_its_own_check(tmp_path, file_format, cell):
    rows = [
        {
            "id": f"r{n}",
            "text": f"words that are longer than {n}",
            "label": "ab"[n % 2],
            "mixed": cell(n),
        }
        for n in range(1_100)
    ]
    path = tmp_path / f"x.{file_format}"
    if file_format == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    contract = parse_contract(signed(draft_contract(str(path))), file="x.yaml")
    assert check_sample(contract) == []


@pytest.mark.parametrize(("form", "day"), [("%d/%m/%Y", "2026-02-01"), ("%m/%d/%Y", "2026-01-02")])
def test_a_person_says_which_is_the_day(tmp_path, form, day):
    draft, _ = drafted(tmp_path, {"v": ["01/02/2026", "01/02/2026"]})
    assert 'one of "%d/%m/%Y", "%m/%d/%Y": nothing tells days from months' in draft
    filled = signed(draft).replace(f"format: {TO_FILL}", f'format: "{form}"')
    contract = parse_contract(filled, file="x.yaml")
    assert check_sample(contract) == []
    (batch,) = open_delivery(contract, contract.files.path)
    assert {str(row["v"]) for row in batch.table.to_pylist()} == {day}

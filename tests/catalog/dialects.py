"""One table of an invented clinic, written in the dialects that programs write."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

N = 40
NAMES = ("report_id", "patient_id", "seen_on", "dose", "report text", "label")
TEXTS = (
    "Größe unverändert; kein Erguss, keine Stauung.",
    'The patient said "no change", and went home.',
    "A small shadow in the left part | seen before.",
    "It's stable: no cough\tand no fever.",
)


@dataclass(frozen=True)
class Dialect:
    """How bytes are written, and how a draft says so."""

    write: Callable[[], bytes] = field(repr=False)
    told: Mapping[str, Any]  # files.csv of the draft
    header: bool | None = None  # of files.header of the draft


def values() -> list[dict[str, Any]]:
    """The rows as they should land."""
    return [
        {
            "report_id": f"r{n:03d}",
            "patient_id": f"p{n // 2}",
            "seen_on": date(2024, 1 + n % 12, 1 + n % 28),
            "dose": None if n % 9 == 4 else 1000.5 + n * 37.25,
            "report text": f"{TEXTS[n % 4]} Scan {n}.",
            "label": "ab"[n % 2],
        }
        for n in range(N)
    ]


def cells(
    day: str = "%Y-%m-%d", number: Callable[[float], str] = str, null: str = ""
) -> list[list[str]]:
    """The rows as texts."""
    return [
        [
            row["report_id"], row["patient_id"], row["seen_on"].strftime(day),
            null if row["dose"] is None else number(row["dose"]), row["report text"], row["label"],
        ]
        for row in values()
    ]  # fmt: skip


def text(rows: Sequence[Sequence[str]], *, header: bool = True, **dialect: Any) -> str:
    """The rows as the csv module writes them."""
    out = io.StringIO(newline="")
    csv.writer(out, **dialect).writerows([NAMES, *rows] if header else rows)
    return out.getvalue()


def german(value: float) -> str:
    """1.234,5."""
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def english(value: float) -> str:
    """1,234.5."""
    return f"{value:,.2f}"


def mysql(rows: Sequence[Sequence[str]]) -> str:
    """What `SELECT ... INTO OUTFILE` writes: tabs, no quotes, backslashes, `\\N`."""

    def escaped(cell: str) -> str:
        return "\\N" if cell == "\\N" else cell.replace("\\", "\\\\").replace("\t", "\\\t")

    return "".join("\t".join(map(escaped, row)) + "\n" for row in rows)


GERMAN = cells("%d.%m.%Y", german)
DIALECTS: Mapping[str, Dialect] = {
    "RFC 4180": Dialect(lambda: text(cells()).encode(), {}),
    "Excel in German": Dialect(
        lambda: text(GERMAN, delimiter=";").encode("cp1252"),
        {"delimiter": ";", "encoding": "cp1252", "decimal": ",", "thousands": "."},
    ),
    "Excel with its hint": Dialect(
        lambda: b"\xef\xbb\xbfsep=;\r\n" + text(GERMAN, delimiter=";").encode(),
        {"delimiter": ";", "decimal": ",", "thousands": "."},
    ),
    "Unicode text of Excel": Dialect(
        lambda: text(cells("%d/%m/%Y"), delimiter="\t").encode("utf-16"),
        {"delimiter": "\t", "encoding": "utf-16"},
    ),
    "UTF-16 without a mark": Dialect(
        lambda: text(cells(), delimiter=";").encode("utf-16-be"),
        {"delimiter": ";", "encoding": "utf-16-be"},
    ),
    "bars without a header": Dialect(
        lambda: text(cells(), delimiter="|", header=False, lineterminator="\n").encode(),
        {"delimiter": "|"},
        header=False,
    ),
    "semicolons without a header": Dialect(
        lambda: text(GERMAN, delimiter=";", header=False).encode(),
        {"delimiter": ";", "decimal": ",", "thousands": "."},
        header=False,
    ),
    "R": Dialect(
        lambda: text(cells(null="NA"), quoting=csv.QUOTE_NONNUMERIC).encode(), {"nulls": ["NA"]}
    ),
    "single quotes": Dialect(
        lambda: text(cells(), quotechar="'", quoting=csv.QUOTE_ALL).encode(), {"quote": "'"}
    ),
    "backslashes": Dialect(
        lambda: text(cells(), doublequote=False, escapechar="\\").encode(), {"escape": "\\"}
    ),
    "MySQL": Dialect(
        lambda: mysql([NAMES, *cells(null="\\N")]).encode(),
        {"delimiter": "\t", "quote": None, "escape": "\\", "nulls": ["\\N"]},
    ),
    "a title above": Dialect(
        lambda: ("Report of the clinic\nmade in 2024\n\n" + text(cells(number=english))).encode(),
        {"skip_rows": 2, "thousands": ","},
    ),
    "comments": Dialect(
        lambda: ("# made by a machine\n" + text(cells("%m/%d/%Y"), lineterminator="\n")).encode(),
        {"comment": "#"},
    ),
    "a mark of two": Dialect(
        lambda: text(cells(), delimiter="\x02").replace("\x02", "||").encode(), {"delimiter": "||"}
    ),
    "carets": Dialect(lambda: text(cells("%d-%b-%Y"), delimiter="^").encode(), {"delimiter": "^"}),
    "Mac": Dialect(
        lambda: text(cells(), delimiter=";", lineterminator="\r").encode("mac-roman"),
        {"delimiter": ";", "encoding": "mac-roman"},
    ),
}  # fmt: skip

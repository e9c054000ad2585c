"""How a CSV file of a stranger is cut: its marks, told from a bounded sample by our own reader.

Each candidate cuts the sample as the reader would; the one whose records are of one width and whose
columns are of one type each is taken. Measured against the known sniffers: `infra/decisions/0040`.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

from catalog.contracts.csv_files import PLAIN, CsvFormat
from catalog.readers.dialect import marks_of
from catalog.readers.files import FileUnreadable
from catalog.readers.rows import HINT, CsvRow, csv_rows

SAMPLE_BYTES = 1 << 18
MAX_RECORDS = 400
MAX_CELL_BYTES = 1 << 18
MIN_SURE = 0.9  # share of rows of one width
MAX_ABOVE = 40  # records above a table; where there are more, it is ragged rows
MAX_TITLES = 10  # of them that are filled up to its width with empty cells
USUAL = (",", ";", "\t", "|")
RARE = ("||", "::", "~|~", "^", "~", "§", "¦", "¬", "\x01", "\x1f", "\x1e")
OF_PROSE = (":", " ")  # which stand in texts and times, too
QUOTES = ('"', "'")
COMMENTS = ("#", "//", "%", "--")
_TYPED = re.compile(
    rb"[+-]?[$\xc2\xa3\xe2\x82\xac]*[0-9][0-9.,' ]*(?:[eE][+-]?[0-9]+)?[%$]?"  # numbers
    rb"|[0-9]{1,4}[./-](?:[0-9]{1,2}|[A-Za-z]{3})[./-][0-9]{1,4}(?:[T ][0-9:.]+(?:Z|[+-][0-9:]+)?)?"
    rb"|[0-9]{1,2}:[0-9]{2}(?::[0-9.]+)?"
)
_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class Cut:
    """A sample as one candidate cuts it."""

    csv: CsvFormat
    records: Sequence[CsvRow]
    width: int  # of the table
    share: float  # of its records that have this width and are quoted soundly
    score: float
    is_sure: bool  # no other mark need be looked for


def sniff_marks(sample: bytes, *, is_whole: bool) -> CsvFormat:
    r"""The marks of a sample of UTF-8 text that begins where the file begins.

    A file that no mark cuts into cells is taken to have one column.

    >>> sniff_marks(b"id;text\n1;well, so far\n2;ill, alas\n", is_whole=True).delimiter
    ';'
    """
    hint = HINT.match(sample)
    body = sample[hint.end() :] if hint else sample
    hinted = hint.group(1).decode("utf-8", "replace") if hint else None
    best = _best(body, (hinted,) if hinted else (*USUAL, *RARE), is_whole)
    if hinted is None and (best is None or not best.is_sure):
        of_prose = _best(body, OF_PROSE, is_whole)
        best = max(filter(None, (best, of_prose)), key=_score, default=None)
    if best is None:
        return CsvFormat(delimiter=hinted) if hinted else PLAIN
    return best.csv if hint else best.csv.model_copy(update=_above(body, best, is_whole))


def _score(cut: Cut) -> float:
    return cut.score


def _best(sample: bytes, delimiters: Sequence[str], is_whole: bool) -> Cut | None:
    cuts = [
        cut
        for delimiter in delimiters
        if delimiter.encode() in sample and not _is_half(sample, delimiter)
        for csv in _candidates(sample, delimiter)
        if (cut := _judged(csv, _records(sample, csv, is_whole))) is not None
    ]
    return max(cuts, key=_score, default=None)


def _is_half(sample: bytes, delimiter: str) -> bool:
    """Whether a mark stands only in pairs, and the pair is the mark."""
    mark = delimiter.encode()
    return 2 * delimiter in RARE and sample.count(mark) == 2 * sample.count(2 * mark)


def _candidates(sample: bytes, delimiter: str) -> Iterator[CsvFormat]:
    """Ways to quote, the usual one first: of equals the first is taken."""
    spaced = f"{delimiter} "
    for mark in (delimiter, spaced) if not delimiter.isspace() else (delimiter,):
        if mark == spaced and 2 * sample.count(mark.encode()) < sample.count(delimiter.encode()):
            continue
        for quote in (*QUOTES, None):
            if quote == "'" and not _is_quoting(sample, quote, mark):
                continue
            if quote is None and b'"' not in sample:
                continue
            yield CsvFormat(delimiter=mark, quote=quote)
            if b"\\" in sample:
                yield CsvFormat(delimiter=mark, quote=quote, escape="\\")


def _is_quoting(sample: bytes, quote: str, delimiter: str) -> bool:
    """Whether a quote stands at both sides of cells."""
    mark, stop = re.escape(quote.encode()), re.escape(delimiter.encode())
    begins = re.search(rb"(?:\A|%b|[\r\n])%b(?=[^\r\n])" % (stop, mark), sample)
    return (
        begins is not None and re.search(rb"%b(?=%b|[\r\n]|\Z)" % (mark, stop), sample) is not None
    )


def _records(sample: bytes, csv: CsvFormat, is_whole: bool) -> Iterator[CsvRow]:
    rows = csv_rows(
        io.BytesIO(sample),
        uri="",
        max_cell_bytes=MAX_CELL_BYTES,
        marks=marks_of(csv),
        first_is_widest=False,
    )
    records: list[CsvRow] = []
    try:
        records += islice(rows, MAX_RECORDS)
    except FileUnreadable:  # a quote that is not closed
        is_cut = not is_whole and len(records) > 1
        return iter(records if is_cut else [*records, CsvRow([b""], is_sound=False)])
    # The last record of a sample that is cut off is none
    return iter(records if is_whole or len(records) == MAX_RECORDS else records[:-1])


def _judged(csv: CsvFormat, rows: Iterator[CsvRow]) -> Cut | None:
    records = list(rows)
    sound = [row for row in records if row.is_sound]
    widths = Counter(len(row.cells) for row in sound if len(row.cells) > 1)
    if not widths:
        return None
    # Of two widths that are as frequent the table's is the greater one
    width = max(widths, key=lambda w: (widths[w] * (w - 1) ** 0.5, w))
    first = next(at for at, row in enumerate(records) if len(row.cells) == width)
    table = [row for row in records[first:] if row.is_sound and len(row.cells) == width]
    n_lost = sum(row.n_rows for row in records[first:] if not row.is_sound)
    share = len(table) / (len(records) - first + n_lost)
    typed = _typed_share(table[1:] or table)
    n_odd = sum(row.is_odd for row in table) / len(table)
    score = share**2 * (0.5 + 0.5 * typed) * (1 - 0.6 / width) * (1 - 0.5 * n_odd)
    score *= len(table) / (len(table) + first) * (0.8 if first else 1.0)
    score *= 1 - 0.5 * _wrapped_share(table)
    if csv.delimiter not in USUAL:
        score *= 0.8 if first == 0 and share > MIN_SURE else 0.1
    score *= 0.999 if csv.escape else 1.0
    return Cut(csv, records, width, share, score, is_sure=share >= MIN_SURE and len(table) > first)


def _typed_share(table: Sequence[CsvRow]) -> float:
    """The share of cells that are numbers or dates, of columns that hold nothing else."""
    n_typed = n_cells = 0
    for column in zip(*(row.cells for row in table), strict=True):
        texts = [cell.strip() for cell in column if isinstance(cell, bytes) and cell.strip()]
        n_cells += len(texts)
        n_like = sum(_TYPED.fullmatch(cell) is not None for cell in texts)
        n_typed += n_like if 10 * n_like >= 9 * len(texts) else 0
    return n_typed / n_cells if n_cells else 0.0


def _wrapped_share(table: Sequence[CsvRow]) -> float:
    """The share of columns of which each cell still begins or ends with a quote."""
    n_wrapped = n_columns = 0
    for column in zip(*(row.cells for row in table), strict=True):
        texts = [cell for cell in column if isinstance(cell, bytes) and cell]
        n_columns += 1
        for quote in (b'"', b"'"):
            n_like = sum(quote in (cell[:1], cell[-1:]) for cell in texts)
            n_wrapped += bool(texts) and 10 * n_like >= 9 * len(texts)
    return n_wrapped / n_columns


def _above(sample: bytes, best: Cut, is_whole: bool) -> dict[str, Any]:
    """What stands above the table: comments that have a mark, or lines that are to be skipped."""
    lines = _LINE_END.split(sample)
    for mark in COMMENTS:
        if _are_comments(lines, mark, sample, best, is_whole):
            return {"comment": mark}
    header = _header_of(best)
    for n_lines in range(1, len(lines) if header else 0):
        csv = best.csv.model_copy(update={"skip_rows": n_lines})
        below = next(_records(sample, csv, is_whole), None)
        if below is not None and below.cells == best.records[header].cells:
            return {"skip_rows": n_lines}
    return {}


def _are_comments(
    lines: Sequence[bytes], mark: str, sample: bytes, best: Cut, is_whole: bool
) -> bool:
    """Whether lines that begin with the mark are no rows, and without them all is a table."""
    begun = [line for line in lines if line.startswith(mark.encode())]
    if not begun or best.csv.delimiter.startswith(mark):
        return False
    if best.width in {len(line.split(best.csv.delimiter.encode())) for line in begun}:
        return False
    csv = best.csv.model_copy(update={"comment": mark})
    cut = _judged(csv, _records(sample, csv, is_whole))
    return cut is not None and cut.share >= best.share and _header_of(cut) == 0


def _header_of(cut: Cut) -> int:
    """Where the table begins: titles above it are of another width, or filled up with nothing."""
    records = cut.records
    first = next(at for at, row in enumerate(records) if len(row.cells) == cut.width)
    usual = median(_n_filled(row) for row in records[first:] if len(row.cells) == cut.width)
    for at, row in enumerate(records[first : first + MAX_TITLES], start=first):
        if len(row.cells) == cut.width and 2 * _n_filled(row) > usual:
            return at if at <= MAX_ABOVE else 0
    return first if first <= MAX_ABOVE else 0


def _n_filled(row: CsvRow) -> int:
    return sum(cell != b"" for cell in row.cells)

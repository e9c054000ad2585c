"""What a sample of a file looks like, column by column: types, counts, and what may identify."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import Any

import pyarrow as pa

from catalog.contracts.contract import ColumnType
from catalog.deid.check import row_codes, scan_column
from catalog.readers.cells import TOO_LONG, Convert, cast_column, from_text, from_value
from catalog.readers.files import FileUnreadable, text_file
from catalog.readers.rows import csv_rows, json_lines
from catalog.readers.tabular import (
    MAX_LINE_BYTES,
    csv_header,
    json_row,
    parquet_batches,
    parquet_file,
    plain_cells,
)

MAX_SAMPLE_CHARS = 100_000  # of a cell; the rest of it is not looked at
MAX_SCANNED_CHARS = 200_000  # of a column; the gate is slow beside the rest of a draft
MAX_LABELS = 50
MAX_LABEL_CHARS = 64
MIN_FREE_CHARS = 20  # mean length from which a text counts as free text
# In the order of trying: a column is the first type that all its cells are
TYPE_ORDER: tuple[ColumnType, ...] = ("integer", "number", "boolean", "date", "timestamp", "string")
SUSPICIOUS_NAME = re.compile(
    r"^names?$|(^|_)((first|last|given|family|full|middle|maiden|patient|person)_?names?|surname|dob"
    r"|birth(day|_?date)?|date_of_birth|phone|telephone|tel|mobile|fax|e?_?mail|ssn|mrn"
    r"|medical_record(_number)?|insurance(_number|_id)?|address|street|zip|zip_?code|postcode"
    r"|postal_code|city|passport|licen[cs]e_plate|ip(_address)?|url)(_|$)"
)
_LEADING_ZERO = re.compile(rb"[+-]?0[0-9]")


@dataclass(frozen=True)
class ColumnProfile:
    """Counts over the sampled cells of one column; `labels` are its values where they are few."""

    name: str
    type: ColumnType | None  # None where cells are nested, which a contract cannot declare
    n_rows: int
    n_null: int
    n_distinct: int
    mean_chars: float
    max_chars: int
    n_scanned: int  # cells that the identifier gate looked at
    n_identifying: int  # those of them in which it found something
    labels: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_unique(self) -> bool:
        """Whether every row has a value of its own."""
        return self.n_rows > 0 and self.n_null == 0 and self.n_distinct == self.n_rows

    @property
    def words(self) -> str:
        """The name in lower case with one underscore between words: PatientID is patient_id."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", self.name).lower()

    @property
    def has_suspicious_name(self) -> bool:
        """Whether the name alone says that the column may identify a person."""
        return SUSPICIOUS_NAME.search(self.words) is not None

    @property
    def is_free_text(self) -> bool:
        """Whether people wrote here what they liked."""
        is_long = self.mean_chars >= MIN_FREE_CHARS
        return self.type == "string" and is_long and self.n_distinct > self.n_rows / 2


def profile_file(uri: str, file_format: str, *, rows: int) -> list[ColumnProfile]:
    """The columns of a file as its first rows show them.

    Raises:
        FileUnreadable: if the file cannot be read, or its first line is no header.
    """
    read = {"csv": _csv_cells, "jsonl": _jsonl_cells, "parquet": _parquet_cells}[file_format]
    convert = from_text if file_format == "csv" else from_value
    return [_profile(name, cells, convert) for name, cells in read(uri, rows).items()]


def _csv_cells(uri: str, rows: int) -> Mapping[str, list[Any]]:
    with text_file(uri) as stream:
        found = csv_rows(stream, uri=uri, max_cell_bytes=4 * MAX_SAMPLE_CHARS)
        names = csv_header(next(found, None), uri)
        if not all(name[:1].isalpha() or name[:1] == "_" for name in names):
            # A first line with numbers or dates is a row of data: none of it may be shown
            remedy = "its first line must hold the column names, separated by commas"
            raise FileUnreadable(uri, "its first line does not look like a header", remedy=remedy)
        sound = [cells for cells, ok in islice(found, rows) if ok and len(cells) == len(names)]
    return {name: [cells[i] or None for cells in sound] for i, name in enumerate(names)}


def _jsonl_cells(uri: str, rows: int) -> Mapping[str, list[Any]]:
    with text_file(uri) as stream:
        lines = islice(json_lines(stream, max_line_bytes=MAX_LINE_BYTES), rows)
        sound = [row for row, _ in map(json_row, lines) if row is not None]
    if not sound:
        remedy = "write one JSON object a line"
        raise FileUnreadable(uri, "none of its first lines is a JSON object", remedy=remedy)
    names = dict.fromkeys(name for row in sound for name in row)
    return {name: [_cut(row.get(name)) for row in sound] for name in names}


def _parquet_cells(uri: str, rows: int) -> Mapping[str, list[Any]]:
    with parquet_file(uri) as file:
        names = file.schema_arrow.names
        cells: dict[str, list[Any]] = {name: [] for name in names}
        n_rows = 0
        for batch in parquet_batches(file, names, batch_rows=rows):
            for name in names:
                cells[name] += map(_cut, plain_cells(batch.column(name))[: rows - n_rows])
            n_rows += batch.num_rows
            if n_rows >= rows:
                break
    return cells


def _cut(cell: Any) -> Any:
    return cell[:MAX_SAMPLE_CHARS] if isinstance(cell, str) else cell


def _profile(name: str, cells: Sequence[Any], convert: Convert) -> ColumnProfile:
    present = [cell for cell in cells if cell is not None and cell is not TOO_LONG]
    kind, values = _typed(present, convert)
    texts = [value for value in values.to_pylist() if isinstance(value, str)]
    lengths = [len(text) for text in texts]
    distinct = {str(value) for value in values.to_pylist() if value is not None}
    n_scanned = bisect_right(list(accumulate(lengths)), MAX_SCANNED_CHARS) if texts else 0
    is_label = kind == "string" and len(distinct) <= MAX_LABELS
    is_short = all(text.strip() and len(text) <= MAX_LABEL_CHARS for text in distinct)
    labels = sorted(distinct) if is_label and is_short else []
    # Labels are shown in a draft, so each of them passes the gate, however late it was sampled
    labels = [] if scan_column(pa.array(labels, pa.string())) else labels
    return ColumnProfile(
        name=name,
        type=kind,
        n_rows=len(cells),
        n_null=len(cells) - len(present),
        n_distinct=len(distinct),
        mean_chars=sum(lengths) / max(1, len(lengths)),
        max_chars=max(lengths, default=0),
        n_scanned=n_scanned,
        n_identifying=_identifying(values.slice(0, n_scanned)) if texts else 0,
        labels=tuple(labels),
    )


def _identifying(values: pa.Array) -> int:
    found = scan_column(values).values()
    return sum(row_codes(rule_ids, other_scripts_read=True) != () for rule_ids in found)


def _typed(cells: Sequence[Any], convert: Convert) -> tuple[ColumnType | None, pa.Array]:
    """The first type that all cells are, else text if any cell is text, with the cells typed."""
    as_text = [cell for cell in cells if isinstance(cell, bytes)]
    is_code = convert is from_text and any(_LEADING_ZERO.match(cell) for cell in as_text)
    for kind in TYPE_ORDER if cells and not is_code else ():
        values, bad = cast_column(cells, kind, convert=convert, max_cell_chars=1 << 40)
        if not bad:
            return kind, values
    values, bad = cast_column(cells, "string", convert=convert, max_cell_chars=1 << 40)
    return (None if cells and len(bad) == len(cells) else "string"), values

"""The table of file formats; a new format is one file beside this one and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from catalog.contracts.contract import ColumnRule, SourceContract
from catalog.contracts.csv_files import CsvFormat
from catalog.contracts.files import Excel, Files
from catalog.contracts.images import IMAGE_FORMATS
from catalog.readers.cells import BadCell, TypedBatch
from catalog.readers.fhir import read_fhir
from catalog.readers.files import (
    COMPRESSIONS,
    FileUnreadable,
    file_name,
    file_sha256,
    list_parts,
)
from catalog.readers.listing import listing_sha256
from catalog.readers.parquet_rows import read_parquet
from catalog.readers.partitions import partition_mark, with_partitions
from catalog.readers.sample import ColumnSample, csv_columns, jsonl_columns, parquet_columns
from catalog.readers.tabular import read_csv, read_jsonl
from rpe_core.errors import InputError, UnknownName

__all__ = [
    "READERS",
    "BadCell",
    "FileUnreadable",
    "Reader",
    "TypedBatch",
    "delivery_mark",
    "delivery_sha256",
    "format_of_name",
    "list_deliveries",
    "open_batches",
    "open_delivery",
    "read_sample",
]

MAX_CELL_CHARS = 1_000_000
_BATCH = "a batch is 32 MiB decoded, or one row"
_PACKED = "also `.gz`, `.bz2`, `.zst`"
_OTHER_SHEETS = (".xls", ".xlsb", ".ods", ".numbers")


@dataclass(frozen=True)
class Reader:
    """How a format is read, the endings by which a file of it is known, and its first rows.

    `sample(uri, rows)` gives the columns of a file for a draft; without it none is drafted by it.
    """

    name: str
    doc: str
    endings: tuple[str, ...]
    read: Callable[..., Iterator[TypedBatch]]
    sample: Callable[[str, int], ColumnSample] | None = None


def _read_xlsx(*places: Any, **options: Any) -> Iterator[TypedBatch]:
    from catalog.readers.xlsx import read_xlsx  # openpyxl takes a fifth of a second

    return read_xlsx(*places, **options)


READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader(
            "parquet",
            f"rows of a table in Apache Parquet; {_BATCH}",
            (".parquet", ".pq"),
            read_parquet,
            parquet_columns,
        ),
        Reader(
            "csv",
            f"rows of a table, text with a mark between cells; {_PACKED}; {_BATCH}",
            (".csv", ".tsv", ".txt", ".tab", ".psv"),
            read_csv,
            csv_columns,
        ),
        Reader(
            "jsonl",
            f"rows of a table, one JSON object a line; {_PACKED}; {_BATCH}",
            (".jsonl", ".ndjson"),
            read_jsonl,
            jsonl_columns,
        ),
        Reader(
            "fhir",
            "the FHIR resources of one type in NDJSON or Bundles, by paths",
            (".json",),
            read_fhir,
        ),
        Reader(
            "xlsx",
            "one sheet of an Excel workbook: cached values of formulas, dates as dates; faults name"
            " the sheet's own rows",
            (".xlsx", ".xlsm"),
            _read_xlsx,
        ),
    )
}


def open_batches(
    uri: str,
    format: str,
    *,
    columns: Mapping[str, ColumnRule],
    batch_rows: int = 4096,
    max_cell_chars: int = MAX_CELL_CHARS,
    has_header: bool = True,
    csv: CsvFormat | None = None,
    excel: Excel | None = None,
    resource: str | None = None,
) -> Iterator[TypedBatch]:
    """The rows of one file, typed as the contract says, in batches of at most `batch_rows` rows.

    Memory is bounded by a batch (32 MiB, or one row), whatever the size of the file. A cell that
    does not fit is null and listed with its reason code; a row that cannot be read at all is null
    throughout. A file without rows gives no batch.

    Raises:
        FileUnreadable: while iterating, if the file as a whole cannot be read.
        UnknownName: if the format is not known.
    """
    if format not in READERS:
        raise UnknownName("file format", format, READERS, where="files.format")
    limits = {"batch_rows": batch_rows, "max_cell_chars": max_cell_chars}
    options: Mapping[str, Mapping[str, Any]] = {
        "csv": {"has_header": has_header, "csv": csv},
        "xlsx": {"has_header": has_header, "excel": excel},
        "fhir": {"resource": resource},
    }
    batches = READERS[format].read(uri, columns, **limits, **options.get(format, {}))
    return with_partitions(batches, columns, uri, max_cell_chars=max_cell_chars)


def read_sample(uri: str, format: str, *, rows: int) -> ColumnSample:
    """The first rows of a file, for a draft.

    Raises:
        FileUnreadable: if the file cannot be read, or its first line is a row of data.
        InputError: if files of this format are not drafted.
    """
    sample = READERS[format].sample
    if sample is None:
        raise InputError(
            "Files of this format are not drafted.",
            where=file_name(uri),
            remedy="write the contract by hand, as infra/docs/sources.md shows",
        )
    return sample(uri, rows)


def list_deliveries(files: Files) -> list[str]:
    """What may be landed by itself: each file of a table; of images the listing as a whole.

    Raises:
        InputError: if no file of a table is there.
    """
    return [files.path] if files.format in IMAGE_FORMATS else list_parts(files.path)


def delivery_sha256(files: Files, uri: str) -> str:
    """The hash of one of these deliveries: of a file's bytes, or over a listing's.

    Raises:
        FileUnreadable: if a table's file cannot be read.
        InputError: if a listing has no image.
    """
    return listing_sha256(files) if files.format in IMAGE_FORMATS else file_sha256(uri)


def delivery_mark(contract: SourceContract, uri: str) -> str:
    """What tells deliveries of equal bytes apart: the folders that hold columns; '' where none."""
    return partition_mark(contract.files.format, contract.columns, uri)


def open_delivery(
    contract: SourceContract, uri: str, *, batch_rows: int = 4096
) -> Iterator[TypedBatch]:
    """The rows of one of these deliveries, typed as the contract says, see `open_batches`."""
    if contract.files.format in IMAGE_FORMATS:
        from catalog.readers.image_rows import read_images  # pydicom takes half a second

        return read_images(contract, batch_rows=batch_rows, max_cell_chars=MAX_CELL_CHARS)
    return open_batches(
        uri,
        "parquet" if contract.files.query is not None else contract.files.format,
        columns=contract.columns,
        batch_rows=batch_rows,
        has_header=contract.files.header,
        csv=contract.files.csv,
        excel=contract.files.excel,
        resource=contract.files.resource,
    )


def format_of_name(uri: str) -> str:
    """The format that a file's ending tells, compression aside; without any it is text.

    >>> [format_of_name(f"/data/{name}") for name in ("a.CSV.gz", "a.tsv", "export")]
    ['csv', 'csv', 'csv']

    Raises:
        InputError: if no format has this ending.
    """
    name = file_name(uri).lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    for reader in READERS.values():
        if name.endswith(reader.endings):
            return reader.name
    if name.endswith(_OTHER_SHEETS):
        raise InputError(
            "The file is a spreadsheet of a format that is not read.",
            where=file_name(uri),
            expected=".xlsx or .xlsm",
            remedy="open it in Excel or LibreOffice and save it as .xlsx",
        )
    if "." not in name.lstrip("."):
        return "csv"
    endings = sorted(ending for reader in READERS.values() for ending in reader.endings)
    raise InputError(
        "The file's ending names no known format.",
        where=file_name(uri),
        expected=", ".join(endings) + f" (or one of them with {', '.join(COMPRESSIONS)})",
    )

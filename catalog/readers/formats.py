"""The table of file formats; a new format is one file beside this one and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from catalog.contracts.contract import ColumnRule, Files, SourceContract
from catalog.contracts.csv_files import CsvFormat
from catalog.contracts.images import IMAGE_FORMATS
from catalog.readers.cells import BadCell, TypedBatch
from catalog.readers.files import (
    COMPRESSIONS,
    FileUnreadable,
    file_name,
    file_sha256,
    list_parts,
)
from catalog.readers.listing import listing_sha256
from catalog.readers.tabular import read_csv, read_jsonl, read_parquet
from rpe_core.errors import InputError, UnknownName

__all__ = [
    "READERS",
    "BadCell",
    "FileUnreadable",
    "Reader",
    "TypedBatch",
    "delivery_sha256",
    "list_deliveries",
    "open_batches",
    "open_delivery",
    "told_format",
]

MAX_CELL_CHARS = 1_000_000


@dataclass(frozen=True)
class Reader:
    """How a format is read, and the endings by which a file of it is known."""

    name: str
    doc: str
    endings: tuple[str, ...]
    read: Callable[..., Iterator[TypedBatch]]


READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("parquet", "Apache Parquet", (".parquet", ".pq"), read_parquet),
        Reader(
            "csv",
            "text with a mark between cells",
            (".csv", ".tsv", ".txt", ".tab", ".psv"),
            read_csv,
        ),
        Reader("jsonl", "one JSON object a line", (".jsonl", ".ndjson"), read_jsonl),
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
    of_csv: dict[str, Any] = {"has_header": has_header, "csv": csv} if format == "csv" else {}
    return READERS[format].read(uri, columns, **limits, **of_csv)


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


def open_delivery(
    contract: SourceContract, uri: str, *, batch_rows: int = 4096
) -> Iterator[TypedBatch]:
    """The rows of one of these deliveries, typed as the contract says, see `open_batches`."""
    if contract.files.format in IMAGE_FORMATS:
        from catalog.readers.image_rows import read_images  # pydicom takes half a second

        return read_images(contract, batch_rows=batch_rows, max_cell_chars=MAX_CELL_CHARS)
    return open_batches(
        uri,
        contract.files.format,
        columns=contract.columns,
        batch_rows=batch_rows,
        has_header=contract.files.header,
        csv=contract.files.csv,
    )


def told_format(uri: str) -> str:
    """The format that a file's ending tells, compression aside; without any it is text.

    >>> told_format("/data/a.CSV.gz"), told_format("/data/a.tsv"), told_format("/data/export")
    ('csv', 'csv', 'csv')

    Raises:
        InputError: if no format has this ending.
    """
    name = file_name(uri).lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    for reader in READERS.values():
        if name.endswith(reader.endings):
            return reader.name
    if "." not in name.lstrip("."):
        return "csv"
    endings = sorted(ending for reader in READERS.values() for ending in reader.endings)
    raise InputError(
        "The file's ending names no known format.",
        where=file_name(uri),
        expected=", ".join(endings) + f" (or one of them with {', '.join(COMPRESSIONS)})",
    )

"""Files: where the deliveries of a source appear, how they are written, and in which order."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    StrictInt,
    StrictStr,
    Tag,
    model_serializer,
    model_validator,
)

from catalog.contracts.csv_files import PLAIN, CsvFormat
from catalog.contracts.databases import with_extracts
from catalog.contracts.strict import Strict

FileFormat = Literal[
    "parquet", "csv", "jsonl", "xlsx", "fhir", "database", "image", "npz", "nifti", "dicom"
]


def is_unsaid(value: object) -> bool:
    """Left out of a dump where it says nothing, so that hashes of older contracts stay."""
    return value is None or value is False


class Excel(Strict):
    """Where the table lies in a workbook; rows are counted as the sheet shows them, from 1.

    Without a `sheet` it is the only one that holds cells. Cells of a merged area that are not its
    first are bad unless `merged` says that they are empty or repeat the first one.
    """

    sheet: StrictInt | StrictStr | None = None  # its name, or its place from 1
    header_row: int = Field(default=1, ge=1)
    first_row: int | None = Field(default=None, ge=1)  # default: below the header
    last_row: int | None = Field(default=None, ge=1)
    merged: Literal["empty", "repeat"] | None = None


class PatternOrder(Strict):
    """An order by what the groups of a regular expression find in the name or path of a file.

    Groups compare one after another, numbers in them as numbers. Those that are called year, month,
    day, hour, minute and second come first, in this order.
    """

    model_config = ConfigDict(populate_by_name=True)

    read: Literal["name", "path"] = Field(alias="from")
    pattern: StrictStr = Field(min_length=1)


def _order_kind(data: Any) -> str:
    """Tell a word from a pattern, so that faults name the one that was meant."""
    return "pattern" if isinstance(data, dict | PatternOrder) else "word"


Order = Annotated[
    Annotated[Literal["name", "natural", "modified"], Tag("word")]
    | Annotated[PatternOrder, Tag("pattern")],
    Discriminator(_order_kind),
]


class Files(Strict):
    """Where deliveries appear: a path, glob or fsspec URL; compression is told by the ending.

    Of images the path is a template, see template.py, and `mask` the template of their masks.
    `header: false` is of a CSV file or a sheet whose first line is a row, not names; `csv` says
    how a CSV file is written where it is not plain. `order` says which of two files that disagree
    counts, the later one; without it they are taken by their names, numbers in these as numbers,
    and none that arrive together may disagree. Of FHIR the `resource` is the type whose resources
    are rows. Of a database `query` says which rows and `uri` where, see databases.py; `path` is
    where its extracts lie.
    """

    path: str = Field(min_length=1)
    format: FileFormat
    mask: str | None = Field(default=None, min_length=1)
    # Left out of a dump where it says nothing, so that hashes of older contracts stay
    header: bool = Field(default=True, exclude_if=bool)
    order: Order | None = Field(default=None, exclude_if=is_unsaid)
    csv: CsvFormat | None = Field(default=None, exclude_if=lambda value: value in (None, PLAIN))
    excel: Excel | None = Field(default=None, exclude_if=is_unsaid)
    resource: str | None = Field(default=None, pattern="^[A-Z][A-Za-z]+$", exclude_if=is_unsaid)
    query: StrictStr | None = Field(default=None, exclude_if=is_unsaid)
    uri: StrictStr | None = Field(default=None, exclude_if=is_unsaid)
    credentials: StrictStr | None = Field(default=None, exclude_if=is_unsaid)
    cursor: StrictStr | None = Field(default=None, exclude_if=is_unsaid)

    @model_validator(mode="before")
    @classmethod
    def _of_database(cls, data: Any) -> Any:
        """A query needs neither path nor format."""
        return with_extracts(data)

    @model_serializer(mode="wrap")
    def _leave_out_place(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Place and order of extracts are no part of what a contract says, nor of its hash."""
        written: dict[str, Any] = write(self)
        if self.query is not None:
            written.pop("path", None)
            written.pop("order", None)
        return written

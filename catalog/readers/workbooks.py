"""Sheets of Excel workbooks as rows, read by openpyxl piece by piece; texts wait on the disk."""

from __future__ import annotations

import re
import tempfile
import warnings
import zipfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import ParseError

from openpyxl.cell.text import Text
from openpyxl.reader.excel import ExcelReader
from openpyxl.styles.stylesheet import apply_stylesheet
from openpyxl.utils.datetime import WINDOWS_EPOCH
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet._reader import FORMULA_TAG, ROW_TAG, VALUE_TAG, WorkSheetParser
from openpyxl.xml.constants import SHARED_STRINGS, SHEET_MAIN_NS
from openpyxl.xml.functions import iterparse

from catalog.readers.arrow_cells import OUTSIDE_CALENDAR
from catalog.readers.cells import Refused
from catalog.readers.files import FileUnreadable, compression_of, raw_file

ERROR: Final = Refused("excel_error")
NOT_COMPUTED: Final = Refused("not_computed")
MERGED: Final = Refused("merged_cell")
PIECE_BYTES = 1 << 20
MAX_MERGED = 100_000
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_MERGED = re.compile(
    rb"<(?:\w+:)?mergeCell\b[^>]*?\bref=[\"']([A-Z]{1,3})([0-9]{1,7}):([A-Z]{1,3})([0-9]{1,7})"
)
MAX_TAG_BYTES = 1000
_ITEM = f"{{{SHEET_MAIN_NS}}}si"
_SAVE = "open it in Excel or LibreOffice and save it as .xlsx"
_DAMAGED = (
    zipfile.BadZipFile,
    InvalidFileException,
    ParseError,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    OSError,
    EOFError,
    NotImplementedError,
    zipfile.LargeZipFile,
)


class SheetRow(NamedTuple):
    """A row that holds a cell: its number as the sheet shows it, and its cells by place from 1."""

    number: int
    cells: dict[int, Any]


class Merged(NamedTuple):
    """A merged area: first and last row, first and last column."""

    top: int
    bottom: int
    left: int
    right: int


class Sheet(NamedTuple):
    """A sheet of a workbook: its name may be somebody's data."""

    number: int
    name: str
    part: str
    is_visible: bool


class Workbook:
    """An open workbook; no macro, link or formula of it is ever run."""

    def __init__(self, reader: ExcelReader, strings: _Strings) -> None:
        self._archive, self._strings = reader.archive, strings
        self._book = reader.wb
        sheets = [
            (sheet.name, rel.target, sheet.state == "visible")
            for sheet, rel in reader.parser.find_sheets()
            if rel.target in reader.valid_files and "worksheet" in rel.Type
        ]
        self.sheets = [Sheet(number, *facts) for number, facts in enumerate(sheets, start=1)]

    def rows(self, sheet: Sheet) -> Iterator[SheetRow]:
        """The rows of a sheet that hold a cell, in their order."""
        with self._archive.open(sheet.part) as part:
            parser = _Parser(
                part,
                self._strings,
                data_only=True,
                epoch=self._book.epoch,
                date_formats=self._book._date_formats,
                timedelta_formats=self._book._timedelta_formats,
            )
            for number, cells in parser.rows():
                held = {c["column"]: c["value"] for c in cells if c["value"] not in (None, "")}
                if held:
                    yield SheetRow(number, held)

    def merged(self, sheet: Sheet) -> list[Merged]:
        """The merged areas of a sheet; they stand below its cells, which are not looked at."""
        areas: list[Merged] = []
        with self._archive.open(sheet.part) as part:
            kept = b""
            while piece := part.read(PIECE_BYTES):
                kept += piece
                for match in _MERGED.finditer(kept):
                    left, top, right, bottom = match.groups()
                    areas.append(Merged(int(top), int(bottom), _column(left), _column(right)))
                if len(areas) > MAX_MERGED:
                    raise ValueError
                kept = kept[max(kept.rfind(b"<"), len(kept) - MAX_TAG_BYTES) :]
        return list(dict.fromkeys(areas))


@contextmanager
def open_workbook(uri: str) -> Iterator[Workbook]:
    """An open workbook; openpyxl's own errors and warnings, which may hold cells, end here.

    Raises:
        FileUnreadable: if it is none, is protected by a password, or is of another format.
    """
    if compression_of(uri):
        remedy = "deliver it as .xlsx, which is compressed inside"
        raise FileUnreadable(uri, "a workbook is not read from a compressed file", remedy=remedy)
    with raw_file(uri) as raw, tempfile.TemporaryFile() as strings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_kind(raw, uri)
        try:
            reader = ExcelReader(raw, read_only=True, data_only=True, keep_links=False)
            reader.read_manifest()
            reader.read_workbook()
            apply_stylesheet(reader.archive, reader.wb)
            book = Workbook(reader, _Strings(reader, strings))
            if not book.sheets:
                reason = "it has no worksheet, or is a Strict Open XML workbook"
                raise FileUnreadable(uri, reason, remedy=_SAVE)
            yield book
        except _DAMAGED:
            raise FileUnreadable(uri, "it is no Excel workbook, or is damaged or cut off") from None


def _check_kind(raw: Any, uri: str) -> None:
    """Tell apart what people call Excel files.

    Raises:
        FileUnreadable: if it is no zip file of an Excel workbook.
    """
    head = raw.read(8)
    if not head:
        raise FileUnreadable(uri, "it is empty", remedy="deliver a file with rows, or none")
    if head.startswith(_OLE):
        if _holds(raw, "EncryptedPackage".encode("utf-16-le")):
            remedy = "save it without a password; no password is ever asked here"
            raise FileUnreadable(uri, "it is protected by a password", remedy=remedy)
        raise FileUnreadable(uri, "it is of the old Excel format .xls", remedy=_SAVE)
    if not head.startswith(_ZIP):
        reason = "it is no Excel workbook, whatever its ending says"
        remedy = f"deliver it with the ending of its format (such as .csv), or {_SAVE}"
        raise FileUnreadable(uri, reason, remedy=remedy)
    raw.seek(0)
    try:
        with zipfile.ZipFile(raw) as archive:
            names = set(archive.namelist())
    except _DAMAGED:
        raise FileUnreadable(uri, "it is no Excel workbook, or is damaged or cut off") from None
    if any(name.endswith("workbook.bin") for name in names):
        raise FileUnreadable(uri, "it is of the binary Excel format .xlsb", remedy=_SAVE)
    if "mimetype" in names and "content.xml" in names:
        raise FileUnreadable(uri, "it is an OpenDocument file", remedy=_SAVE)
    raw.seek(0)


def _holds(raw: Any, needle: bytes) -> bool:
    kept = b""
    while piece := raw.read(PIECE_BYTES):
        if needle in kept + piece:
            return True
        kept = piece[-len(needle) :]
    return False


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + letter - 64
    return number


class _Strings(Sequence[str]):
    """The texts that cells share, in a file without a name, found by their places."""

    def __init__(self, reader: ExcelReader, file: Any) -> None:
        self._file, self._ends = file, array("q", [0])
        part = reader.package.find(SHARED_STRINGS)
        if part is None:
            return
        with reader.archive.open(part.PartName[1:]) as source:
            for _, node in iterparse(source):
                if node.tag == _ITEM:
                    # As openpyxl's own table has it, which would be held in memory
                    content = Text.from_tree(node).content.replace("x005F_", "")
                    text = content.encode("utf-8", "replace")
                    node.clear()
                    file.write(text)
                    self._ends.append(self._ends[-1] + len(text))
        file.flush()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError
        self._file.seek(self._ends[index])
        return self._file.read(self._ends[index + 1] - self._ends[index]).decode("utf-8")


class _Parser(WorkSheetParser):  # type: ignore[misc]
    """openpyxl's parser of a sheet, which also tells errors and formulas that nobody computed."""

    def rows(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for _, element in iterparse(self.source):
            if element.tag == ROW_TAG:
                yield self.parse_row(element)
                element.clear()

    def parse_cell(self, element: Any) -> dict[str, Any]:
        cell: dict[str, Any] = super().parse_cell(element)
        if cell["data_type"] == "e":
            is_number = element.get("t", "n") == "n"
            cell["value"] = OUTSIDE_CALENDAR if is_number else ERROR
        elif cell["data_type"] == "d" and self._is_no_day(element):
            cell["value"] = OUTSIDE_CALENDAR
        elif cell["value"] is None and element.find(FORMULA_TAG) is not None:
            # A formula whose text is empty has an empty value; one never computed has none
            has_value = element.find(VALUE_TAG) is not None and element.get("t") == "str"
            cell["value"] = None if has_value else NOT_COMPUTED
        return cell

    def _is_no_day(self, element: Any) -> bool:
        """Whether a cell counts days before 1900, or is the 29th of February 1900 of Excel's."""
        if element.get("t", "n") != "n":
            return False
        count = float(element.findtext(VALUE_TAG))
        return count < 0 or (self.epoch == WINDOWS_EPOCH and 60 <= count < 61)

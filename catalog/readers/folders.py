"""What a draft is drawn from: the files of a folder, and the columns in the names of folders."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import cycle, islice
from typing import Any

import fsspec

from catalog.contracts.contract import ColumnType
from catalog.readers.cells import from_text
from catalog.readers.fhir_sample import is_fhir, sample_fhir
from catalog.readers.files import COMPRESSIONS, absolute_pattern, file_name, list_parts
from catalog.readers.formats import format_of_name, read_sample
from catalog.readers.headers import looks_like_value
from catalog.readers.naming import DraftName, draft_names
from catalog.readers.nested_sample import with_nested
from catalog.readers.partitions import folder_values
from catalog.readers.sample import ColumnSample
from catalog.readers.sniffed_values import ToldColumn
from rpe_core.errors import InputError

MAX_FOLDERS_READ = 2000  # files whose folders are looked at


@dataclass(frozen=True)
class FilesToDraft:
    """The files that a draft is about, as `files.path` will name them."""

    path: str
    uris: list[str]


def found_files(uri: str) -> FilesToDraft:
    """The files that a path, a glob or a folder names; of a folder by a glob of its own.

    Raises:
        InputError: if there is none, or a folder holds files of several formats.
    """
    filesystem, folder = fsspec.core.url_to_fs(absolute_pattern(uri))
    if not filesystem.isdir(folder):
        return FilesToDraft(uri, list_parts(uri))
    root = absolute_pattern(uri).rstrip("/")
    ends: Counter[str] = Counter()
    for name in list_parts(f"{root}/**"):
        if (ending := _ending(name)) is not None:
            ends[ending] += 1
    if len({format_of_name(f"a{ending}") for ending in ends}) != 1 or len(ends) != 1:
        raise InputError(
            "The folder does not hold files of one format.",
            where=file_name(root),
            expected="files with one ending of a table, such as .parquet",
            remedy="name them by a glob: `<folder>/**/*.parquet`",
        )
    (ending,) = ends
    uris = [name for name in list_parts(f"{root}/**/*{ending}")]
    return FilesToDraft(f"{root}/{_folders(root, uris)}*{ending}", uris)


def _ending(name: str) -> str | None:
    """The ending by which a file's format is told, compression included; None of another file."""
    base = file_name(name)
    stem, last = posixpath.splitext(base)
    whole = posixpath.splitext(stem)[1] + last if last.lower() in COMPRESSIONS else last
    try:
        format_of_name(f"a{whole}")
    except InputError:
        return None
    return whole if whole else None


def _folders(root: str, uris: Sequence[str]) -> str:
    """The folders between as a glob: `year=*/site=*/` where all files lie so, else any."""
    inner = [uri.removeprefix(f"{root}/").split("/")[:-1] for uri in uris]
    names = {tuple(part.partition("=")[0] if "=" in part else "" for part in p) for p in inner}
    if len(names) != 1:
        return "**/"
    return "".join(
        f"{name}=*/" if name and not looks_like_value(name) else "*/" for name in names.pop()
    )


def drafted_sample(files: FilesToDraft, *, rows: int) -> tuple[str, ColumnSample]:
    """The format of the files, and the first rows of the first one with all that they hold.

    Raises:
        InputError: if the ending tells no format.
        FileUnreadable: if the file cannot be read.
    """
    first = files.uris[0]
    file_format = format_of_name(first)
    if file_format == "jsonl" and is_fhir(first):
        file_format = "fhir"
    if file_format == "fhir":
        fhir = sample_fhir(first, rows=rows)
        sample = replace(fhir.sample, files={"resource": fhir.resource})
    elif file_format == "xlsx":
        from catalog.readers.xlsx_sample import sample_xlsx  # openpyxl takes a fifth of a second

        xlsx = sample_xlsx(first, rows=rows)
        sample = replace(xlsx.sample, files={"excel": xlsx.excel}, n_sheets=xlsx.n_sheets)
    else:
        sample = read_sample(first, file_format, rows=rows)
    if file_format in ("jsonl", "parquet"):
        sample = with_nested(sample, first, file_format, rows=rows)
    return file_format, with_folders(sample, files.uris)


def with_folders(sample: ColumnSample, uris: Sequence[str]) -> ColumnSample:
    """The sample with a column for each partition that the folders of the files name.

    Raises:
        FileUnreadable: if two folders of a file are of one partition.
    """
    by_file = [folder_values(uri) for uri in uris[:MAX_FOLDERS_READ]]
    held = {str(name.in_file or name.name) for name in sample.names}
    keys = [k for k in dict.fromkeys(key for values in by_file for key in values) if k not in held]
    shown = [key for key in keys if not looks_like_value(key)]
    if not keys:
        return sample
    n_rows = max((len(column) for column in sample.cells), default=0)
    drafted = draft_names([*(n.name for n in sample.names), *shown], is_header=True)
    names = [
        DraftName(new.name, None, () if new.name == key else (("from", key),))
        for new, key in zip(drafted[len(sample.names) :], shown, strict=True)
    ]
    cells = [
        [*islice(cycle(_cells([v.get(key) for v in by_file], sample)), n_rows)] for key in shown
    ]
    texts: list[ColumnType] = ["string"] * len(shown)
    csv = sample.csv
    if csv is not None:
        csv = replace(csv, columns=[*csv.columns, *map(ToldColumn, cells)])
    return replace(
        sample,
        csv=csv,
        names=[*sample.names, *names],
        cells=[*sample.cells, *cells],
        stored=[*sample.stored, *texts] if sample.stored else (),
        n_hidden=sample.n_hidden + len(keys) - len(shown),
    )


def _cells(texts: Sequence[str | None], sample: ColumnSample) -> list[Any]:
    """The texts of folders as cells of the sample: typed where its other cells are typed."""
    cells = [None if text is None else text.encode() for text in texts]
    if sample.convert is from_text:
        return list(cells)
    for kind in (int, date.fromisoformat):
        try:
            typed = [None if text is None else kind(text) for text in texts]
        except ValueError:
            continue
        if all(str(value) == text for value, text in zip(typed, texts, strict=True) if text):
            return typed
    return list(cells)

"""Files of LoRA-VecDB on record: which a close found below each table, by length and hash.

Lance writes each of its files once, and removes none but when a table is cleaned: then all versions
go but the newest. A table that was cleaned, or made anew, begins its list on record anew.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import StoreError
from catalog.stores.object_store import is_in_bucket, object_store_errors, open_bucket
from catalog.stores.places import PlacedFile, files_below, sha256_of
from catalog.stores.rows import Rows, named_in
from catalog.stores.vectors.rows import PREFIX

STORE = "vectors"  # what a name on record begins with
_TABLE = re.compile(rf"({PREFIX}[^/]+)\.lance/(.+)")
_MANIFEST = re.compile(r"_versions/(\d+)\.manifest")
_HINT = "_versions/latest_version_hint.json"  # written in place, and believed by nobody
_LAST = (1 << 64) - 1  # manifests count down from it
_CLEANING = "cleaning"  # beside the tables while files are being removed


@dataclass(frozen=True)
class KeptFile:
    """A file as it was when a close first saw it."""

    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class KeptTable:
    """Files of a table on record; `token` tells it from one that is made later under its name."""

    token: str
    first: int  # oldest version that lay there
    files: Mapping[str, KeptFile]

    def is_cleaned(self, first: int) -> bool:
        """Whether versions were removed since, as Lance does it, where `first` is the oldest."""
        return first > self.first and first >= max(versions_of(self.files), default=0)

    def is_made_anew(self, token: str, lying: Mapping[str, PlacedFile]) -> bool:
        """Whether another table lies there; one that shares files by name is the same, damaged."""
        own = (name for name in self.files if not _MANIFEST.fullmatch(name))
        return token != self.token and not any(name in lying for name in own)


def tables_there(uri: str) -> dict[str, dict[str, PlacedFile]]:
    """Table -> its files by their names below it.

    Raises:
        StoreError: the bucket cannot be listed.
    """
    tables: dict[str, dict[str, PlacedFile]] = defaultdict(dict)
    for file in files_below(uri):
        match = _TABLE.fullmatch(file.name)
        if match and match[2] != _HINT:
            tables[match[1]][match[2]] = file
    return dict(tables)


def versions_of(names: Mapping[str, object]) -> list[int]:
    """Versions of a table whose manifests are among some names."""
    return [_LAST - int(match[1]) for match in map(_MANIFEST.fullmatch, names) if match]


def kept_tables(lake: Rows) -> dict[str, KeptTable]:
    """What closes of runs put on record; nothing in a lake of an earlier release."""
    tables: dict[str, KeptTable] = {}
    for row in lake.rows("SELECT * FROM core.runs ORDER BY recorded_at"):
        for table, hashes in _told_in(row.get("files_json")).items():
            known = tables.get(table)
            if begun := hashes.pop("", ""):
                token, first = begun.split(" ")
                known = KeptTable(token, int(first), {})
            if known:
                files = {name: _kept_file(text) for name, text in hashes.items()}
                tables[table] = KeptTable(known.token, known.first, {**known.files, **files})
    return tables


def unsealed_files(lake: Rows, uri: str, tokens: Mapping[str, str]) -> dict[str, str]:
    """What the next close puts on record: files that no close has, each read once.

    `tokens` are those of the tables that can be opened; one that cannot was damaged before.
    """
    unsealed: dict[str, str] = {}
    kept = kept_tables(lake)
    for table, lying in tables_there(uri).items():
        if table in tokens and versions_of(lying):
            with suppress(StoreError):  # damaged, or cleaned meanwhile: the next close looks again
                new = _unsealed(kept.get(table), tokens[table], lying)
                unsealed |= {_name(table, name): text for name, text in new.items()}
    return unsealed


def _unsealed(
    known: KeptTable | None, token: str, lying: Mapping[str, PlacedFile]
) -> dict[str, str]:
    first = min(versions_of(lying))
    is_new = known is None or known.is_made_anew(token, lying)
    if known and not is_new and known.token != token:
        return {}
    have = known.files if known and not is_new else {}
    is_begun = is_new or (known is not None and known.is_cleaned(first))
    entries = {"": f"{token} {first}"} if is_begun else {}
    for name, file in lying.items():
        if name not in have:
            entries[name] = f"{sha256_of(file)} {file.n_bytes}"
        elif is_begun:
            entries[name] = f"{have[name].sha256} {have[name].n_bytes}"
    return entries


@contextmanager
def mark_cleaning(uri: str) -> Iterator[None]:
    """While files are removed a mark lies beside the tables; a kill leaves it to the next time."""
    if is_in_bucket(uri):
        files, root = open_bucket(uri, "RPE_VECTORS_URI")
        with object_store_errors("mark the vectors", uri), files.open_output_stream(_mark(root)):
            pass
        yield
        with object_store_errors("mark the vectors", uri), suppress(FileNotFoundError):
            files.delete_file(_mark(root))
    else:
        mark = Path(_mark(uri))
        mark.touch()
        yield
        mark.unlink(missing_ok=True)


def is_cleaning(uri: str) -> bool:
    """Whether files are being removed, or whoever removed them was killed."""
    if not is_in_bucket(uri):
        return Path(_mark(uri)).exists()
    files, root = open_bucket(uri, "RPE_VECTORS_URI")
    with object_store_errors("look at the vectors", uri):
        return bool(files.get_file_info(_mark(root)).is_file)


def _mark(root: str) -> str:
    return f"{root}/{_CLEANING}"


def _name(table: str, name: str) -> str:
    """The name on record of a file, or of its table where it has none."""
    return f"{STORE}/{table}.lance" + (f"/{name}" if name else "")


def _told_in(text: str | None) -> dict[str, dict[str, str]]:
    """Table -> name -> what a run's row says of it."""
    by_table: dict[str, dict[str, str]] = defaultdict(dict)
    for name, text_of_file in named_in(text).items():
        store, _, path = name.partition("/")
        if store == STORE:
            table, _, rest = path.partition(".lance")
            by_table[table][rest.removeprefix("/")] = text_of_file
    return by_table


def _kept_file(text: str) -> KeptFile:
    sha256, n_bytes = text.split(" ")
    return KeptFile(int(n_bytes), sha256)

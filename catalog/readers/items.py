"""The items of a dataset version as a model takes them: cells of text, or images read when asked.

Pixels stay in their files. An image is loaded when it is indexed, and only if its bytes are still
those that were ingested.
"""

from __future__ import annotations

import glob
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, overload

import pyarrow as pa

from catalog.contracts.contract import OfImages, Segmentation, SourceContract
from catalog.contracts.images import IMAGE_ENDINGS, image_format
from catalog.contracts.labels import label_of
from catalog.contracts.template import Template
from catalog.errors import RecordConflict
from catalog.readers.cells import CellRefusedError
from catalog.readers.files import FileUnreadable, absolute_pattern, file_name
from catalog.readers.images import image_sha256, load_image, load_mask
from catalog.readers.listing import is_left_behind, matching_files
from catalog.readers.reasons import reason_text
from rpe_core.errors import InputError

CACHE_BYTES = 256 << 20
SPACING = ("spacing_slice", "spacing_row", "spacing_column")

Entry = tuple[Any, ...]  # what is needed to load an item: names, hashes, spacing; none is no item


@dataclass(frozen=True)
class ItemSource:
    """Which columns hold the items of a task, and of images where their files are.

    Plain values only, so that a training process can be told by JSON.
    """

    input: str
    target: str
    path: str = ""  # '' where the cells are the items
    format: str = ""
    mask: str = ""
    values: tuple[int, ...] = ()  # pixel values of the classes 1, 2, ...; only masks have them

    @property
    def input_columns(self) -> list[str]:
        """The columns that `inputs` reads."""
        return [self.input, "image_sha256"] if self.path else [self.input]

    @property
    def columns(self) -> list[str]:
        """The columns that `inputs` and `targets` read."""
        answers = [self.target, "mask_sha256", *SPACING] if self.values else [self.target]
        return [*self.input_columns, *answers]

    def inputs(self, rows: pa.Table) -> Sequence[Any]:
        """What is asked about: texts, or images (slices, height, width, channels)."""
        if not self.path:
            return _cells(rows, self.input)
        entries = list(zip(*(_cells(rows, name) for name in self.input_columns), strict=True))
        return LazyItems(entries, self._load_image, self._sha256)

    def targets(self, rows: pa.Table) -> Sequence[Any]:
        """The answers: texts, labels as text, or (mask of class indices, spacing in mm).

        An item without one has None.
        The spacing of slices, rows and columns is 1.0 where it is not known.
        """
        if not self.values:
            return [*map(label_of, _cells(rows, self.target))]
        names, hashes = _cells(rows, self.target), _cells(rows, "mask_sha256")
        spacing = [[1.0 if v is None else v for v in _cells(rows, name)] for name in SPACING]
        entries = [
            () if name is None else (name, sha256, *mm)
            for name, sha256, *mm in zip(names, hashes, *spacing, strict=True)
        ]
        return LazyItems(entries, self._load_mask, self._sha256_of_mask)

    def _load_image(self, entry: Entry) -> Any:
        loaded = load_image(self._uris(entry[0]), self.format)
        return loaded.picture.pixels if loaded.sha256 == entry[1] else None

    def _load_mask(self, entry: Entry) -> Any:
        kind = (image_format(self.mask) or "") if self.mask else self.format
        mask, sha256 = load_mask(self._mask_uri(entry[0]), kind, self.values)
        return (mask, tuple(entry[2:])) if sha256 == entry[1] else None

    def _sha256(self, entry: Entry) -> str:
        return image_sha256(self._uris(entry[0]), self.format)

    def _sha256_of_mask(self, entry: Entry) -> str:
        return image_sha256([self._mask_uri(entry[0])], "")

    def _uris(self, name: str) -> list[str]:
        template = Template(absolute_pattern(self.path))
        if self.format != "dicom":
            return [template.root + name]
        return matching_files(f"{glob.escape(template.root + name)}/{file_name(self.path)}")

    def _mask_uri(self, name: str) -> str:
        return Template(absolute_pattern(self.mask or self.path)).root + name


def item_source(contract: SourceContract) -> ItemSource:
    """Where the items of a source are."""
    task, files = contract.task, contract.files
    if not isinstance(task, OfImages):
        return ItemSource(task.input, task.target)
    values = tuple(task.classes.values()) if isinstance(task, Segmentation) else ()
    return ItemSource(task.input, task.target, files.path, files.format, files.mask or "", values)


def read_item(path: Path) -> Any:
    """The image (slices, height, width, channels) of a file, or of a DICOM series by its folder.

    Raises:
        InputError: if the ending names no format, or there is no image of it.
    """
    if path.is_dir():
        files = (str(file) for file in path.iterdir() if not file.is_dir())
        uris, kind = sorted(file for file in files if not is_left_behind(file)), "dicom"
    else:
        uris, kind = [str(path)], image_format(path.name) or ""
    if not kind:
        expected = f"{', '.join(IMAGE_ENDINGS)}, or the folder of a DICOM series"
        raise InputError("The ending names no image.", where=path.name, expected=expected)
    try:
        return load_image(uris, kind).picture.pixels
    except CellRefusedError as refused:
        reason = reason_text(refused.reason)
    raise InputError(f"The image cannot be used: {reason}.", where=path.name)


def chosen_items(items: Sequence[Any], rows: Iterable[int]) -> Sequence[Any]:
    """The items of these rows; of images none is loaded."""
    return items.take(rows) if isinstance(items, LazyItems) else [items[row] for row in rows]


class LazyItems(Sequence[Any]):
    """Items that are loaded when they are indexed; a slice or a choice of them loads nothing.

    What was loaded last stays in memory, up to `cache_bytes` for all choices together.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        load: Callable[[Entry], Any],
        sha256: Callable[[Entry], str],
        *,
        cache: _Cache | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._entries, self._load, self._sha256 = entries, load, sha256
        self._cache = cache or _Cache(cache_bytes)

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> LazyItems: ...

    def __getitem__(self, index: int | slice) -> Any:
        """An item, or None where there is none; of a slice the items, not loaded.

        Raises:
            RecordConflict: the file was changed or removed since it was ingested.
        """
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        entry = self._entries[index]
        if not entry:
            return None
        item = self._cache.get(entry)
        if item is None:
            item = self._loaded(entry)
            self._cache.put(entry, item)
        return item

    def take(self, rows: Iterable[int]) -> LazyItems:
        """The items of these rows, not loaded."""
        entries = [self._entries[row] for row in rows]
        return LazyItems(entries, self._load, self._sha256, cache=self._cache)

    def _loaded(self, entry: Entry) -> Any:
        try:
            item = self._load(entry)
        except (CellRefusedError, FileUnreadable, InputError):
            item = None
        if item is None:
            raise self._changed() from None
        return item

    def _changed(self) -> RecordConflict:
        """The error, with how many of the files are not what was ingested."""
        there = [entry for entry in dict.fromkeys(self._entries) if entry]
        n_changed = sum(not self._is_same(entry) for entry in there)
        return RecordConflict(
            f"{n_changed} of {len(there)} image files were changed or removed after their ingest.",
            expected="the bytes that were ingested, under the names that they had",
            remedy="put them back, or take in what has come with `rpe ingest`",
        )

    def _is_same(self, entry: Entry) -> bool:
        try:
            return bool(self._sha256(entry) == entry[1])
        except (FileUnreadable, InputError):
            return False


class _Cache:
    """Items by entry, the one used longest ago out first, within a number of bytes."""

    def __init__(self, limit: int) -> None:
        self._limit, self._n_bytes = limit, 0
        self._held: OrderedDict[Entry, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, entry: Entry) -> Any:
        with self._lock:
            if entry not in self._held:
                return None
            self._held.move_to_end(entry)
            return self._held[entry][0]

    def put(self, entry: Entry, item: Any) -> None:
        array = item[0] if isinstance(item, tuple) else item
        array.flags.writeable = False  # whoever changed it would change it for every epoch
        with self._lock:
            if entry in self._held or array.nbytes > self._limit:
                return
            self._held[entry] = (item, array.nbytes)
            self._n_bytes += array.nbytes
            while self._n_bytes > self._limit:
                _, (_, freed) = self._held.popitem(last=False)
                self._n_bytes -= freed


def _cells(rows: pa.Table, column: str) -> list[Any]:
    cells: list[Any] = rows.column(column).to_pylist()
    return cells

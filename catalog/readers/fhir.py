"""FHIR resources as typed batches: NDJSON as bulk exports write it, Bundles in a file or a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from catalog.readers.batches import Columns, PendingRows
from catalog.readers.cells import TypedBatch, from_value
from catalog.readers.files import FileUnreadable, text_file
from catalog.readers.objects import ObjectRows
from catalog.readers.rows import json_lines
from catalog.readers.tabular import MAX_LINE_BYTES, json_object, refuse_array
from rpe_core.errors import InputError

MAX_DEPTH = 4  # of Bundles in Bundles
_SMALLER = "deliver NDJSON, one resource a line, or smaller Bundles"


class Resource(NamedTuple):
    """A resource with its number: of its line, or of its entry in a file that is one Bundle."""

    number: int
    content: dict[str, Any] | None  # None of what is no resource
    reason: str
    n_bytes: int


def read_fhir(
    uri: str,
    columns: Columns,
    *,
    batch_rows: int,
    max_cell_chars: int,
    resource: str | None = None,
) -> Iterator[TypedBatch]:
    """Batches of the resources of one type; those of other types are no rows.

    Fields that no column names are no unknown columns: what a resource may hold is FHIR's matter.

    Raises:
        FileUnreadable: if it is damaged, empty, or a Bundle that is too large to be read at once.
        InputError: if no type is named.
    """
    if resource is None:
        raise InputError(
            "FHIR is read by the type of resource that makes a row.",
            expected="files: {path: ..., format: fhir, resource: DiagnosticReport}",
        )
    pending = PendingRows(columns, from_value, max_cell_chars)
    objects = ObjectRows(columns, pending, batch_rows=batch_rows, is_open=True)
    for entry in resources(uri):
        if entry.content is None or entry.content.get("resourceType") == resource:
            yield from objects.add(
                entry.content,
                entry.reason,
                number=entry.number,
                n_bytes=entry.n_bytes,
            )
    if pending.n_rows:
        yield pending.take()


def resources(uri: str) -> Iterator[Resource]:
    """Every resource of a file, those in Bundles too, in their order.

    Raises:
        FileUnreadable: as `read_fhir`.
    """
    with text_file(uri) as stream:
        lines = json_lines(stream, max_line_bytes=MAX_LINE_BYTES)
        first, second = next(lines, b""), next(lines, b"")
        if first == b"":
            remedy = "deliver a file with rows, or none"
            raise FileUnreadable(uri, "it holds no line", remedy=remedy)
        refuse_array(first, uri)
        if not second:
            yield from _of_line(first, None)
        elif _is_cut(first) and json_object(second)[0] is None:
            yield from _of_line(_joined(chain([first, second], lines), uri), None)
        else:
            for number, line in enumerate(chain([first, second], lines), start=1):
                yield from _of_line(line, number)


def _of_line(line: bytes | None, number: int | None) -> Iterator[Resource]:
    """The resources of a line with its number, or each with its place in the Bundle."""
    content, reason = json_object(line)
    held = [(None, reason)] if content is None else [*_entries(content, MAX_DEPTH)]
    share = len(line or b"") // max(1, len(held))
    for index, (inner, code) in enumerate(held, start=1):
        yield Resource(number or index, inner, code, share)


def _entries(content: dict[str, Any], depth: int) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """The resource itself, or those of a Bundle; an entry without one is a deletion or a link."""
    kind = content.get("resourceType")
    if not isinstance(kind, str):
        yield None, "not_fhir"
        return
    if kind != "Bundle":
        yield content, ""
        return
    entries = content.get("entry")
    for entry in entries if isinstance(entries, list) else []:
        inner = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(inner, dict) and depth:
            yield from _entries(inner, depth - 1)


def _is_cut(line: bytes | None) -> bool:
    """Whether a line is JSON that goes on below, as people write it."""
    try:
        json.loads(line or b"")
    except json.JSONDecodeError as error:
        return error.pos >= len((line or b"").decode("utf-8", "replace").rstrip())
    except (ValueError, RecursionError):
        return False
    return False


def _joined(lines: Iterable[bytes | None], uri: str) -> bytes:
    """One JSON text that was written over many lines.

    Raises:
        FileUnreadable: if it is too large.
    """
    parts: list[bytes] = []
    size = 0
    for line in lines:
        size += len(line or b"")
        if line is None or size > MAX_LINE_BYTES:
            raise FileUnreadable(uri, "it is one JSON text of more than 64 MiB", remedy=_SMALLER)
        parts.append(line)
    return b"\n".join(parts)

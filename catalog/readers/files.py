"""Files of a source: finding, opening and hashing them; what cannot be read is told plainly."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from catalog.errors import ContractViolated
from catalog.readers.encodings import as_utf8, encoding_of_mark
from rpe_core.errors import InputError
from rpe_core.regular_files import NotRegularFile, open_regular, special_kind

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
BUFFER_BYTES = 1 << 20
_CHECKSUMS = (".crc", ".md5", ".sha1", ".sha256", ".sha512")
_BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 4096


class FileUnreadable(ContractViolated):
    """A delivered file that cannot be read as what the contract says; nothing of it landed."""

    def __init__(self, uri: str, reason: str, *, remedy: str = "", source: str = "") -> None:
        self.uri = uri
        super().__init__(
            f"{file_name(uri)} cannot be read: {reason}.",
            source=source,
            where=file_name(uri),
            remedy=remedy or "ask the owner for the file again",
            reasons=("unreadable_file",),
        )


def file_name(uri: str) -> str:
    """The last part of a path or URL, which holds no credentials and no place of a machine.

    >>> file_name("s3://key:secret@bucket/2026/reports.csv.gz")
    'reports.csv.gz'
    """
    name = PurePosixPath(uri.replace("\\", "/")).name
    return "".join(mark if mark.isprintable() else "?" for mark in name) or "(no name)"


def list_files(pattern: str) -> list[str]:
    """Files that a path, glob or fsspec URL names, sorted; local ones as absolute paths.

    A path that exists is taken as it is, so a name with brackets needs no escape.

    Raises:
        InputError: if nothing matches, or a directory or an unknown kind of URL is named.
    """
    filesystem, path = _filesystem(pattern)
    try:
        if filesystem.isdir(path):
            raise InputError(
                "files.path names a directory.",
                where=file_name(path),
                expected="a file or a glob",
                remedy="name the files in it, such as `<directory>/*.parquet`",
            )
        if _is_listed(filesystem, path):
            names = [path]
        else:
            names = [name for name in filesystem.glob(path) if _is_listed(filesystem, name)]
    except OSError:
        raise _no_match(pattern) from None
    if not names:
        raise _no_match(pattern)
    return sorted(_uri(filesystem, name) for name in names)


def _is_listed(filesystem: Any, path: str) -> bool:
    """Whether a name is a file's, or that of a FIFO and its kin, which are refused when opened."""
    if filesystem.isfile(path):
        return True
    is_local = isinstance(filesystem, LocalFileSystem)
    return is_local and not filesystem.isdir(path) and bool(special_kind(path))


def list_parts(pattern: str) -> list[str]:
    """Files of a table that a path, glob or fsspec URL names, without what its writer left there.

    Checksums are left out by their ending, if the pattern does not end so itself: `part-0.csv.md5`.

    Spark, Hive and their kin mark what is no table by a name that begins with `_` or `.`, of a file
    or of a folder below the glob: `_SUCCESS`, `.part-0.crc`, `_temporary/`. A name that the pattern
    begins in this way itself is kept, and so is a folder of a partition, `_year=2026`.

    Raises:
        InputError: as `list_files`, or if nothing else matches.
    """
    wanted = absolute_pattern(pattern).split("/")
    uris = list_files(pattern)
    kept = [
        uri for uri in uris
        if not any(_is_left_over(part, wanted) for part in uri.split("/"))
        and (pattern.endswith(_CHECKSUMS) or not uri.lower().endswith(_CHECKSUMS))
    ]  # fmt: skip
    if not kept:
        raise InputError(
            "files.path matches no file of a table.",
            where=file_name(pattern),
            expected=f"a name other than those of {len(uris)} files that begin with `_` or `.`, or"
            " end as checksums do",
            remedy="write that mark or ending into the path if these files are the table",
        )
    return kept


def _is_left_over(part: str, wanted: Sequence[str]) -> bool:
    mark = part[:1]
    if mark not in ("_", ".") or (mark == "_" and "=" in part):
        return False
    return part not in wanted and not any(
        name[:1] == mark and fnmatchcase(part, name) for name in wanted
    )


def absolute_pattern(pattern: str) -> str:
    """The pattern as the uris that `list_files` finds for it begin: absolute, or a whole URL."""
    filesystem, path = _filesystem(pattern)
    return _uri(filesystem, path)


def read_bytes(uri: str, *, limit: int) -> bytes | None:
    """All bytes of a file, or None if there are more than `limit`.

    Raises:
        FileUnreadable: if they cannot be read.
    """
    with raw_file(uri) as raw:
        size = raw.seek(0, io.SEEK_END)
        if size > limit:
            return None
        raw.seek(0)
        content: bytes = raw.read(size)  # asked for the limit, Python would allocate that much
    return content


def file_sha256(uri: str) -> str:
    """The sha256 of a file's bytes as they lie there, compressed or not.

    Raises:
        FileUnreadable: if the bytes cannot be read to the end.
    """
    digest = hashlib.sha256()
    with raw_file(uri) as raw:
        while piece := raw.read(BUFFER_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def modified_at(uri: str) -> datetime:
    """When a file was last modified, as its store says, to the microsecond.

    Raises:
        InputError: the store does not say, or the file is gone.
    """
    filesystem, path = _filesystem(uri)
    try:
        modified = filesystem.modified(path)
    except (NotImplementedError, OSError, KeyError, AttributeError):
        raise InputError(
            "The store of a file does not say when it was modified.",
            where=file_name(uri),
            expected="a local folder or an object store",
            remedy="order the files by their names: files.order: natural, or a pattern",
        ) from None
    moment: datetime = modified
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def compression_of(uri: str) -> str | None:
    """How the file is compressed, as its ending tells.

    >>> compression_of("a.csv.GZ"), compression_of("a.csv")
    ('gzip', None)
    """
    return COMPRESSIONS.get(PurePosixPath(file_name(uri)).suffix.lower())


@contextmanager
def raw_file(uri: str) -> Iterator[Any]:
    """The bytes of a file as they lie there, seekable.

    Raises:
        FileUnreadable: if it cannot be opened, or fails while it is read.
    """
    filesystem, path = _filesystem(uri)
    try:
        is_local = isinstance(filesystem, LocalFileSystem)
        with open_regular(path) if is_local else filesystem.open(path, "rb") as raw:
            yield raw
    except (OSError, EOFError) as error:
        raise FileUnreadable(uri, _reason(error, uri)) from None


@contextmanager
def plain_file(uri: str) -> Iterator[io.BufferedReader]:
    """The decompressed bytes of a file.

    Raises:
        FileUnreadable: if they cannot be read to the end.
    """
    with raw_file(uri) as raw:
        yield io.BufferedReader(_decompressed(raw, uri), BUFFER_BYTES)


@contextmanager
def text_file(uri: str, *, encoding: str = "utf-8", remedy: str = "") -> Iterator[Any]:
    """The decompressed bytes of a text file as UTF-8, after its byte order mark.

    `remedy` is what to do about a file in another encoding than this.

    Raises:
        FileUnreadable: if it is empty, damaged, cut off, or visibly in another encoding.
    """
    with plain_file(uri) as stream:
        head = stream.peek(4)[:_HEAD_BYTES]
        if not head:
            raise FileUnreadable(uri, "it is empty", remedy="deliver a file with rows, or none")
        marked = encoding_of_mark(head)
        if marked == encoding == "utf-8":
            stream.read(len(_BOM))
        elif fault := _encoding_fault(head, marked, encoding):
            raise FileUnreadable(uri, fault, remedy=remedy or "export it as UTF-8")
        yield stream if encoding == "utf-8" else as_utf8(stream, encoding)


def _encoding_fault(head: bytes, marked: str, encoding: str) -> str:
    """Why the first bytes cannot be of this encoding, in words."""
    if marked:
        is_same = marked == encoding or (encoding in ("utf-16", "utf-32") and encoding in marked)
        other = f", but {marked} as its byte order mark says" if encoding != "utf-8" else ""
        return "" if is_same else f"it is not {encoding.upper()} text{other}"
    if encoding in ("utf-16", "utf-32"):
        return f"it has no byte order mark to tell which {encoding.upper()} it is"
    if encoding.startswith(("utf-16", "utf-32")):
        return "" if b"\0" in head else f"it is not {encoding.upper()} text"
    return f"it is not {encoding.upper()} text" if b"\0" in head[:4] else ""


def _decompressed(raw: Any, uri: str) -> Any:
    compression = compression_of(uri)
    if compression is None:
        return raw
    return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression)


def _filesystem(uri: str) -> tuple[Any, str]:
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError, OSError):
        raise InputError(
            "files.path names a place that cannot be reached from here.",
            expected="a path, a glob or a URL whose fsspec package is installed",
            remedy="check the part before `://`, and install its package (such as s3fs)",
        ) from None
    return filesystem, str(path)


def _uri(filesystem: Any, path: str) -> str:
    is_local = isinstance(filesystem, LocalFileSystem)
    return path if is_local else str(filesystem.unstrip_protocol(path))


def _no_match(pattern: str) -> InputError:
    return InputError(
        "files.path matches no file.",
        where=file_name(pattern),
        expected="at least one file",
        remedy="check the path and the glob, and whether the delivery has come",
    )


def _reason(error: Exception, uri: str) -> str:
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, NotRegularFile):
        return str(error)
    if isinstance(error, PermissionError):
        return "its permissions forbid it"
    compression = compression_of(uri)
    return f"its {compression} data are damaged or cut off" if compression else "reading it failed"

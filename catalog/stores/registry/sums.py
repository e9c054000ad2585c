"""SHA256SUMS: what every file of a version was when it was kept, in the form of `sha256sum -c`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rpe_core.errors import InputError
from rpe_core.regular_files import open_regular

SUMS = "SHA256SUMS"
HEAD = "SHA256SUMS.head"  # beside it: the chain's head when the version was registered
SUMS_TAG, HEAD_TAG = "rpe.sums_sha256", "rpe.chain_head"  # the same, on the version in MLflow
SEALS = (SUMS_TAG, HEAD_TAG)
_LINE = re.compile(r"(?P<is_escaped>\\?)(?P<sha256>[0-9a-f]{64}) [ *](?P<name>.+)")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
# what reading a version leaves there: MLflow's note of where it comes from, Python's byte code
_NOT_OURS = re.compile(r"registered_model_meta|(.*/)?__pycache__/.*|(.*/)?\.[^/]*")


@dataclass(frozen=True)
class Sums:
    """What core.model_versions says of the files of a version: of those that SHA256SUMS names."""

    sums_sha256: str  # of SHA256SUMS itself
    n_files: int
    n_bytes: int


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over every file that lies below a folder, in the place of an older one."""
    own = {folder / SUMS, folder / HEAD}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path not in own)
    hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    (folder / SUMS).write_text(sums_text(hashes), encoding="utf-8")


def write_head(folder: Path, head: str) -> None:
    """Say beside SHA256SUMS where the chain of core.runs ended; '' before its first link."""
    (folder / HEAD).write_text(head_text(head, sha256_of(folder / SUMS)), encoding="utf-8")


def head_text(head: str, sums_sha256: str) -> str:
    """The content of SHA256SUMS.head."""
    content = {"link_sha256": head, "sums_sha256": sums_sha256}
    return json.dumps(content, sort_keys=True, indent=1) + "\n"


def seal(folder: Path, head: str) -> dict[str, str]:
    """Write the chain's head beside SHA256SUMS, and that where there is none; the tags of both."""
    if not (folder / SUMS).is_file():
        write_sums(folder)
    write_head(folder, head)
    return {SUMS_TAG: sha256_of(folder / SUMS), **({HEAD_TAG: head} if head else {})}


def sums_text(hashes: Mapping[str, str]) -> str:
    r"""The content of SHA256SUMS of relative names and hashes; odd names as coreutils escapes them.

    >>> sums_text({"b": "0" * 64, "a": "1" * 64}) == "1" * 64 + "  a\n" + "0" * 64 + "  b\n"
    True
    """
    return "".join(_line(name, hashes[name]) for name in sorted(hashes))


def read_sums(content: bytes) -> dict[str, str]:
    r"""Relative names and hashes of a SHA256SUMS.

    >>> read_sums(sums_text({"a\\b": "1" * 64}).encode()) == {"a\\b": "1" * 64}
    True

    Raises:
        InputError: it is none.
    """
    hashes = {}
    for line in content.decode("utf-8", errors="replace").splitlines():
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise InputError(
                f"{SUMS} is not what `sha256sum` writes.", expected="a hash and a name a line"
            )
        hashes[_unescaped(match["name"]) if match["is_escaped"] else match["name"]] = match[
            "sha256"
        ]
    return hashes


def sums_of(content: bytes, sizes: Mapping[str, int]) -> Sums:
    """What is put on record of a version, by its SHA256SUMS and the sizes of its files."""
    names = read_sums(content)
    n_bytes = sum(sizes.get(name, 0) for name in names)
    return Sums(hashlib.sha256(content).hexdigest(), len(names), n_bytes)


def strangers(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Files that lie among those of a version and are none of them.

    >>> strangers(["a", "b", "registered_model_meta", "SHA256SUMS"], ["a"])
    ['b']
    """
    left = set(names) - set(known) - {SUMS, HEAD}
    return sorted(name for name in left if not _NOT_OURS.fullmatch(name))


def _line(name: str, sha256: str) -> str:
    escaped = "".join(_ESCAPES.get(letter, letter) for letter in name)
    return f"{'' if escaped == name else chr(92)}{sha256}  {escaped}\n"


def _unescaped(name: str) -> str:
    letters = {escape: letter for letter, escape in _ESCAPES.items()}
    return re.sub(r"\\[\\nr]", lambda escape: letters[escape[0]], name)


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, read as a stream."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Which encoding a text file of a stranger has, told from its bytes; a guess where it must be."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from catalog.readers.encodings import encoding_of_mark
from catalog.readers.files import plain_file

PIECE_BYTES = 1 << 20
MAX_PIECES = 64  # of the decompressed file: what comes later is told by bad cells
DETECTED_BYTES = 1 << 16
# Of letters with accents; the first one that spells words wins
_LATIN = ("cp1252", "cp1250", "iso8859-2", "mac-roman", "cp850", "cp437")
# Names that people know for what a detector may call otherwise
_KNOWN = ("cp1251", "koi8-r", "cp866", "cp1253", "cp1255", "cp1256", "shift_jis", "cp932", "euc_jp",
          "gb18030", "big5", "cp949", "iso8859-5", "iso8859-7")  # fmt: skip
_SIGNS = frozenset("€£§°·«»„“”‘’–—…±µ×²³½¼¾ªº©®¿¡•™‚‰\u00a0")


class Encoding(NamedTuple):
    """A name of a codec, and whether no other could be meant."""

    name: str
    is_sure: bool


def sniff_encoding(uri: str) -> Encoding:
    """The encoding of a file's first 64 MiB: byte order mark, UTF-8, UTF-16, or a guess.

    Raises:
        FileUnreadable: if the file cannot be read.
    """
    with plain_file(uri) as stream:
        head = stream.read(PIECE_BYTES)
        marked = encoding_of_mark(head)
        if marked:
            # With the mark in front the name without an order is the whole truth
            return Encoding(marked[: len("utf-16")] if marked != "utf-8" else marked, is_sure=True)
        if wide := _wide(head):
            return Encoding(wide, is_sure=True)
        return _of_bytes(stream, head)


def _wide(head: bytes) -> str:
    """UTF-16 without a mark, which has a null byte beside each plain letter."""
    sample = head[:PIECE_BYTES]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) < len(sample) / 8 or min(even, odd) * 20 > max(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _of_bytes(stream: Any, head: bytes) -> Encoding:
    n_good = n_bad = n_odd_bytes = 0
    odd: list[bytes] = []
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    piece = head
    for _ in range(MAX_PIECES):
        text = decoder.decode(piece)
        n_new = len(_ESCAPED.findall(text))
        n_bad += n_new
        n_good += len(_NOT_ASCII.findall(text)) - n_new
        if n_new and n_odd_bytes < DETECTED_BYTES:
            odd += [line for line in piece.splitlines(keepends=True) if not line.isascii()]
            n_odd_bytes = sum(map(len, odd))
        if not (piece := stream.read(PIECE_BYTES)):
            break
    if not n_bad or n_good > 10 * n_bad:
        return Encoding("utf-8", is_sure=True)
    return Encoding(_guessed(_cut(odd)), is_sure=False)


def _cut(lines: Sequence[bytes]) -> bytes:
    kept, n_bytes = [], 0
    for line in lines:
        kept.append(line[:DETECTED_BYTES])
        n_bytes += len(line)
        if n_bytes >= DETECTED_BYTES:
            break
    return b"".join(kept)


def _guessed(sample: bytes) -> str:
    """Of other scripts what the detector says; of Latin letters whichever codec spells words."""
    from charset_normalizer import from_bytes  # loads tables of 30 MB

    best = from_bytes(sample).best() if _has_runs(sample) else None
    if best is not None and _is_other_script(text := str(best)):
        same = (name for name in _KNOWN if _decoded(sample, name) == text)
        return next(same, best.encoding)
    slips = {name: _n_slips(_decoded(sample, name)) for name in _LATIN}
    return min(slips, key=lambda name: slips[name])


def _has_runs(sample: bytes) -> bool:
    """Whether letters that are not ASCII stand beside each other, as they do not in Latin words."""
    runs = [len(run) for run in _RUN.findall(sample)]
    return 2 * sum(length for length in runs if length > 2) > sum(runs)


def _decoded(sample: bytes, name: str) -> str | None:
    try:
        return sample.decode(name)
    except UnicodeDecodeError:
        return None


def _is_other_script(text: str) -> bool:
    marks = [mark for mark in text if not mark.isascii() and mark.isalpha()]
    n_latin = sum("LATIN" in unicodedata.name(mark, "") for mark in marks)
    return bool(marks) and 2 * n_latin < len(marks)


def _n_slips(text: str | None) -> float:
    """How often a sign stands inside a word, a capital behind a small letter, or no sign at all."""
    if text is None:
        return float("inf")
    n_inside = len(_INSIDE.findall(text))
    n_capital = sum(match[-1].isupper() for match in _BEHIND_SMALL.findall(text))
    odd = {mark for mark in set(text) if not mark.isascii() and not mark.isalpha()} - _SIGNS
    n_odd = sum(map(text.count, odd))
    return float(2 * n_inside + n_capital + 3 * n_odd)


_RUN = re.compile(rb"[\x80-\xff]+")
_ESCAPED = re.compile("[\udc80-\udcff]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_INSIDE = re.compile(r"(?<=[^\W\d_])(?:[^\x00-\x7f\w]|[²³¼½¾¹])(?=[^\W\d_])")
_BEHIND_SMALL = re.compile(r"[a-z][^\x00-\x7f\W\d_]")

"""Bytes in any encoding as bytes of UTF-8, in bounded memory; what is no text stays no text."""

from __future__ import annotations

import codecs
import io
from typing import Any

PIECE_BYTES = 1 << 18
# Half of a surrogate pair: no text holds one, so its cell is refused wherever it is read
_NO_TEXT = "\udcff"
_ERRORS = "rpe-no-text"
_BOMS = (  # the longer ones first
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def encoding_of_mark(head: bytes) -> str:
    r"""The encoding that a byte order mark tells, '' without one.

    >>> encoding_of_mark(b"\xff\xfea\0"), encoding_of_mark(b"id,text")
    ('utf-16-le', '')
    """
    return next((encoding for mark, encoding in _BOMS if head.startswith(mark)), "")


def as_utf8(stream: Any, codec: str) -> io.BufferedReader:
    """The stream's text as UTF-8, without a byte order mark."""
    return io.BufferedReader(_Utf8(stream, codec), 1 << 20)


class _Utf8(io.RawIOBase):
    def __init__(self, stream: Any, codec: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(codec)(_ERRORS)
        self._left = memoryview(b"")
        self._is_first, self._is_over = True, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and not self._is_over:
            piece = self._stream.read(PIECE_BYTES)
            self._is_over = not piece
            text = self._decoder.decode(piece, final=self._is_over)
            if text and self._is_first:
                text, self._is_first = text.removeprefix("\ufeff"), False
            self._left = memoryview(text.encode("utf-8", "surrogatepass"))
        n_bytes = min(len(buffer), len(self._left))
        buffer[:n_bytes] = self._left[:n_bytes]
        self._left = self._left[n_bytes:]
        return n_bytes


def _no_text(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _NO_TEXT, error.end


codecs.register_error(_ERRORS, _no_text)

"""Decoders say nothing: what they log of a damaged file quotes its bytes."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from PIL import _imaging

_STDERR = 2
_one_at_a_time = Lock()  # or one would keep for stderr what another had put there


def keep_silent(package: str) -> None:
    """Nothing that an imported package logs is heard, whatever handlers it or a program has."""
    logging.getLogger(package).setLevel(logging.CRITICAL + 1)


def keep_libtiff_silent() -> None:
    """libtiff, inside Pillow, writes its errors to the process's stderr unless it is told not to.

    Where Pillow was built with a libtiff that is not to be found, it goes on doing so.
    """
    inside = ctypes.CDLL(_imaging.__file__)
    for handler in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        try:
            inside[handler](None)
        except AttributeError:
            return


@contextmanager
def without_stderr() -> Iterator[None]:
    """What a library of C writes to the process's stderr goes nowhere meanwhile.

    Only for decoders that cannot be told to be silent: what another thread says is lost too.
    """
    with _one_at_a_time, Path(os.devnull).open("wb") as nowhere:
        kept = os.dup(_STDERR)
        os.dup2(nowhere.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)

"""One BLAS thread for a stretch of arithmetic: its bits then do not depend on the thread count."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np  # noqa: F401 - loads the library that is to be held
from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_stretches: list[object] = []  # those that run now: the first sets the limit, the last lifts it
_before: list[int] = []  # threads of each library outside all stretches


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS at one thread; stretches may nest, and overlap between Python threads.

    A product that is split over threads may add in another order, and weights enter hashes.
    """
    stretch = object()
    with _lock:
        if not _stretches:
            _before[:] = [library.get_num_threads() for library in _libraries()]
            _set_threads([1] * len(_before))
        _stretches.append(stretch)
    try:
        yield
    finally:
        with _lock:
            _stretches.remove(stretch)
            if not _stretches:
                _set_threads(_before)


def _set_threads(counts: Sequence[int]) -> None:
    """Set what each library may use, from whichever Python thread this is.

    threadpoolctl obeys only the first thread that ever asked OpenBLAS, and says nothing to the
    others; the lock above is what makes it safe to ask from any.
    """
    for library, n in zip(_libraries(), counts, strict=True):
        release = getattr(library, "clear_controlling_thread", lambda **_: None)
        release(force=True)
        library.set_num_threads(n)
        release(force=True)


@cache
def _libraries() -> tuple[Any, ...]:
    """The BLAS libraries of this process; numpy's is among them, for numpy is imported by now."""
    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)

"""One BLAS thread for a stretch of arithmetic: its bits then do not depend on the thread count."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_limit = ExitStack()
_stretches: list[object] = []  # those that run now: the first sets the limit, the last lifts it


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS at one thread; stretches may nest, and overlap between Python threads.

    A product that is split over threads may add in another order, and weights enter hashes.
    """
    stretch = object()
    with _lock:
        if not _stretches:
            _limit.enter_context(_controller().limit(limits=1, user_api="blas"))
        _stretches.append(stretch)
    try:
        yield
    finally:
        with _lock:
            _stretches.remove(stretch)
            if not _stretches:
                _limit.close()


@cache
def _controller() -> ThreadpoolController:
    """Found once: looking for the loaded libraries takes milliseconds, setting a limit none."""
    return ThreadpoolController()

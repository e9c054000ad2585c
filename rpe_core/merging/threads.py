"""Work spread over threads whose kernels are single-threaded, so that no bit depends on them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from rpe_core.errors import InputError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_AHEAD = 2  # results that may wait for their turn, by thread


class _LoneKernels:
    """Counts the pools at work: the first takes the kernels' threads, the last gives them back.

    QR, SVD and products give other last digits on another number of threads. torch keeps one number
    for the process beside one for each thread; both calls come from threads of a pool, so that the
    caller's own number never changes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools = 0
        self._before = 1

    def enter(self, before: int) -> None:
        with self._lock:
            if self._pools == 0:
                self._before = before
            self._pools += 1

    def leave(self) -> None:
        with self._lock:
            self._pools -= 1
            if self._pools == 0:
                torch.set_num_threads(self._before)


_KERNELS = _LoneKernels()


def map_in_order(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int | None = None
) -> Iterator[_Result]:
    """The results of `work` in the order of the items, few of them in memory at a time.

    >>> list(map_in_order(lambda number: number * number, [1, 2, 3], threads=2))
    [1, 4, 9]

    Raises:
        InputError: less than one thread.
    """
    count = len(os.sched_getaffinity(0)) if threads is None else threads
    if count < 1:
        raise InputError("A merge needs a thread.", expected="threads >= 1")
    _KERNELS.enter(torch.get_num_threads())
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > _AHEAD * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        giver = threading.Thread(target=_KERNELS.leave)
        giver.start()
        giver.join()

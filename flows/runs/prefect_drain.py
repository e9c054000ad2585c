"""The end of a flow: what Prefect's server is still to be sent, and what is told if it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty
from typing import Any

import httpx

import flows.workspace.settings  # noqa: F401 - first: it switches telemetry off before Prefect is imported

# isort: split
from prefect._internal.concurrency.services import QueueService
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

from rpe_core.errors import RpeError


class ServerLost(RpeError):
    """Prefect's server does not answer; the steps of a night that has begun do not need it."""

    def __init__(self, url: str) -> None:
        super().__init__(
            "Prefect's server does not answer; it may show the run as unfinished.",
            where=url,
            remedy="what was done is on record, see `rpe report`; when the server is back, run the"
            " same command again: it goes on where this one was",
        )


@contextmanager
def handing_over(url: str) -> Iterator[None]:
    """Run a flow in a `with` block and let Prefect's own threads send what they hold at its end.

    Raises:
        ServerLost: if the server does not answer, before the flow or when it ends.
    """
    try:
        yield
    except Exception as error:
        causes = (error, error.__cause__)
        if any(isinstance(cause, httpx.TransportError) for cause in causes):
            raise ServerLost(url) from None
        raise
    finally:
        _hand_over_records()


def _hand_over_records() -> None:
    """What no server has taken in ten seconds is dropped.

    Prefect's threads would knock seconds for each item, and the process waits for them at its end.
    """
    for kind in (APILogWorker, EventsWorker):
        drain_or_drop(kind, patience_seconds=10)


def drain_or_drop(kind: type[QueueService[Any]], *, patience_seconds: float) -> None:
    """Let the threads of a service of Prefect send what they hold; drop what is left, end them.

    The instances and their queues are Prefect's own affair: nothing else of ours touches them, and
    tests/conformance/test_internals.py says when they change.
    """
    internals: Any = kind
    late = tuple(internals._instances.values())
    kind.drain_all(timeout=patience_seconds)
    for worker in late:
        with suppress(Empty):
            while True:
                worker._queue.get_nowait()
        worker._queue.put(None)  # how Prefect itself ends a worker

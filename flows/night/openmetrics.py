"""Metrics: figures of the workspace in OpenMetrics, read from the lake at each scrape."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from catalog.report.queries import count_champions, read_alerts, read_nights, read_sources
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake, utc_now
from rpe_core.errors import RpeError

Row = dict[str, Any]
OF_NIGHT = {  # of the newest night: metric, column of mart.nights, unit, meaning
    "duration": ("wall_seconds", "seconds", "Elapsed time of the newest night"),
    "cpu": ("cpu_seconds", "seconds", "Processor time of the newest night"),
    "peak_memory": ("peak_memory_bytes", "bytes", "Largest resident set of the newest night"),
    "written": ("written_bytes", "bytes", "Bytes that the newest night wrote to storage"),
    "rows": ("n_rows", "", "Rows delivered in the newest night"),
    "faults": ("n_faults", "", "Units that failed in the newest night"),
    "alerts": ("n_alerts", "", "Alerts that held when the newest night ended"),
    "raised": ("n_raised", "", "Alerts that the newest night raised"),
    "refused": ("n_refused", "", "Refused files in the newest night"),
}
OF_SOURCE = {
    "age_days": ("age_days", "Days since the source last sent something new"),
    "is_silent": ("is_stale", "1 if that is longer than its contract allows"),
    "quarantined_rows": ("n_quarantined", "Rows of the source that were set aside"),
    "refused_batches": ("n_refused_batches", "Batches of the source that were refused"),
}


class WorkspaceFigures(Collector):
    """The figures of one workspace; labels are names of sources and targets, no value of a cell."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Iterable[Metric]:
        """Read the lake once; one that cannot be read is a figure too."""
        free = shutil.disk_usage(self._settings.root).free
        yield _gauge("rpe_disk_free", free, "Free bytes where the workspace is", unit="bytes")
        try:
            with open_lake(self._settings, read_only=True) as lake:
                nights, sources = read_nights(lake), read_sources(lake)
                n_champions, alerts = count_champions(lake), read_alerts(lake)
        except RpeError:
            yield _gauge("rpe_lake_readable", 0, "1 if the lake answers")
            return
        yield _gauge("rpe_lake_readable", 1, "1 if the lake answers")
        yield _gauge("rpe_champions", n_champions, "Targets that an ensemble serves")
        yield from _of_nights(nights)
        yield from _of_sources(sources)
        yield _of_alerts(alerts)


@contextmanager
def offer_metrics(settings: Settings) -> Iterator[str]:
    """Answer scrapes while inside, if the settings name a port; the URL, or ''.

    Raises:
        RpeError: the port cannot be had.
    """
    if settings.metrics_port is None:
        yield ""
        return
    host, port = settings.metrics_host, settings.metrics_port
    registry = CollectorRegistry()
    registry.register(WorkspaceFigures(settings))
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise RpeError(
            f"No metrics can be offered there: {type(error).__name__}.",
            where=f"RPE_METRICS_HOST={host} RPE_METRICS_PORT={port}",
            remedy="choose another port, or unset RPE_METRICS_PORT",
        ) from None
    try:
        yield f"http://{host}:{port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _of_nights(nights: Sequence[Row]) -> Iterator[Metric]:
    counted = CounterMetricFamily("rpe_nights", "Nights on record", labels=["outcome"])
    for outcome in ("ok", "unchanged", "alert", "refused", "failed"):
        counted.add_metric([outcome], sum(row["outcome"] == outcome for row in nights))
    yield counted
    if not nights:
        return
    newest = nights[0]
    age = (utc_now() - newest["ended_at"]).total_seconds()
    yield _gauge("rpe_night_age", age, "Time since the newest night ended", unit="seconds")
    for name, (column, unit, doc) in OF_NIGHT.items():
        if newest[column] is not None:  # an older release did not count it
            yield _gauge(f"rpe_night_{name}", newest[column], doc, unit=unit)


def _of_sources(sources: Sequence[Row]) -> Iterator[Metric]:
    for name, (column, doc) in OF_SOURCE.items():
        family = GaugeMetricFamily(f"rpe_source_{name}", doc, labels=["source"])
        for row in sources:
            if row[column] is not None:
                family.add_metric([row["source"]], float(row[column]))
        yield family


def _of_alerts(alerts: Sequence[Row]) -> Metric:
    doc = "1 for each kind of unresolved alert of a source or target"
    family = GaugeMetricFamily("rpe_alert", doc, labels=["kind", "subject"])
    for kind, subject in sorted({(row["kind"], row["subject"]) for row in alerts}):
        family.add_metric([kind, subject], 1.0)
    return family


def _gauge(name: str, value: float, doc: str, *, unit: str = "") -> Metric:
    return GaugeMetricFamily(name, doc, value=float(value), unit=unit)

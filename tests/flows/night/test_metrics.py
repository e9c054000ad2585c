"""What a scrape reads: valid OpenMetrics on loopback, with the figures of the lake's own views."""

import socket
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from flows.night.openmetrics import offer_metrics
from flows.workspace.settings import Settings
from rpe_core.errors import RpeError
from tests.lake_rows import read_rows_of

ACCEPT = {"Accept": "application/openmetrics-text; version=1.0.0"}


def scrape(url: str) -> dict[str, dict[str, float]]:
    """Name of each sample -> its label's value ('' without one) -> figure."""
    answer = httpx.get(url, headers=ACCEPT, trust_env=False)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            (label,) = sample.labels.values() or ("",)
            found.setdefault(sample.name, {})[label] = sample.value
    return found


def test_a_scrape_reads_the_lake(finished_night: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        settings = Settings(home=finished_night.root, metrics_port=taken.getsockname()[1])
        with pytest.raises(RpeError, match="RPE_METRICS_PORT"), offer_metrics(settings):
            pass
    with offer_metrics(settings) as url:
        found = scrape(url)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
    (night,) = read_rows_of(settings, "FROM mart.nights")
    assert found["rpe_nights_total"] == {
        "ok": 1, "unchanged": 0, "alert": 0, "refused": 0, "failed": 0,
    }  # fmt: skip
    assert found["rpe_night_duration_seconds"] == {"": night["wall_seconds"]}
    assert found["rpe_night_rows"] == {"": 360}
    assert found["rpe_night_age_seconds"][""] > 0
    assert found["rpe_champions"] == {"": 0}, "it waits for approval"
    assert set(found["rpe_source_age_days"]) == {"site_a", "site_b", "site_c"}
    assert found["rpe_source_is_silent"] == dict.fromkeys(found["rpe_source_age_days"], 0)
    assert found["rpe_disk_free_bytes"][""] > 0
    assert found["rpe_lake_readable"] == {"": 1}


def test_a_lake_that_cannot_be_read_is_a_figure_too(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with offer_metrics(Settings(home=tmp_path, metrics_port=port)) as url:
        assert scrape(url)["rpe_lake_readable"] == {"": 0}

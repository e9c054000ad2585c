"""A silent source and the webhook: on the last screen, in lake and report, to a real server."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from catalog.errors import StoreError
from flows.commands.last_screen import show_summary
from flows.runs import run_record
from flows.runs.run_record import Summary
from flows.runs.webhook import send_night_notice
from flows.upkeep.maintain import upkeep
from flows.workspace import stores
from flows.workspace.settings import Settings
from flows.workspace.stores import utc_now
from rpe_core.errors import DeclarationError
from tests.flows.conftest import TARGET
from tests.lake_rows import read_rows_of

SECRET = "T0ken-in-the-path"


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict]]]:
    """A server on loopback: its URL, and the notices that it took."""
    taken: list[dict] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """A server of a test is silent."""

    server = HTTPServer(("127.0.0.1", 0), Taker)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{SECRET}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def in_ten_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten days have gone by since the finished night; its contracts allow seven of silence."""

    def later() -> datetime:
        return utc_now() + timedelta(days=10)

    for module in (stores, run_record):
        monkeypatch.setattr(module, "utc_now", later)


def test_a_silent_source_is_told_by_a_night_that_has_nothing_to_do(
    night_copy: Settings,
    rpe: Callable[..., int],
    in_ten_days: None,
    webhook: tuple[str, list[dict]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, taken = webhook
    monkeypatch.setenv("RPE_WEBHOOK_URL", url)
    caplog.set_level(logging.DEBUG)
    assert rpe("nightly") == 0
    out, err = capfd.readouterr()
    assert "ALERT site_a has been silent for 10.0 days; its contract allows 7; ask its" in err
    assert "NO NOTICE" not in err
    (night,) = read_rows_of(night_copy, "FROM mart.nightly_status")
    assert (night["outcome"], night["target_name"]) == ("alert", TARGET)
    silent = [f"{s} has been silent for 10.0 days; its contract allows 7"
              for s in ("site_a", "site_b", "site_c")]  # fmt: skip
    assert night["alerts"].split("\n") == silent
    costs = read_rows_of(night_copy, "SELECT * FROM mart.nights")
    assert [(row["outcome"], row["n_rows"], row["n_alerts"]) for row in costs] == [
        ("alert", 0, 3),
        ("ok", 360, 0),
    ]
    page = night_copy.report_file.read_text()
    assert all(line in page for line in silent)
    (notice,) = taken
    assert notice.pop("wall_seconds") > 0
    assert notice == {
        "run_id": night["run_id"],
        "outcome": "alert",
        "exit_code": 0,
        "faults": [],
        "alerts": [
            {"kind": "silent", "subject": f"site_{s}", "source": f"site_{s}"} for s in "abc"
        ],
        "standing": [],
        "resolved": [],
        "text": f"{night['run_id']}: alert (exit 0)"
        "; silent: site_a; silent: site_b; silent: site_c",
    }
    assert SECRET not in out + err + caplog.text + page


def test_a_webhook_that_takes_nothing_fails_no_night_and_is_told(
    finished_night: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(home=finished_night.root, webhook_url=f"http://127.0.0.1:9/{SECRET}")
    summary = Summary("run:night@1", "night", "ok", 0, 1.0, (), (), (), "index.html")
    show_summary(settings, send_night_notice(settings, summary))
    err = capfd.readouterr().err
    assert "NO NOTICE the webhook of RPE_WEBHOOK_URL could not be reached: ConnectError" in err
    assert SECRET not in err
    one_step = replace(summary, flow="ingest")
    assert send_night_notice(settings, one_step) == one_step, "one step by itself is no night"


def test_a_night_that_cannot_begin_is_told_too(
    night_copy: Settings,
    rpe: Callable[..., int],
    webhook: tuple[str, list[dict]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, taken = webhook
    monkeypatch.setenv("RPE_WEBHOOK_URL", url)
    night_copy.plan_file.write_text("targets: []\n")
    assert rpe("nightly") == 2
    (notice,) = taken
    assert (notice["run_id"], notice["outcome"], notice["exit_code"]) == ("", "failed", 2)
    assert notice["faults"] == [{"step": "night", "unit": "all", "kind": "DeclarationError"}]


def test_upkeep_that_fails_on_schedule_is_told(
    night_copy: Settings, webhook: tuple[str, list[dict]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, taken = webhook
    monkeypatch.setenv("RPE_WEBHOOK_URL", url)
    (night_copy.root / "lake" / "catalog.sqlite").write_bytes(b"no catalog")
    with pytest.raises(StoreError):
        upkeep.fn(str(night_copy.root))
    (notice,) = taken
    assert notice["faults"] == [{"step": "maintain", "unit": "all", "kind": "StoreError"}]
    assert notice["text"] == "maintain: failed (exit 1); failed: maintain all"


def test_a_webhook_that_is_no_url_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPE_WEBHOOK_URL", f"ftp://{SECRET}")
    with pytest.raises(DeclarationError, match="https:// or http://") as refused:
        Settings()
    assert "RPE_WEBHOOK_URL" in str(refused.value)
    assert SECRET not in str(refused.value)
    monkeypatch.setenv("RPE_WEBHOOK_URL", f"https://example.org/{SECRET}")
    assert SECRET not in f"{Settings()!r}{Settings().model_dump()}"


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """The clock of the platform is set to so much from now."""

    def set_to(by: timedelta) -> None:
        for module in (stores, run_record):
            monkeypatch.setattr(module, "utc_now", lambda: utc_now() + by)

    return set_to


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_clock_that_is_behind_is_told_once_stands_and_ends(
    night_copy: Settings,
    rpe: Callable[..., int],
    set_clock: Callable[[timedelta], None],
    webhook: tuple[str, list[dict]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    url, taken = webhook
    monkeypatch.setenv("RPE_WEBHOOK_URL", url)
    told = []
    for by in (timedelta(hours=-5), timedelta(hours=-4), timedelta(minutes=5)):
        set_clock(by)
        assert rpe("nightly") == 0
        told.append(capfd.readouterr().err)
        (newest,) = read_rows_of(night_copy, "SELECT run_id FROM mart.nightly_status")
        assert newest["run_id"] in told[-1], "the newest by its place in the order"
    raised, standing, ended = told
    assert re.search(r"ALERT the clock of this machine is [45]\.\d hours behind", raised)
    assert "STILL the clock of this machine" in standing
    assert "ALERT" not in standing
    assert "RESOLVED" in ended
    assert [night["outcome"] for night in taken][:2] == ["alert", "unchanged"]
    assert taken[0]["alerts"] == taken[1]["standing"]
    assert [one["kind"] for one in taken[2]["resolved"]] == ["clock"]
    (row,) = read_rows_of(night_copy, "FROM mart.alerts WHERE kind = 'clock'")
    assert (row["subject"], row["n_runs"], row["is_standing"]) == ("machine", 2, False)
    moments = read_rows_of(night_copy, "SELECT recorded_at FROM mart.nights JOIN core.runs USING"
                           " (run_id) ORDER BY recorded_at")  # fmt: skip
    assert len(moments) == len({row["recorded_at"] for row in moments}) == 4, "in their order"

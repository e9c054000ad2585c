"""What would have been retrieved on a date, and how weighed."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from flows.targets.as_of import moment_of, nearest_as_of, weighed_as_of
from flows.targets.asking import nearest_adapters
from flows.workspace.settings import Settings
from rpe_core.errors import InputError
from tests.flows.targets.test_replay import change
from tests.lake_rows import read_rows_of

TARGET = "site-d"


def adapters(settings: Settings) -> list[tuple[str, datetime]]:
    rows = read_rows_of(settings, "SELECT source, recorded_at FROM core.adapters ORDER BY 2")
    return [(row["source"], row["recorded_at"]) for row in rows]


def test_only_what_stood_then_is_retrieved_and_weighed(finished_night: Settings) -> None:
    (first, at), (_, later) = adapters(finished_night)
    rows, note = nearest_as_of(
        finished_night, TARGET, k=5, moment=later - timedelta(microseconds=1)
    )
    assert [row["source"] for row in rows] == [first]
    assert at.isoformat()[:10] in note
    rows, _ = nearest_as_of(finished_night, TARGET, k=5, moment=later)
    assert rows == nearest_adapters(finished_night, TARGET, k=5).rows
    alone, _ = weighed_as_of(finished_night, TARGET, moment=at)
    assert {row["weight"] for row in alone} == {1.0}
    assert not any(row["is_on_record"] for row in alone)


def test_weights_as_of_the_night_are_those_on_record(finished_night: Settings) -> None:
    kept = read_rows_of(
        finished_night,
        "SELECT ensemble_id, adapter_id, weight, distance, m.recorded_at"
        " FROM core.ensemble_members AS m ORDER BY ALL",
    )
    rows, _ = weighed_as_of(finished_night, TARGET, moment=max(r["recorded_at"] for r in kept))
    assert all(row["is_on_record"] for row in rows)
    names = ("ensemble_id", "adapter_id", "weight", "distance")
    found = sorted(tuple(row[name] for name in names) for row in rows if row["weight"])
    assert found == [tuple(row[name] for name in names) for row in kept]


def test_what_was_withdrawn_still_stood_before(night_copy: Settings) -> None:
    (_, at), (second, _) = adapters(night_copy)[-1], adapters(night_copy)[0]
    change(
        night_copy,
        f"UPDATE core.adapters SET retracted_at = now() WHERE source = '{second}'",
        "INSERT INTO core.retractions (retraction_id, subject_id, recorded_at)"
        " VALUES ('r', 'a dataset', now())",
    )
    then, note = nearest_as_of(night_copy, TARGET, k=5, moment=at)
    now, _ = nearest_adapters(night_copy, TARGET, k=5)
    assert {row["source"] for row in then} - {row["source"] for row in now} == {second}
    assert "1 withdrawals since then" in note


def test_before_the_first_there_is_a_clear_answer(
    finished_night: Settings,
    rpe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RPE_HOME", str(finished_night.root))
    assert rpe("nearest", TARGET, "--as-of", "2020-01-01", "--json") == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["rows"] == []
    assert "site_c had no data; the first came at 20" in err
    (_, at), _ = adapters(finished_night)
    before = (at - timedelta(microseconds=1)).isoformat()
    assert rpe("ensemble", TARGET, "--explain", "--as-of", before) == 0
    assert "held no adapter of pico@" in capfd.readouterr().err
    assert rpe("nearest", TARGET, "--as-of", "yesterday") == 2
    assert rpe("ensemble", TARGET, "--scores", "--as-of", before) == 2


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2026-03-01T12:00", 12),
        ("2026-03-01T12:00Z", 12),
        ("2026-03-01T12:00+02:00", 10),
        ("2026-03-01", 0),
        ("20260301T12", 12),
    ],
)
def test_dates_are_iso_8601_and_utc_unless_they_say_otherwise(text: str, hour: int) -> None:
    assert moment_of(text) == datetime(2026, 3, 1, hour, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "01/03/2026", "2026-02-30", "0001-01-01T00:00+05:00"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no date"):
        moment_of(text)

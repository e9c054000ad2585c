"""A source that is a query, through `rpe`: drafted, added, ingested, unchanged, gone, withdrawn."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from flows.night.nightly import run_night
from flows.workspace.settings import Settings
from tests.lake_rows import read_rows_of
from tests.pico import pico_texts
from tests.pico_world import make_pico_workspace

QUERY = "SELECT id, patient, words, answer, written FROM notes"


@pytest.fixture
def settings(tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = make_pico_workspace(tmp_path)
    monkeypatch.setenv("RPE_HOME", str(made.root))
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    return made


def write_notes(file: Path, first: int, n: int) -> None:
    texts, labels = pico_texts(np.random.default_rng(first), n, "site_a")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS notes"
            " (id VARCHAR, patient VARCHAR, words VARCHAR, answer VARCHAR, written BIGINT)"
        )
        connection.executemany(
            "INSERT INTO notes VALUES (?, ?, ?, ?, ?)",
            [
                (f"n{i:04d}", f"p{i // 2:03d}", text, label, i)
                for i, (text, label) in enumerate(zip(texts, labels, strict=True), start=first)
            ],
        )
        connection.commit()


def change_answer(file: Path, key: str, answer: str) -> str:
    """Write another answer at the same moment; the one that stood there."""
    with closing(sqlite3.connect(file)) as connection:
        before = connection.execute("SELECT answer FROM notes WHERE id = ?", [key]).fetchone()[0]
        connection.execute("UPDATE notes SET answer = ? WHERE id = ?", [answer, key])
        connection.commit()
    return str(before)


def add_notes(settings: Settings, file: Path, rpe: Callable[..., int]) -> None:
    """Draft, fill in, add, and name the source in the plan."""
    drafted = settings.root.parent / "notes.yaml"
    assert rpe("source", "draft", f"sqlite:///{file}", "--query", QUERY, "--out", str(drafted)) == 0
    told = {"owner": "me@example.org", "method": "synthetic", "attested_by": "me",
            "attested_on": "2026-01-15"}  # fmt: skip
    text = drafted.read_text().replace('db"}', 'db", cursor: written}')
    for key, value in told.items():
        text = text.replace(f"{key}: TO-FILL", f"{key}: {value}")
    drafted.write_text(text)
    assert rpe("source", "add", str(drafted)) == 0
    plan = settings.plan_file.read_text().replace("[site_a, site_b]", "[site_a, site_b, notes]")
    settings.plan_file.write_text(plan)


def n_rows(settings: Settings) -> int:
    return int(read_rows_of(settings, "SELECT count(*) AS n FROM raw.notes")[0]["n"])


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_query_is_a_source_like_any_other(
    settings: Settings,
    tmp_path: Path,
    rpe: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "notes.db"
    write_notes(file, 0, 60)
    add_notes(settings, file, rpe)
    assert rpe("source", "check", "notes") == 0
    assert not settings.extracts_folder.exists()
    assert run_night(settings, only=("ingest",)).exit_code == 0
    assert n_rows(settings) == 60
    assert run_night(settings, only=("ingest",)).outcome == "unchanged"
    write_notes(file, 60, 10)
    extracts = sorted(settings.extracts_folder.rglob("*"))
    assert rpe("nightly", "--dry-run", "--only", "ingest") == 0
    assert "notes" in capsys.readouterr().out
    assert sorted(settings.extracts_folder.rglob("*")) == extracts
    assert run_night(settings, only=("ingest",)).outcome == "ok"
    assert n_rows(settings) == 70

    moved = file.rename(tmp_path / "away.db")
    absent = run_night(settings, only=("ingest",))
    assert (absent.exit_code, [fault.unit for fault in absent.faults]) == (1, ["notes"])
    assert "not there" in absent.faults[0].message
    moved.rename(file)
    assert run_night(settings, only=("ingest",)).outcome == "unchanged"


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_refused_query_heals_when_the_database_is_mended(
    settings: Settings, tmp_path: Path, rpe: Callable[..., int]
) -> None:
    file = tmp_path / "notes.db"
    write_notes(file, 0, 60)
    add_notes(settings, file, rpe)
    run_night(settings, only=("ingest",))
    answer = change_answer(file, "n0059", "unheard of")
    refused = run_night(settings, only=("ingest",))
    assert (refused.outcome, [alert.kind for alert in refused.alerts]) == ("refused", ["refused"])
    assert "correct the rows in the database" in refused.alerts[0].remedy
    change_answer(file, "n0059", answer)
    mended = run_night(settings, only=("ingest",))
    assert (mended.exit_code, [alert.kind for alert in mended.resolved]) == (0, ["refused"])


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_withdrawn_query_leaves_no_extract_and_is_asked_no_more(
    settings: Settings, tmp_path: Path, rpe: Callable[..., int]
) -> None:
    file = tmp_path / "notes.db"
    write_notes(file, 0, 60)
    add_notes(settings, file, rpe)
    run_night(settings, only=("ingest",))
    assert list(settings.extracts_folder.rglob("*.parquet"))
    assert rpe("retract", "notes", "--reason", "consent withdrawn") == 0
    assert not list(settings.extracts_folder.rglob("*.parquet"))
    assert run_night(settings, only=("ingest",)).exit_code == 0
    assert not list(settings.extracts_folder.rglob("*.parquet"))
    certificates = [json.loads(p.read_text()) for p in settings.root.glob("retractions/*.json")]
    assert [one["scan"]["is_clean"] for one in certificates] == [True]

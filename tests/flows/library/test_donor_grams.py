"""RegMean in a night: what donors were fed, from which rows, and what becomes of their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalog.queries.current import Row
from flows.library.input_statistics import gram_files_of
from flows.night.nightly import run_night
from flows.workspace.settings import Settings
from rpe_core.merging.files.gram_file import GramFile
from rpe_core.merging.manifest import MANIFEST
from tests.lake_rows import read_rows_of
from tests.replays import ALL_SAME, outcomes

TARGET = """\
  - {name: fed, source: site_c, base: pico, k: 2, merge: regmean, strategies: [average]}
"""
BUILD = ("ensemble",)


def add_target(settings: Settings, *, least: int | None = None) -> None:
    plan = settings.plan_file.read_text().replace("gate:", TARGET + "gate:", 1)
    publishing = f"publishing: {{min_groups: {least}}}\n" if least else ""
    settings.plan_file.write_text(plan + publishing)


def ensembles(settings: Settings, target: str = "fed") -> list[Row]:
    query = "FROM core.ensembles WHERE target_name = ? AND strategy = 'average' ORDER BY ALL"
    return read_rows_of(settings, query, [target])


def manifest_of(settings: Settings, row: Row) -> dict[str, Any]:
    folder = Path(settings.artifacts) / row["artifact_sha256"]
    told: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return told


@pytest.fixture
def fed(night_copy: Settings) -> Settings:
    """A finished night, whose plan asks for RegMean afterwards: no pass has filed what it needs."""
    add_target(night_copy)
    assert gram_files_of(night_copy) == []
    assert run_night(night_copy, only=BUILD).faults == ()
    return night_copy


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_plan_that_asks_later_has_it_gathered_and_replays_the_same(fed: Settings) -> None:
    files = gram_files_of(fed)
    assert {file.parent.name.split("-")[1] for file in files} == {"site_a", "site_b"}
    (row,) = ensembles(fed)
    told = manifest_of(fed, row)["regmean"]
    assert sorted(told["gram_sha256"]) == sorted(GramFile(file).sha256() for file in files)
    assert told["n_plain"] == 0
    assert row["weights_sha256"] != ensembles(fed, "site-d")[0]["weights_sha256"]
    for threads in (1, 2):
        found = outcomes(fed, threads=threads)
        assert found["fed average"] == {**ALL_SAME, "inputs": "same"}
        assert found["site-d average"] == ALL_SAME


def test_a_second_night_builds_nothing(fed: Settings) -> None:
    before = [file.stat().st_mtime_ns for file in gram_files_of(fed)]
    assert run_night(fed, only=BUILD).outcome == "unchanged"
    assert [file.stat().st_mtime_ns for file in gram_files_of(fed)] == before


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_damaged_file_is_not_used(fed: Settings) -> None:
    (row,) = ensembles(fed)
    file = gram_files_of(fed)[0]
    spoilt = bytearray(file.read_bytes())
    spoilt[-1] ^= 1
    file.write_bytes(bytes(spoilt))
    assert outcomes(fed, threads=1)["fed average"] == {**ALL_SAME, "inputs": "same"}
    plan = fed.plan_file
    plan.write_text(plan.read_text().replace("name: fed,", "name: fed-anew,"))
    assert run_night(fed, only=BUILD).faults == ()
    (anew,) = ensembles(fed, "fed-anew")
    assert anew["weights_sha256"] == row["weights_sha256"]


def test_small_cohorts_count_as_donors_without_data(night_copy: Settings) -> None:
    add_target(night_copy, least=1000)
    assert run_night(night_copy, only=BUILD).faults == ()
    assert gram_files_of(night_copy) == []
    (row,) = ensembles(night_copy)
    told = manifest_of(night_copy, row)["regmean"]
    assert told["gram_sha256"] == [None, None]
    assert row["weights_sha256"] == ensembles(night_copy, "site-d")[0]["weights_sha256"]


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_id_tells_who_has_data(night_copy: Settings) -> None:
    add_target(night_copy)
    assert run_night(night_copy, only=BUILD).faults == ()
    night_copy.plan_file.write_text(
        night_copy.plan_file.read_text() + "publishing: {min_groups: 1000}\n"
    )
    assert run_night(night_copy, only=BUILD).faults == ()
    with_data, without = sorted(ensembles(night_copy), key=lambda row: row["recorded_at"])
    assert with_data["ensemble_id"] != without["ensemble_id"]
    assert with_data["weights_sha256"] != without["weights_sha256"]


def test_the_files_are_written_for_rpe_merge(
    fed: Settings, tmp_path: Path, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """Exported adapters with their files merge elsewhere to the very weights of the night."""
    (row,) = ensembles(fed)
    members = read_rows_of(
        fed, "FROM core.ensemble_members WHERE ensemble_id = ? ORDER BY ALL", [row["ensemble_id"]]
    )
    order = manifest_of(fed, row)["members"]
    weights, grams = [], []
    for number, member in enumerate(members):
        folder, file = tmp_path / f"bundle{number}", tmp_path / f"{number}.safetensors"
        assert rpe("adapters", "export", member["adapter_id"], "--out", str(folder)) == 0
        assert rpe("adapters", "grams", member["adapter_id"], "--out", str(file)) == 0
        weights.append(f"{folder / 'adapter'}={order[number]['weight']}")
        grams.append(f"{folder / 'adapter'}={file}")
    out = ("--method", "regmean", "--out", str(tmp_path / "merged"), "--json")
    capfd.readouterr()
    assert rpe("merge", "--members", *weights, "--grams", *grams, *out) == 0
    told = json.loads(capfd.readouterr().out)["rows"][0]
    assert told["weights_sha256"] == row["weights_sha256"]
    assert rpe("merge", "--members", *weights, *out[:2], "--out", str(tmp_path / "x")) == 2
    assert "regmean asks what members were fed" in capfd.readouterr().err


def test_an_adapter_without_data_has_no_file_to_write(
    night_copy: Settings, tmp_path: Path, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    night_copy.plan_file.write_text(
        night_copy.plan_file.read_text() + "publishing: {min_groups: 1000}\n"
    )
    rows = read_rows_of(night_copy, "SELECT min(adapter_id) AS id FROM core.adapters")
    out = tmp_path / "grams.safetensors"
    assert rpe("adapters", "grams", rows[0]["id"], "--out", str(out)) == 2
    assert "at least 1000 groups" in capfd.readouterr().err
    assert not out.exists()

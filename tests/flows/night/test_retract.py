"""Retraction of a whole workspace: the plan, aliases at once, and going on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from catalog.retraction import retraction
from catalog.retraction.influence import Subject, influence_of
from flows.night.nightly import run_night
from flows.night.retract import plan_retraction, retract
from flows.runs.run_record import open_run
from flows.targets.decisions import approve
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from rpe_core.errors import InputError
from tests.end_state import end_state
from tests.flows.conftest import TARGET
from tests.lake_rows import read_rows_of
from tests.pico_world import ROWS, make_pico_workspace, write_rows


def aliases_of(settings: Settings) -> dict[str, str]:
    stores = open_stores(settings)
    with closing(stores.lake):
        return dict(stores.registry.aliases(TARGET))


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_plan_is_shown_and_nothing_is_touched(
    night_copy: Settings, rpe: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = end_state(night_copy)
    assert rpe("retract", "site_b", "--dry-run", "--json") == 0
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["deliveries"]["count"] == rows["adapters"]["count"] == 1
    assert rows["ensembles"]["count"] == 5
    assert rows["targets built again"]["names"] == [TARGET]
    assert min(rows["artifacts"]["bytes"], rows["deliveries"]["bytes"]) > 0
    assert rows["targets built again"]["minutes"] > 0
    assert rpe("retract", "nobody", "--reason", "none") == 2
    assert rpe("retract", "site_b") == 2, "a reason is asked for"
    assert end_state(night_copy) == before


def test_nothing_of_it_serves_before_the_slow_rest(night_copy: Settings) -> None:
    approve(night_copy, TARGET, actor="jane.roe")
    assert set(aliases_of(night_copy)) == {"champion", "challenger"}
    stores = open_stores(night_copy)
    with closing(stores.lake):
        influence = influence_of(stores.lake, Subject("site_b"))
        one = retraction.begin(stores, influence, reason="consent", run=open_run("retract"))
    assert one.state == retraction.WITHDRAWN
    assert aliases_of(night_copy) == {}
    with pytest.raises(InputError, match="reason"):
        retraction.require_reason(" ")


@pytest.mark.slow
@pytest.mark.ci_slow
def test_whoever_comes_next_goes_on(night_copy: Settings) -> None:
    stores = open_stores(night_copy)
    with closing(stores.lake):
        influence = influence_of(stores.lake, Subject("site_b"))
        retraction.begin(stores, influence, reason="consent", run=open_run("retract"))
    assert run_night(night_copy).exit_code == 0
    (row,) = read_rows_of(night_copy, "FROM core.retractions")
    assert row["state"] == retraction.CERTIFIED
    certificate: dict[str, Any] = json.loads(row["certificate_json"])
    assert certificate["scan"]["is_clean"]
    assert certificate["resumed"]["times"] == 1, "who began it is not told, so it is another"
    assert certificate["resumed"]["runs"]
    assert (night_copy.root / "retractions" / f"{row['retraction_id']}.json").exists()
    again = run_night(night_copy)
    assert (again.exit_code, again.outcome) == (0, "unchanged")
    with pytest.raises(InputError):
        plan_retraction(night_copy, "nobody")


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_version_goes_and_the_delivery_after_it_stays(
    pico_workspace: Settings, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    assert run_night(pico_workspace).exit_code == 0
    (first,) = versions_of(pico_workspace, "site_b")
    write_rows(data / "site_b_later.jsonl", "site_b", seed=7, first=ROWS)
    assert run_night(pico_workspace).exit_code == 0

    done = retract(pico_workspace, first, reason="wrong export")
    assert done.is_clean, done.told
    (stands,) = versions_of(pico_workspace, "site_b")

    never = make_pico_workspace(tmp_path / "never")
    data = tmp_path / "never" / "data"
    (data / "site_b.jsonl").unlink()
    write_rows(data / "site_b_later.jsonl", "site_b", seed=7, first=ROWS)
    assert run_night(never).exit_code == 0
    assert versions_of(never, "site_b") == [stands]
    after, expected = end_state(pico_workspace), end_state(never)
    for table in ("adapters", "ensembles", "ensemble_members", "artifacts", "vectors"):
        assert after[table] == expected[table], table
    # the withdrawn file still lies there
    again = run_night(pico_workspace)
    assert (again.exit_code, again.outcome) == (0, "unchanged")


def versions_of(settings: Settings, source: str) -> list[str]:
    rows = read_rows_of(
        settings,
        "SELECT dataset_version_id AS id FROM core.dataset_versions"
        " WHERE source = ? AND superseded_at IS NULL AND retracted_at IS NULL",
        [source],
    )
    return [row["id"] for row in rows]

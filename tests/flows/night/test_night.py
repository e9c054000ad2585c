"""The night on a pico world: what it leaves behind, and that a second one leaves nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.commands.last_screen import show_summary
from flows.night.nightly import run_night
from flows.steps.train import TrainingFailed, run_process
from flows.workspace import workspace
from flows.workspace.plan import Plan
from flows.workspace.plan_file import load_plan
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake, open_registry
from tests.lake_rows import read_rows_of
from tests.pico_world import write_rows


def counts(settings: Settings) -> dict[str, int]:
    """Rows of every core table."""
    with open_lake(settings, read_only=True) as lake:
        tables = lake.rows(
            "SELECT DISTINCT table_name AS t FROM mart.columns WHERE schema_name = 'core'"
        )
        statement = " UNION ALL ".join(
            f"SELECT '{row['t']}' AS t, count(*) AS n FROM core.{row['t']}" for row in tables
        )
        return {row["t"]: row["n"] for row in lake.rows(statement)}


def files_of(settings: Settings) -> dict[str, int]:
    """Size and time of every file that a consumer or a store could read."""
    places = ("vectors", "artifacts", "mlartifacts", "report", "sources", "tmp")
    return {
        str(path): path.stat().st_mtime_ns
        for place in places
        for path in (settings.root / place).rglob("*")
        if path.is_file()
    }


def test_second_night_adds_one_run_row_and_nothing_else(night_copy: Settings) -> None:
    before, files = counts(night_copy), files_of(night_copy)
    second = run_night(night_copy)
    assert second.outcome == "unchanged"
    assert counts(night_copy) == {**before, "runs": before["runs"] + 1}
    assert files_of(night_copy) == files


def test_a_night_and_its_last_screen_parse_the_plan_once(
    night_copy: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []

    def count(path: Path, *, sources: Sequence[str]) -> Plan:
        parsed.append(path)
        return load_plan(path, sources=sources)

    monkeypatch.setattr(workspace, "load_plan", count)
    show_summary(night_copy, run_night(night_copy))
    assert parsed == [night_copy.plan_file]


def test_every_arm_is_scored_with_interval_and_count(finished_night: Settings) -> None:
    rows = read_rows_of(finished_night, "SELECT * FROM mart.leaderboard WHERE metric = 'accuracy'")
    arms = {row["arm"] for row in rows}
    assert arms == {"base", "average", "nearest", "similarity", "linear", "linear_l1", "auto"}
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in rows)
    assert all(row["n_items"] > 0 and row["n_groups"] > 0 for row in rows)


def test_weights_sum_to_one(finished_night: Settings) -> None:
    rows = read_rows_of(
        finished_night,
        "SELECT sum(weight) AS total FROM core.ensemble_members GROUP BY ensemble_id",
    )
    assert rows
    assert all(abs(row["total"] - 1.0) <= 1e-9 for row in rows)


def test_verdict_stands_and_aliases_follow_it(finished_night: Settings) -> None:
    verdict: dict[str, Any] = read_rows_of(finished_night, "SELECT * FROM core.promotions")[0]
    aliases = open_registry(finished_night).aliases(verdict["target_name"])
    assert verdict["action"] == "pending"
    assert aliases == {"challenger": verdict["model_version"]}


@pytest.mark.slow
def test_new_rows_make_a_new_dataset_version_and_retrain(pico_workspace: Settings) -> None:
    data = pico_workspace.root.parent / "data"
    assert run_night(pico_workspace, only=("ingest", "embed", "train")).outcome == "ok"
    write_rows(data / "site_a_2.jsonl", "site_a", seed=9, first=500, n=40)
    assert run_night(pico_workspace, only=("ingest", "embed", "train")).outcome == "ok"
    rows = read_rows_of(
        pico_workspace,
        "SELECT source, count(*) AS n FROM core.adapters GROUP BY source ORDER BY source",
    )
    assert [(row["source"], row["n"]) for row in rows] == [("site_a", 2), ("site_b", 1)]
    (drift,) = read_rows_of(pico_workspace, "FROM mart.source_drift")
    assert (drift["source"], drift["role"], drift["is_newest"]) == ("site_a", "reference", True)
    assert 0 < drift["distance"] < 3 * drift["noise"], "rows of the same kind hardly move z"
    assert drift["n_items"] > drift["n_former_items"] > 0


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_refused_source_does_not_stop_the_others(pico_workspace: Settings) -> None:
    (pico_workspace.root.parent / "data" / "site_b.jsonl").write_bytes(b"\xff\xfenot json")
    summary = run_night(pico_workspace, only=("ingest", "embed", "train"))
    assert [fault.unit for fault in summary.faults] == ["site_b"]
    assert summary.exit_code == 3
    adapters = read_rows_of(pico_workspace, "SELECT source FROM core.adapters")
    assert [row["source"] for row in adapters] == ["site_a"]


@pytest.mark.slow
@pytest.mark.ci_slow
def test_an_adapter_that_no_sum_takes_in_serves_by_itself_alone(pico_workspace: Settings) -> None:
    plan = pico_workspace.plan_file.read_text()
    dora = "  dora2: {method: dora, r: 2, alpha: 4, target_modules: [query, value], epochs: 1,\n"
    dora += "          learning_rate: 5.0e-3, batch_size: 16, seed: 0}\nreferences:\n"
    dora += "  - {sources: [site_a, site_b, site_c], base: pico, recipe: dora2}\n"
    pico_workspace.plan_file.write_text(plan.replace("references:\n", dora))
    assert run_night(pico_workspace).outcome == "ok"
    rows = read_rows_of(pico_workspace, "FROM core.adapters ORDER BY adapter_id")
    alone = {r["adapter_id"] for r in rows if '"method":"dora"' in r["recipe_json"]}
    assert (len(rows), len(alone)) == (5, 3)
    members = read_rows_of(pico_workspace, "SELECT adapter_id FROM core.ensemble_members")
    assert {row["adapter_id"] for row in members} == {r["adapter_id"] for r in rows} - alone
    scores = read_rows_of(pico_workspace, "SELECT ensemble_id FROM core.scores WHERE arm = 'sft'")
    assert {row["ensemble_id"] for row in scores} < alone, "its own adapter still is a yardstick"


def test_a_training_that_dies_tells_its_status_and_its_log(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="ended with status 1") as raised:
        run_process(tmp_path)
    log = tmp_path / "training.log"
    assert raised.value.where == str(log)
    assert "request.json" in log.read_text(), "what the child said before it died"

"""A replay gives the same hashes on any number of threads, and says what it cannot tell."""

import json
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from flows.night.nightly import run_night
from flows.targets.replay import replay
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from tests.lake_rows import read_rows_of
from tests.pico_world import write_contract, write_rows
from tests.replays import ALL_SAME, on_threads, outcomes

TARGETS = """\
  - {name: cut, source: site_c, base: pico, k: 2, merge: svd, rank: 3,
     strategies: [linear, {name: tuned, similarity: {temperature: loo}}]}
  - {name: open, source: site_c, base: pico, k: loo, strategies: [linear_l1]}
  - {name: full, source: site_c, base: pico, k: 2, merge: dense, strategies: [similarity]}
  - {name: signs, source: site_c, base: pico, k: 2, merge: ties, strategies: [average]}
  - {name: drops, source: site_c, base: pico, k: 2, merge: dare_linear, strategies: [average]}
  - {name: fed, source: site_c, base: pico, k: 2, merge: regmean, strategies: [average, linear]}
  - {name: cut-fed, source: site_c, base: pico, k: 2, merge: regmean, rank: 2,
     strategies: [average]}
  - {name: own, source: site_a, base: pico, k: 2, include_own: true, strategies: [linear_l1]}
  - {name: far, source: site_x, base: pico, k: 2, strategies: [nearest, linear]}
"""


def ensemble_of(settings: Settings, strategy: str) -> str:
    rows = read_rows_of(
        settings, "SELECT ensemble_id FROM core.ensembles WHERE strategy = ?", [strategy]
    )
    return str(rows[0]["ensemble_id"])


def change(settings: Settings, *statements: str) -> None:
    """Statements on the lake, behind the back of everything else."""
    lake = open_stores(settings).lake
    with closing(lake), lake.transaction(message="change", run=None) as commit:
        for statement in statements:
            commit.execute(statement)


def test_hashes_are_the_same_on_one_thread_and_on_two(finished_night: Settings) -> None:
    ensemble_id = ensemble_of(finished_night, "linear_l1")
    told = []
    for threads in (1, 2):
        with on_threads(threads):
            parts = replay(finished_night, ensemble_id)
        assert {part.part: part.outcome for part in parts} == ALL_SAME
        assert all((p.threads_then, p.threads_now) == (1, threads) for p in parts)
        assert all(p.versions_then["torch"] == version("torch") for p in parts)
        told.append([part.sha256 for part in parts])
    assert told[0] == told[1]


def test_what_was_changed_is_told_by_part_and_ends_with_1(
    night_copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    ensemble_id = ensemble_of(night_copy, "average")
    (row,) = read_rows_of(
        night_copy,
        "SELECT artifact_sha256 FROM core.ensembles WHERE ensemble_id = ?",
        [ensemble_id],
    )
    weights = Path(night_copy.artifacts) / row["artifact_sha256"] / "adapter_model.safetensors"
    bytes_ = bytearray(weights.read_bytes())
    bytes_[-1] ^= 1
    weights.write_bytes(bytes_)
    change(
        night_copy,
        f"UPDATE core.ensemble_members SET weight = 0.5000001 WHERE ensemble_id = '{ensemble_id}'"
        " AND adapter_id LIKE 'adapter:site_a%'",
    )
    assert rpe("replay", ensemble_id, "--json") == 1
    rows = {row["part"]: row for row in json.loads(capfd.readouterr().out)["rows"]}
    assert {part: row["outcome"] for part, row in rows.items()} == {
        **ALL_SAME,
        **dict.fromkeys(("weights", "merge", "artifact"), "differs"),
    }
    assert rows["weights"]["reason"] == "weights"


def test_what_is_gone_cannot_be_recomputed_and_ends_with_0(
    night_copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    ensemble_id = ensemble_of(night_copy, "nearest")
    (night_copy.sources_folder / "site_c.yaml").unlink()
    plan = night_copy.plan_file
    plan.write_text(plan.read_text().replace("site_c", "site_a"))
    change(
        night_copy,
        "DELETE FROM core.adapters WHERE source = 'site_b'",
        "INSERT INTO core.retractions (retraction_id, subject_id, recorded_at)"
        " VALUES ('r', 'site_b', now())",
    )
    assert rpe("replay", ensemble_id, "--json") == 0
    rows = {row["part"]: row for row in json.loads(capfd.readouterr().out)["rows"]}
    gone = [part for part, row in rows.items() if row["outcome"] == "cannot be recomputed"]
    assert "contract of site_c" in rows["representation"]["reason"]
    assert "1 withdrawals" in rows["weights"]["reason"]
    assert {"representation", "weights"} <= set(gone)
    assert rows["artifact"]["outcome"] == "same"
    assert rpe("replay", "ensemble:site-d@000000000000") == 1
    assert "No ensemble has this id" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.ci_slow
def test_every_way_to_weigh_and_to_merge_is_replayed(pico_workspace: Settings) -> None:
    data = pico_workspace.root.parent / "data"
    write_rows(data / "site_x.jsonl", "site_x", seed=3)
    rows = [json.loads(line) for line in (data / "site_x.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["text"] = "a " * (3 + number)
    (data / "site_x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_contract(pico_workspace.sources_folder, data, "site_x")
    plan = pico_workspace.plan_file
    told = plan.read_text().replace("gate:", TARGETS + "gate:")
    plan.write_text(told.replace("[site_a, site_b]", "[site_a, site_b, site_c]"))
    steps = ("ingest", "embed", "train", "ensemble")
    assert run_night(pico_workspace, only=steps).faults == ()
    by_ensemble = outcomes(pico_workspace, threads=2)
    expected = {
        name: ALL_SAME | ({"inputs": "same"} if "fed" in name else {}) for name in by_ensemble
    }
    assert by_ensemble == expected
    assert len(by_ensemble) == 17
    far = read_rows_of(
        pico_workspace, "SELECT abstained FROM core.ensembles WHERE target_name = 'far'"
    )
    assert [row["abstained"] for row in far] == [True, True]

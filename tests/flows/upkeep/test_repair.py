"""Repair: every damage is noticed, and mended to what was, or named with the backup's name."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from catalog.records import promotion
from flows.runs.run_record import open_run
from flows.upkeep.doctor import BAD, examine
from flows.upkeep.repair import LEFT as IS_LEFT
from flows.upkeep.repair import TO_DO, foretell, repair
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake, open_stores
from tests.end_state import end_state
from tests.flows.conftest import TARGET, enter_copy
from tests.flows.damages import LEFT, MENDED
from tests.kill_operations import age
from tests.lake_rows import read_rows_of

BEFORE_VERSIONS = 13  # the last migration of the release that put no file of a version on record
ELSEWHERE = ("lock", "permissions")  # checks of the machine, not of what is kept


@pytest.fixture(scope="module")
def served(finished_night: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A finished workspace whose target is served; to be copied only."""
    root = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(finished_night.root, root)
    settings = Settings(home=root)
    with closing((stores := open_stores(settings)).lake):
        promotion.approve(stores, TARGET, actor="jane.roe", run=open_run("promote"))
    return settings


@pytest.fixture
def copy(
    served: Settings, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A copy to damage, at a place of its own: MLflow remembers each database that it opened."""
    return enter_copy(served, tmp_path / "home", prefect_api, monkeypatch)


def found_bad(settings: Settings) -> list[str]:
    """Checks that are bad, of those that are about what is kept."""
    rows = examine(settings, is_deep=True)
    return [r["check"] for r in rows if r["status"] == BAD and r["check"] not in ELSEWHERE]


def things(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What rows are about, in their order."""
    return [(row["store"], row["what"]) for row in rows]


def bytes_of(settings: Settings) -> dict[str, bytes]:
    """Every file but locks and scratch, by its path."""
    left_out = (".lock", "-wal", "-shm")
    return {
        path.relative_to(settings.root).as_posix(): path.read_bytes()
        for path in settings.root.rglob("*")
        if path.is_file() and not path.name.endswith(left_out)
    }


@pytest.mark.slow
@pytest.mark.ci_slow
def test_several_damages_are_mended_in_one_go(
    copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    calm = end_state(copy)
    names = ("artifact of an ensemble gone", "model.py of a version replaced")
    for name in (*names, "padding of vectors flipped", "report gone"):
        MENDED[name](copy)
    before = bytes_of(copy)
    assert {row["store"] for row in foretell(copy).rows} == {
        "artifacts", "registry", "vectors", "report",
    }  # fmt: skip
    assert bytes_of(copy) == before
    assert rpe("repair", "--json") == 0
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert {row["outcome"] for row in rows} == {"made again"}
    assert found_bad(copy) == []
    assert end_state(copy) == calm
    assert copy.report_file.is_file()
    (run,) = read_rows_of(copy, "SELECT outcome FROM core.runs WHERE flow = 'repair'")
    assert run["outcome"] == "ok"
    # the damaged file is there to be looked at
    assert [p.read_text() for p in copy.aside_folder.rglob("model.py")] == ["import os\n"]


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_workspace_of_the_release_before_is_looked_at_as_it_is(
    copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    age(copy.root.parent, version=BEFORE_VERSIONS)
    assert rpe("predict", TARGET, "--text", "round red drug") == 0
    # the links of this release are over columns that were taken away
    assert set(found_bad(copy)) == {"records"}
    assert "are not on record yet" in str(examine(copy))
    assert foretell(copy).rows == []
    MENDED["weights of a version flipped"](copy)
    capfd.readouterr()
    assert rpe("predict", TARGET, "--text", "round red drug") == 1
    assert "`rpe repair`" in capfd.readouterr().err
    (row,) = foretell(copy).rows
    assert TARGET in row["what"]
    with open_lake(copy, read_only=True) as lake:
        assert not lake.is_current, "a look renews nothing"
    assert repair(copy).is_whole
    assert set(found_bad(copy)) == {"records"}


@pytest.mark.slow
@pytest.mark.ci_slow
@pytest.mark.parametrize("name", MENDED)
def test_a_damage_is_noticed_and_mended(name: str, copy: Settings) -> None:
    calm = end_state(copy)
    MENDED[name](copy)
    if name != "report gone":
        assert found_bad(copy), "doctor notices"
    foretold = foretell(copy).rows
    assert {row["outcome"] for row in foretold} == {TO_DO}
    done = repair(copy)
    assert things(done.rows) == things(foretold)
    assert done.rows
    assert done.is_whole, done.rows
    assert found_bad(copy) == []
    assert end_state(copy) == calm
    assert not repair(copy).rows


@pytest.mark.slow
@pytest.mark.ci_slow
def test_what_cannot_be_made_again_is_foretold(copy: Settings) -> None:
    MENDED["artifact and version of an adapter gone"](copy)
    shutil.rmtree(copy.vectors)
    for file in (Path(copy.lake_data) / "raw").rglob("*.parquet"):
        file.unlink()
    foretold, done = foretell(copy).rows, repair(copy).rows
    assert things(foretold) == things(done)
    left = [row for row in foretold if row["outcome"] == IS_LEFT]
    assert {row["store"] for row in left} == {"lake", "artifacts", "vectors", "registry"}
    assert [r["what"] for r in left] == [r["what"] for r in done if r["outcome"] == IS_LEFT]


@pytest.mark.slow
@pytest.mark.ci_slow
@pytest.mark.parametrize("name", LEFT)
def test_what_only_a_backup_brings_is_named(
    name: str, copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    kept = {path: content for path, content in bytes_of(copy).items() if path.endswith(".parquet")}
    LEFT[name](copy)
    assert found_bad(copy)
    for words in (("repair", "--dry-run", "--json"), ("repair", "--json")):
        assert rpe(*words) == 1
        told = capfd.readouterr()
        (row,) = json.loads(told.out)["rows"]
        assert (row["store"], row["outcome"]) == ("lake", IS_LEFT)
        assert "backup" in row["how"]
        assert "Restore" in told.err
    for path, content in kept.items():  # as the runbook says: single files can be brought back
        (copy.root / path).write_bytes(content)
    assert found_bad(copy) == []
    assert rpe("repair") == 0


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_night_after_a_repair_is_unchanged(
    copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert rpe("nightly") == 0
    for name in ("mlflow.db and its files gone", "vectors cut", "artifact store gone"):
        MENDED[name](copy)
    assert rpe("nightly") == 1
    told = capfd.readouterr()
    assert "`rpe repair`" in told.err
    assert "withheld" not in told.err + told.out
    assert repair(copy).is_whole
    calm = end_state(copy)
    assert rpe("nightly") == 0
    newest = "SELECT outcome FROM core.runs ORDER BY recorded_at DESC LIMIT 1"
    assert read_rows_of(copy, newest)[0]["outcome"] == "unchanged"
    assert end_state(copy) == calm

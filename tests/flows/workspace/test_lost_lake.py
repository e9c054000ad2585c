"""A lake whose catalog has gone is not begun anew while other stores stand, unless one says so."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.lake.session import connect
from flows.workspace.lost_lake import LakeLost
from flows.workspace.settings import Settings
from flows.workspace.stores import open_artifacts, open_lake, open_registry, others_of
from tests.catalog.lakes import EDGE
from tests.flows.conftest import TARGET
from tests.flows.damages import LOST, MENDED
from tests.flows.upkeep.test_repair import bytes_of, copy, served
from tests.lake_rows import read_rows_of

__all__ = ["copy", "served"]
WRITING = (("ingest",), ("embed",), ("train",), ("maintain",), ("repair",), ("init",))


@pytest.mark.parametrize(
    "name",
    [
        n if n == "catalog gone" else pytest.param(n, marks=(pytest.mark.slow, pytest.mark.ci_slow))
        for n in LOST
    ],
)
def test_a_lost_catalog_is_told_and_nothing_is_made(
    name: str,
    night_copy: Settings,
    rpe: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    LOST[name](night_copy)
    before = set(bytes_of(night_copy))
    for words in (("nightly",), ("source", "list"), ("init",)):
        assert rpe(*words) == 1
        told = capfd.readouterr().err
        assert "The catalog of the lake is gone or empty" in told
        assert "rpe init --new-lake" in told
        assert "backup" in told
    made = {p for p in set(bytes_of(night_copy)) - before if not p.startswith("prefect/")}
    assert made <= {"lake/catalog.sqlite"}, "at most a catalog that stays empty"


@pytest.mark.slow
@pytest.mark.ci_slow
@pytest.mark.parametrize("words", WRITING, ids=" ".join)
def test_every_command_that_writes_refuses(
    words: tuple[str, ...],
    night_copy: Settings,
    rpe: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    LOST["catalog gone"](night_copy)
    assert rpe(*words) == 1
    assert "The catalog of the lake is gone or empty" in capfd.readouterr().err
    assert not (night_copy.root / "lake" / "catalog.sqlite").exists()


def test_a_catalog_without_a_record_is_lost_too(night_copy: Settings) -> None:
    """As a schema of PostgreSQL that was emptied: DuckLake's tables are there, and nothing else."""
    LOST["catalog gone"](night_copy)
    catalog = parse_catalog(night_copy.lake)
    connect(catalog, night_copy.lake_data, is_read_only=False).close()
    with pytest.raises(Exception, match="gone or empty"):
        open_lake(night_copy)


def test_what_is_to_be_brought_back_is_what_was_lost() -> None:
    on_disk, on_server = (
        str(LakeLost(parse_catalog(uri), ["7 artifacts"]))
        for uri in ("ducklake:sqlite:/srv/lake/catalog.sqlite", "ducklake:postgres:dbname=rpe")
    )
    assert "bring lake/ back from the backup" in on_disk
    assert "the database of RPE_LAKE_URI" in on_server
    assert "bring that database back from the backup" in on_server


def test_a_workspace_that_was_cut_off_at_its_first_moment_goes_on(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    catalog, data = parse_catalog(settings.lake), Path(settings.lake_data)
    # the catalog is made, and a first commit was cut off after it had written its file
    connect(catalog, settings.lake_data, is_read_only=False).close()
    for cut_off in ("core/migrations/ducklake-0.parquet", "raw/site/ducklake-1.parquet"):
        (data / cut_off).parent.mkdir(parents=True)
        (data / cut_off).touch()
        with open_lake(settings) as lake:
            lake.migrate()
            assert lake.rows("SELECT count(*) AS n FROM core.runs") == [{"n": 0}]


def test_a_lake_that_another_run_begins_meanwhile_is_not_lost(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    stray = Path(settings.artifacts) / ("0" * 64)
    stray.mkdir(parents=True)

    def opened_after_another_began() -> Artifacts:
        with open_lake(settings, may_be_lost=True) as lake:
            lake.migrate()
        return open_artifacts(settings, read_only=True)

    others = others_of(settings)
    with pytest.raises(LakeLost):
        others.require_catalog()
    replace(others, artifacts=opened_after_another_began).require_catalog()


def test_a_record_that_another_run_makes_meanwhile_is_one(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    (Path(settings.artifacts) / ("0" * 64)).mkdir(parents=True)
    with open_lake(settings, may_be_lost=True) as lake:
        lake.migrate()

        def opened_after_another_recorded() -> Artifacts:
            with lake.transaction(message="write", run=None) as commit:
                commit.insert_new("lineage", [EDGE])
            return open_artifacts(settings, read_only=True)

        others = replace(others_of(settings), artifacts=opened_after_another_recorded)
        others.require_records(lake)
        assert lake.has_records


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_new_lake_is_begun_on_purpose_and_what_is_served_stays(
    copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    served_before = open_registry(copy).all_aliases()
    assert rpe("init", "--new-lake") == 2
    assert "a new one is not needed" in capfd.readouterr().err
    LOST["catalog gone"](copy)
    assert rpe("init", "--new-lake") == 0
    assert "stays served until the next promotion" in capfd.readouterr().err
    (run,) = read_rows_of(copy, "SELECT flow FROM core.runs")
    assert run["flow"] == "new-lake"
    assert rpe("maintain") == 0
    assert rpe("predict", TARGET, "--text", "round red drug") == 0, "its own sums vouch for it"
    MENDED["weights of a version flipped"](copy)
    assert rpe("predict", TARGET, "--text", "round red drug") == 1
    MENDED["weights of a version flipped"](copy)  # the same bit: it is back
    registry = open_registry(copy)
    assert registry.all_aliases() == served_before
    assert registry.versions("rpe-base-pico"), "the base that it is loaded with"
    aside = {path.name for path in copy.aside_folder.glob("*/*")}
    assert {"vectors", "artifacts", "lake"} <= aside
    capfd.readouterr()
    assert rpe("nightly", "--json") == 0
    assert json.loads(capfd.readouterr().out)["status"] == "ok"
    assert open_registry(copy).aliases(TARGET)["champion"] == served_before[TARGET]["champion"]
    assert rpe("predict", TARGET, "--text", "round red drug") == 0, "none was chosen since"
    assert rpe("maintain") == 0
    assert open_registry(copy).aliases(TARGET)["champion"] == served_before[TARGET]["champion"]

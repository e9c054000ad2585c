"""Errors of the lake: every driver error in our words, no value told, a full disk survived."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from catalog.errors import RecordNotFound, StoreError, StoreUnavailable
from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.lake.errors import store_error_of
from catalog.stores.lake.lake import Lake
from rpe_core.errors import InputError, Transient
from tests.catalog.lakes import (
    EDGE,
    NOON,
    SECRET,
    fresh_lake,
    open_lake,
    run_script,
)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with fresh_lake(tmp_path) as opened:
        yield opened


def every_driver_error() -> list[type[duckdb.Error]]:
    found = [getattr(duckdb, name) for name in dir(duckdb)]
    return [k for k in found if isinstance(k, type) and issubclass(k, duckdb.Error)]


@pytest.mark.parametrize("kind", every_driver_error(), ids=lambda kind: kind.__name__)
def test_every_driver_error_becomes_ours_without_its_text(kind: type[duckdb.Error]) -> None:
    error = store_error_of(kind(f"Could not convert '{SECRET}'"), doing="read the lake")
    assert isinstance(error, StoreError)
    assert SECRET not in str(error)
    assert SECRET not in repr(error.__dict__)


@pytest.mark.parametrize(
    ("text", "is_transient", "words"),
    [
        ("IO Error: No space left on device", True, "No space"),
        ("database or disk is full", True, "No space"),
        ("Unable to connect to Postgres at '': connection to server failed", True, "not answer"),
        ("server closed the connection unexpectedly", True, "does not answer"),
        ("disk I/O error", True, "is full, or failed"),
        ("database disk image is malformed", False, "is damaged"),
        ("file is not a database", False, "is damaged"),
        ("database is locked", True, "another process"),
        ("Permission denied", False, "may not use"),
        ("attempt to write a readonly database", False, "may not use"),
    ],
)
def test_causes_are_told_apart(text: str, is_transient: bool, words: str) -> None:
    for kind in (duckdb.IOException, duckdb.Error, duckdb.TransactionException):
        error = store_error_of(kind(text), doing="commit")
        assert isinstance(error, Transient) == is_transient
        assert words in str(error)


def test_a_cell_that_reads_like_a_cause_is_not_taken_for_one() -> None:
    error = store_error_of(duckdb.ConversionException("'disk is full'"), doing="read the lake")
    assert not isinstance(error, StoreUnavailable)


def test_a_failing_query_tells_no_value(lake: Lake) -> None:
    for sql in ("SELECT CAST(? AS BIGINT)", "SELECT * FROM core.nothing WHERE x = ?"):
        with pytest.raises(StoreError) as caught:
            lake.rows(sql, [SECRET])
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_a_disk_that_fills_up_ends_in_a_remedy_and_an_unharmed_lake(tmp_path: Path) -> None:
    with open_lake(tmp_path) as lake:
        lake.migrate()
        at = lake.snapshot_id
    script = """
        import random, resource, sys
        from pathlib import Path
        from tests.catalog.lakes import EDGE, open_lake
        from catalog.errors import StoreUnavailable
        lake = open_lake(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        rows = [EDGE | {"parent_id": random.Random(i).randbytes(99).hex()} for i in range(9000)]
        try:
            with lake.transaction(message="too much", run=None) as tx:
                tx.insert_new("lineage", rows)
        except StoreUnavailable as error:
            print(error)
    """
    done = run_script(script, tmp_path)
    assert "No space is left" in done
    assert "rpe maintain" in done
    with open_lake(tmp_path) as lake:
        assert lake.snapshot_id == at
        with lake.transaction(message="fits", run=None) as tx:
            assert tx.insert_new("lineage", [EDGE]) == 1


def test_reading_where_there_is_no_lake(tmp_path: Path) -> None:
    with pytest.raises(RecordNotFound, match="rpe init"):
        open_lake(tmp_path, read_only=True)
    assert not list(tmp_path.iterdir())


def test_other_catalogs_are_refused(tmp_path: Path) -> None:
    for uri in ("ducklake:sqlite:", "ducklake:postgres:", "ducklake:mysql:x", "/srv/lake"):
        with pytest.raises(InputError, match="RPE_LAKE_URI"):
            Lake.open(
                uri=uri, data_uri="d", lock_path=tmp_path / "l", clock=lambda: NOON, read_only=True
            )


@pytest.mark.parametrize(
    "uri",
    [
        "ducklake:postgres:host=db dbname=rpe password=Zx9-Quorvex",
        "ducklake:postgres:host=db PASSWORD = Zx9-Quorvex",
        "ducklake:postgres:postgresql://rpe:Zx9-Quorvex@db/rpe",
    ],
)
def test_a_password_in_a_uri_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(InputError, match="PGPASSFILE") as caught:
        parse_catalog(uri)
    assert "Quorvex" not in str(caught.value)

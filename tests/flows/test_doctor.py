"""Doctor: what was edited behind the platform's back is named; an untouched workspace is clean."""

import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog import intents
from catalog.stores.lake_catalog import parse_catalog
from catalog.stores.lake_session import connect
from flows import surroundings
from flows.doctor import examine
from flows.locking import hold_workspace
from flows.reading import read_rows_of
from flows.run_record import open_run
from flows.settings import Settings
from flows.settling import settle
from flows.wiring import open_stores, utc_now
from rpe_core.errors import RpeError

EDITS = {
    "core.ensemble_members": "UPDATE core.ensemble_members SET weight = 0.75 WHERE weight = 0.5",
    "core.lineage": "UPDATE core.lineage SET parent_id = 'batch:site_x@0' WHERE role = 'batch'",
    "core.scores": "UPDATE core.scores SET value = value + 0.01 WHERE arm = 'linear_l1'",
}


def edit(settings: Settings, *statements: str) -> None:
    """Raw SQL of somebody who has DuckDB and the files."""
    catalog = parse_catalog(settings.lake)
    with connect(catalog, settings.lake_data, is_read_only=False) as connection:
        connection.execute("USE lake")
        for statement in statements:
            connection.execute(statement)


def flip_a_byte(settings: Settings, sql: str) -> str:
    """Edit the weights of the first artifact that a statement names; its hash."""
    (sha256,) = read_rows_of(settings, f"{sql} ORDER BY 1 LIMIT 1")[0].values()
    path = Path(settings.artifacts) / sha256 / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return str(sha256)


def test_an_untouched_workspace_is_clean(finished_night: Settings) -> None:
    rows = examine(finished_night, is_deep=True)
    assert [row for row in rows if row["status"] != "good"] == []
    told = {row["check"]: row["detail"] for row in rows}
    assert "under 1 links, head " in told["records"]
    assert "0 rows not sealed yet" in told["records"]
    folders = {path.name for path in Path(finished_night.artifacts).iterdir()}
    n_bytes = sum(p.stat().st_size for p in Path(finished_night.artifacts).rglob("*.*"))
    assert told["artifacts"] == f"{len(folders)} folders, {n_bytes:,} bytes read and hashed"


def test_an_edited_row_or_byte_is_named(
    night_copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    edit(night_copy, *EDITS.values())
    adapter = flip_a_byte(night_copy, "SELECT artifact_sha256 FROM core.adapters")
    merged = flip_a_byte(night_copy, "SELECT artifact_sha256 FROM core.ensembles")
    (run,) = read_rows_of(night_copy, "SELECT run_id FROM core.runs")
    assert rpe("doctor", "--json") == 1
    rows = json.loads(capfd.readouterr().out)["rows"]
    odd = [row["detail"] for row in rows if row["check"] == "records"][:-1]
    assert {detail.split(":")[0] for detail in odd} == set(EDITS)
    assert all(f"whole when {run['run_id']} closed at" in detail for detail in odd)
    assert all("by no run of ours" in detail for detail in odd)
    assert [row["status"] for row in rows if row["check"] == "artifacts"] == ["good"]
    assert rpe("doctor", "--deep", "--json") == 1
    rows = json.loads(capfd.readouterr().out)["rows"]
    odd = [row["detail"] for row in rows if row["check"] == "artifacts"][:-1]
    assert {detail.split()[1] for detail in odd} == {adapter[:12], merged[:12]}
    assert all("is not what was kept: adapter_model.safetensors" in detail for detail in odd)


def test_what_lies_open_to_others_is_told_with_what_to_type() -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        settings = Settings(home=Path(place, "home"))
        for name in ("lake/catalog.sqlite", "report/index.html"):
            (settings.root / name).parent.mkdir(parents=True)
            (settings.root / name).touch(mode=0o644)
        settings.root.chmod(0o755)
        with pytest.raises(RpeError, match="can be read or changed by every user") as raised:
            surroundings.permissions(settings)
        assert raised.value.where.endswith("lake/catalog.sqlite")
        assert "index.html" not in raised.value.where
        chmod, mode, *paths = raised.value.remedy.split()
        assert (chmod, mode, paths) == ("chmod", "o-rwx", [str(settings.root)])
        settings.root.chmod(0o750)
        assert surroundings.permissions(settings).endswith("closed to others")


def test_a_clock_behind_the_newest_record_is_told(
    finished_night: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "utc_now", lambda: utc_now() - timedelta(days=1))
    with pytest.raises(RpeError, match=r"dated 2[34]\.\d hours from now") as raised:
        surroundings.clock(finished_night)
    assert "NTP" in raised.value.remedy


def test_a_package_that_is_not_of_the_lock_is_told(tmp_path: Path) -> None:
    assert surroundings.versions().endswith("packages as in constraints.txt")
    lock = tmp_path / "lock.txt"
    lock.write_text("# a lock\nduckdb==0.0.1\nno-such-package==1\n")
    with pytest.raises(RpeError, match="1 packages have another version") as raised:
        surroundings.versions(lock)
    assert raised.value.where.startswith("duckdb 1.")
    assert str(lock) in raised.value.remedy


def test_what_a_run_left_behind_is_told_and_settled(night_copy: Settings) -> None:
    stores = open_stores(night_copy)
    with closing(stores.lake):
        intents.intend(stores.lake, ["adapter:site_x@0"], run=open_run("night"))
        left = stores.artifacts.put_folder(night_copy.sources_folder)
        with hold_workspace(night_copy), ThreadPoolExecutor(1) as beside:
            seen = beside.submit(intents_row, night_copy).result()
            assert seen["status"] == "good", "a run is at work"
        told = intents_row(night_copy)
        assert told["status"] == "bad"
        assert "1 records were begun and not finished" in told["detail"]
        assert settle(stores) == 1
        assert left not in stores.artifacts.list()
    assert intents_row(night_copy)["status"] == "good"


def intents_row(settings: Settings) -> dict[str, Any]:
    return next(row for row in examine(settings) if row["check"] == "intents")

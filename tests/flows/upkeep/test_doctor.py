"""Doctor: what was edited behind the platform's back is named; an untouched workspace is clean."""

import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.records import intents
from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.lake.session import connect
from flows.runs.run_record import open_run
from flows.upkeep import machine_checks
from flows.upkeep.crash_recovery import settle
from flows.upkeep.doctor import examine
from flows.workspace.locking import hold_workspace
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores, open_vectors, utc_now
from rpe_core.errors import RpeError
from tests.flows.conftest import TARGET
from tests.lake_rows import read_rows_of

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


@pytest.mark.slow
@pytest.mark.ci_slow
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
            machine_checks.permissions(settings)
        assert raised.value.where.endswith("lake/catalog.sqlite")
        assert "index.html" not in raised.value.where
        chmod, mode, *paths = raised.value.remedy.split()
        assert (chmod, mode, paths) == ("chmod", "o-rwx", [str(settings.root)])
        settings.root.chmod(0o750)
        assert machine_checks.permissions(settings).endswith("closed to others")
        settings.night_lock.mkdir()
        with pytest.raises(RpeError, match="The lock is a directory"):
            machine_checks.permissions(settings)


def test_a_clock_behind_the_newest_record_is_told(
    finished_night: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_checks, "utc_now", lambda: utc_now() - timedelta(days=1))
    with pytest.raises(RpeError, match=r"dated 2[34]\.\d hours from now") as raised:
        machine_checks.clock(finished_night)
    assert "NTP" in raised.value.remedy


def test_a_package_that_is_not_of_the_lock_is_told(tmp_path: Path) -> None:
    assert machine_checks.versions().endswith("packages as in constraints.txt")
    lock = tmp_path / "lock.txt"
    lock.write_text("# a lock\nduckdb==0.0.1\nno-such-package==1\n")
    with pytest.raises(RpeError, match="1 packages have another version") as raised:
        machine_checks.versions(lock)
    assert raised.value.where.startswith("duckdb 1.")
    assert str(lock) in raised.value.remedy


@pytest.mark.slow
@pytest.mark.ci_slow
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


def one_file(settings: Settings, pattern: str) -> Path:
    """The largest file of the workspace that a pattern finds."""
    return max(settings.root.glob(pattern), key=lambda path: path.stat().st_size)


def written(settings: Settings) -> dict[Path, int]:
    """When each file was last written, but for memory that SQLite's readers share."""
    files = (p for p in settings.root.rglob("*") if p.is_file() and p.suffix != ".sqlite-shm")
    return {path: path.stat().st_mtime_ns for path in files}


def bad_rows(settings: Settings, *, is_deep: bool = False) -> dict[str, str]:
    """Check -> all that doctor finds bad about it."""
    found: dict[str, str] = {}
    for row in examine(settings, is_deep=is_deep):
        if row["status"] == "bad":
            found[row["check"]] = found.get(row["check"], "") + row["detail"] + "\n"
    return found


def test_every_kind_of_loss_is_told_at_once_with_its_cost_and_what_mends_it(
    night_copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    raw = one_file(night_copy, "lake/data/raw/site_a/*.parquet")
    aside = one_file(night_copy, "lake/data/core/validations/*.parquet")
    weights = one_file(night_copy, "artifacts/*/adapter_model.safetensors")
    raw.write_bytes(raw.read_bytes()[:-1])
    aside.unlink()
    weights.write_bytes(weights.read_bytes()[:-1])
    one_file(night_copy, "vectors/*/data/*.lance").write_bytes(b"")
    (night_copy.root / "mlflow.db").write_bytes(b"")
    before = written(night_copy)
    assert rpe("doctor", "--json") == 1
    told = capfd.readouterr()
    assert told.err == "", "Lance says of its panics itself, MLflow of its tables"
    rows = json.loads(told.out)["rows"]
    bad = {row["check"]: row["detail"] for row in reversed(rows) if row["status"] == "bad"}
    assert {"files", "vectors", "registry", "artifacts"} <= bad.keys()
    assert f"raw/site_a/{raw.name} is not what was kept" in str(rows)
    assert f"Rows of source site_a cannot be read, which {TARGET} is made of" in str(rows)
    assert (
        f"core/validations/{aside.name} is gone. Records of core.validations cannot be read"
        in str(rows)
    )
    assert f"Artifact {weights.parent.name[:12]}" in bad["artifacts"]
    assert "adapter_model.safetensors was changed" in bad["artifacts"]
    assert "The vector of " in bad["vectors"]
    assert "cannot be read" in bad["vectors"]
    assert bad["registry"].startswith("mlflow.db is not what was kept: it is empty")
    for check, remedy in {
        "vectors": "rpe repair",
        "registry": "rpe repair",
        "files": "backup",
    }.items():
        assert remedy in bad[check]
    assert written(night_copy) == before, "doctor changes no file"


def test_a_flipped_byte_is_told_by_the_deep_look(night_copy: Settings) -> None:
    """Of rows, of a close's own row, of records, of a vector; sizes are as they were."""
    flipped = [
        one_file(night_copy, "lake/data/raw/site_b/*.parquet"),
        one_file(night_copy, "lake/data/core/runs/*.parquet"),
        one_file(night_copy, "lake/data/core/lineage/*.parquet"),
    ]
    for file in flipped:
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 4
        file.write_bytes(content)
    lance = one_file(night_copy, "vectors/*/data/*.lance")
    (row,) = open_vectors(night_copy).representations(z_ids(night_copy)[:1]).values()
    content, z = bytearray(lance.read_bytes()), struct.pack("<d", row.z[3])
    for path in night_copy.root.glob("vectors/*/data/*.lance"):
        content = bytearray(path.read_bytes())
        if z in content:
            content[content.index(z)] ^= 1
            path.write_bytes(content)
    found = bad_rows(night_copy, is_deep=True)
    assert all(f"{file.name} is not what was kept" in found["files"] for file in flipped)
    assert row.representation_id in found["vectors"]
    assert "is not what was kept" in found["vectors"]


@pytest.mark.parametrize(
    ("left", "what"),
    [
        (None, "is gone"),
        (0, "is not what was kept: it is empty"),
        (50_000, "is not what was kept: it is cut"),
    ],
)
def test_a_lost_catalog_is_told_with_its_cost_and_the_rest_is_looked_at(
    night_copy: Settings, left: int | None, what: str
) -> None:
    catalog = night_copy.root / "lake" / "catalog.sqlite"
    content = catalog.read_bytes()
    catalog.unlink()
    if left is not None:
        catalog.write_bytes(content[:left])
    flipped = one_file(night_copy, "artifacts/*/adapter_config.json")
    flipped.write_bytes(flipped.read_bytes()[:-1])
    found = bad_rows(night_copy, is_deep=True)
    assert found["catalog"].startswith(f"lake/catalog.sqlite {what}")
    assert "All history is lost" in found["catalog"]
    assert "backup" in found["catalog"]
    assert "`rpe init --new-lake`" in found["catalog"]
    assert flipped.parent.name[:12] in found["artifacts"], "a folder is named by its hash"
    assert catalog.exists() == (left is not None)
    assert left is None or catalog.stat().st_size == left, "no lake is begun in its place"


def test_folders_that_are_gone_are_told_and_not_made_again(night_copy: Settings) -> None:
    checks = {"vectors": "vectors", "artifacts": "artifacts", "lake/data/raw": "files"}
    for folder in checks:
        shutil.rmtree(night_copy.root / folder)
    found = bad_rows(night_copy)
    assert found.keys() == set(checks.values()), "records are read, though rows are gone"
    assert all("is gone" in told for told in found.values())
    assert not any((night_copy.root / folder).exists() for folder in checks)


def z_ids(settings: Settings) -> list[str]:
    rows = read_rows_of(settings, "SELECT representation_id AS id FROM core.representations")
    return sorted(str(row["id"]) for row in rows)

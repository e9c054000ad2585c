"""A backup: refused while a run holds the workspace, proved before it counts, good to restore."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from flows.night.nightly import run_night
from flows.upkeep.backup import BackupFailed, back_up
from flows.workspace.locking import WorkspaceBusy
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake
from rpe_core.errors import InputError
from tests.flows.upkeep.test_doctor import flip_a_byte


def test_a_backup_is_refused_where_it_would_be_none(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    settings.root.mkdir()
    for place in (tmp_path, settings.root / "copy"):
        with pytest.raises(InputError, match="a new folder outside"):
            back_up(settings, place)
    elsewhere = Settings(home=settings.root, lake_data_uri="s3://bucket/lake", vectors_uri="/srv/v")
    with pytest.raises(InputError, match="lie outside") as raised:
        back_up(elsewhere, tmp_path / "copy")
    assert raised.value.where == "RPE_LAKE_DATA_URI, RPE_VECTORS_URI"
    with FileLock(settings.night_lock), pytest.raises(WorkspaceBusy):
        back_up(settings, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_names_of_scratch_and_links_of_stores_are_copied(
    night_copy: Settings, tmp_path: Path
) -> None:
    """A source may be called as a scratch folder is, and a store may lie behind a link."""
    with open_lake(night_copy) as lake, lake.transaction(message="test", run=None) as commit:
        for name in ("cache", "tmp", "prefect"):
            commit.execute(f"CREATE TABLE raw.{name} AS SELECT 1 AS n")
    models, elsewhere = night_copy.root / "mlartifacts", tmp_path / "large_disk"
    models.rename(elsewhere)
    models.symlink_to(elsewhere)
    done = back_up(night_copy, tmp_path / "backup")
    with open_lake(Settings(home=done.folder), read_only=True) as lake:
        for name in ("cache", "tmp", "prefect"):
            assert lake.rows(f"FROM raw.{name}") == [{"n": 1}]
    copied = done.folder / "mlartifacts"
    assert not copied.is_symlink()
    assert sorted(p.name for p in copied.iterdir()) == sorted(p.name for p in elsewhere.iterdir())
    assert not [p.name for p in done.folder.rglob("*.lock")]
    assert done.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_restored_workspace_goes_on_where_it_was(
    night_copy: Settings, tmp_path: Path, rpe: Callable[..., int]
) -> None:
    done = back_up(night_copy, tmp_path / "backup")
    shutil.rmtree(night_copy.root)
    shutil.copytree(done.folder, night_copy.root)
    assert rpe("doctor", "--deep") == 0
    assert run_night(night_copy).outcome == "unchanged"
    assert back_up(night_copy, tmp_path / "later").head != done.head
    rows = next(night_copy.root.glob("lake/data/raw/site_a/*.parquet"))
    content = rows.read_bytes()
    rows.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    flip_a_byte(night_copy, "SELECT artifact_sha256 FROM core.adapters")
    with pytest.raises(BackupFailed, match="is not what was kept") as raised:
        back_up(night_copy, tmp_path / "spoilt")
    assert f"files: raw/site_a/{rows.name}" in raised.value.expected
    assert "artifacts: Artifact" in raised.value.expected
    assert not (tmp_path / "spoilt").exists()

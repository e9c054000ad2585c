"""Artifacts in an object store: whole or not at all, fetched once, hashed where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from pyarrow.fs import FSSpecHandler, PyFileSystem

from catalog.errors import RecordConflict, RecordNotFound
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.artifacts.bucket import Bucket
from catalog.stores.object_store import path_in_store
from rpe_core.errors import InputError

ROOT = "/hospital/artifacts"


@pytest.fixture
def files() -> Iterator[Any]:
    """An object store in memory, through Arrow as the real one is."""
    memory = fsspec.filesystem("memory")
    yield PyFileSystem(FSSpecHandler(memory))
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to keep."""
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "a.txt").write_text("one")
    (made / "deep" / "b.bin").write_bytes(bytes(9_000_000))
    return made


def opened(files: Any, cache: Path) -> Artifacts:
    cache.mkdir()
    return Artifacts(cache, Bucket(files, ROOT))


def test_what_one_machine_keeps_another_fetches(files: Any, folder: Path, tmp_path: Path) -> None:
    here, there = opened(files, tmp_path / "here"), opened(files, tmp_path / "there")
    sha256 = here.put_folder(folder)
    assert sha256 == Artifacts.hash_folder(folder) == here.put_folder(folder)
    assert there.list() == [sha256]
    assert there.n_bytes(sha256) == 9_000_003
    assert Artifacts.hash_folder(there.folder(sha256)) == sha256
    there.verify(sha256)
    here.delete(sha256)
    assert there.list() == []
    with pytest.raises(RecordNotFound):
        there.verify(sha256)
    assert there.remove_leftovers() == 0
    with pytest.raises(RecordNotFound):  # its copy went too
        there.folder(sha256)


def test_half_an_upload_is_never_taken_for_whole(files: Any, folder: Path, tmp_path: Path) -> None:
    store = opened(files, tmp_path / "here")
    sha256 = store.put_folder(folder)
    files.delete_file(f"{ROOT}/{sha256}.json")
    other = opened(files, tmp_path / "there")
    assert other.list() == []
    with pytest.raises(RecordNotFound):
        other.folder(sha256)
    assert other.remove_leftovers() == 1
    assert not fsspec.filesystem("memory").find(ROOT)
    assert store.put_folder(folder) == sha256
    assert other.list() == [sha256]


def test_a_changed_object_is_found_and_not_used(files: Any, folder: Path, tmp_path: Path) -> None:
    store = opened(files, tmp_path / "here")
    sha256 = store.put_folder(folder)
    with files.open_output_stream(f"{ROOT}/{sha256}/a.txt") as stream:
        stream.write(b"two")
    store.folder(sha256, is_verified=True)  # the copy is what was kept
    with pytest.raises(RecordConflict):
        store.verify(sha256)
    with pytest.raises(RecordConflict):
        opened(files, tmp_path / "there").folder(sha256)
    assert [p.name for p in (tmp_path / "there").iterdir()] == []


@pytest.mark.parametrize(
    "uri",
    [
        "s3://KEY:SECRET@bucket/x",
        "s3://KEY@bucket/x",
        "s3://bucket/x?s3_secret_access_key=SECRET",
        "s3://bucket/../x",
        "s3://bucket//x",
        "s3://b",
        "https://bucket.example.org/x",
    ],
)
def test_a_uri_with_a_key_or_a_way_out_is_refused_untold(uri: str) -> None:
    with pytest.raises(InputError) as caught:
        path_in_store(uri, "RPE_ARTIFACTS_URI")
    assert "SECRET" not in str(caught.value)
    assert "KEY@" not in str(caught.value)

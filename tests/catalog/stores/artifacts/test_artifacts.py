"""The artifact store: content decides the name, folders appear whole, nothing escapes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from catalog.errors import RecordConflict, RecordNotFound, StoreError, StoreUnavailable
from catalog.stores.artifacts.artifacts import Artifacts
from rpe_core.errors import InputError

ROOT = Path(__file__).parents[4]


@pytest.fixture
def store(tmp_path: Path) -> Artifacts:
    return Artifacts.open(str(tmp_path / "artifacts"))


def folder(path: Path, **files: str) -> Path:
    for name, content in files.items():
        file = path / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return path


def inside(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())


def test_a_folder_comes_back_as_it_was_given(store: Artifacts, tmp_path: Path) -> None:
    given = folder(tmp_path / "given", config="{}", deep__weights="abc")
    sha256 = store.put_folder(given)
    assert inside(store.folder(sha256)) == ["config", "deep/weights"]
    assert (store.folder(sha256) / "deep/weights").read_text() == "abc"
    assert store.list() == [sha256]
    store.verify(sha256)


def test_the_same_content_is_kept_once_wherever_it_came_from(
    store: Artifacts, tmp_path: Path
) -> None:
    first = store.put_folder(folder(tmp_path / "one", a="1", b="2"))
    at = (store.folder(first) / "a").stat().st_mtime_ns
    assert store.put_folder(folder(tmp_path / "two", b="2", a="1")) == first
    assert (store.folder(first) / "a").stat().st_mtime_ns == at
    assert inside(tmp_path / "artifacts") == [f"{first}/a", f"{first}/b"]


def test_name_and_content_both_count(store: Artifacts, tmp_path: Path) -> None:
    hashes = {
        store.hash_folder(folder(tmp_path / "a", x="1", y="2")),
        store.hash_folder(folder(tmp_path / "b", x="2", y="1")),
        store.hash_folder(folder(tmp_path / "c", x="12", y="")),
        store.hash_folder(folder(tmp_path / "d", x__y="12")),
    }
    assert len(hashes) == 4


def test_hash_files_is_the_same_under_another_folder(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one", a="1", b="2"), folder(tmp_path / "two", a="1", b="2")
    assert Artifacts.hash_files([one / "a", one / "b"]) == Artifacts.hash_files(
        [two / "b", two / "a"]
    )


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert Artifacts.hash_file(tmp_path / "f").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_an_edited_byte_is_found(store: Artifacts, tmp_path: Path) -> None:
    sha256 = store.put_folder(folder(tmp_path / "given", a="1"))
    (store.folder(sha256) / "a").write_text("2")
    with pytest.raises(RecordConflict, match=sha256):
        store.folder(sha256, is_verified=True)
    assert store.folder(sha256).is_dir()


@pytest.mark.parametrize("name", ["", "../x", "/etc", "a" * 63, "G" * 64, f"{'a' * 64}/.."])
def test_only_hashes_are_looked_up(store: Artifacts, name: str) -> None:
    with pytest.raises(InputError, match="64 hexadecimal"):
        store.folder(name)
    with pytest.raises(InputError, match="64 hexadecimal"):
        store.delete(name)


def test_what_is_not_there_is_said(store: Artifacts) -> None:
    with pytest.raises(RecordNotFound, match="a" * 64):
        store.folder("a" * 64)
    store.delete("a" * 64)


def test_links_devices_and_odd_names_are_refused(store: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    link, tree, pipe, odd = (folder(tmp_path / name, a="1") for name in ("l", "t", "p", "o"))
    (link / "b").symlink_to(tmp_path / "secret")
    (tree / "b").symlink_to(tmp_path)
    os.mkfifo(pipe / "b")
    (odd / "b\nc").write_text("1")
    empty = tmp_path / "empty"
    (empty / "only/folders").mkdir(parents=True)
    whole = tmp_path / "whole"
    whole.symlink_to(link)
    for path in (link, tree, pipe, odd, empty, whole, tmp_path / "secret", tmp_path / "missing"):
        with pytest.raises(InputError):
            store.put_folder(path)
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_delete_removes_the_files(store: Artifacts, tmp_path: Path) -> None:
    sha256 = store.put_folder(folder(tmp_path / "given", a="1"))
    store.delete(sha256)
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_kept(
    store: Artifacts, tmp_path: Path
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    root = tmp_path / "artifacts"
    folder(root / f".incoming-{dead.pid}-{'0' * 32}", a="1")
    folder(root / f".incoming-{os.getppid()}-{'0' * 32}", a="1")
    assert store.list() == []
    assert store.remove_leftovers() == 1
    assert len(list(root.iterdir())) == 1


def test_a_full_disk_leaves_nothing_behind(store: Artifacts, tmp_path: Path) -> None:
    given = folder(tmp_path / "given", a="1" * 200_000)
    script = """
        import resource, sys
        from pathlib import Path
        from catalog.errors import StoreUnavailable
        from catalog.stores.artifacts.artifacts import Artifacts
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            Artifacts.open(sys.argv[1]).put_folder(Path(sys.argv[2]))
        except StoreUnavailable as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "artifacts"), given]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "No space is left" in done.stdout
    assert list((tmp_path / "artifacts").iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000
    store.put_folder(given)


def test_a_place_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        Artifacts.open(str(tmp_path / "file" / "artifacts"))
    with pytest.raises(InputError, match="RPE_ARTIFACTS_URI"):
        Artifacts.open("s3://bucket/artifacts")


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    store = Artifacts.open((tmp_path / "with space").as_uri())
    assert store.folder(store.put_folder(folder(tmp_path / "given", a="1"))).parent == (
        tmp_path / "with space"
    )


def test_reading_what_may_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="ENOENT"):
        Artifacts.hash_file(tmp_path / "missing")

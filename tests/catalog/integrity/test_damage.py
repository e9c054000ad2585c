"""Damage of vectors, artifacts and databases: each kind told, nothing else said, nothing made."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from catalog.integrity.artifacts import damage_of_artifacts
from catalog.integrity.damage import REPAIR, RETRAIN
from catalog.integrity.vectors import (
    count_unhashed_files,
    damage_of_tables,
    damage_of_vectors,
)
from catalog.records.cards import representation_row
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.lake import chain
from catalog.stores.lake.lake import Lake
from catalog.stores.sqlite_files import fault_of
from catalog.stores.vectors.files import unsealed_files
from catalog.stores.vectors.vectors import Vectors
from rpe_core.records import Representation, RunRef
from tests.catalog.lakes import fresh_lake

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with fresh_lake(tmp_path) as opened:
        yield opened


def representation(number: int) -> Representation:
    z, variance = np.random.default_rng(number).normal(size=(2, 32))
    ids = (f"representation:s{number}@1", f"dataset:s{number}@1", "encoder")
    return Representation(*ids, "reference", 9, tuple(z.tolist()), tuple((variance**2).tolist()), 9)


def file_vectors(lake: Lake, home: Path) -> Vectors:
    """Two representations, each with an adapter under it, on record and filed."""
    vectors = Vectors.open(str(home / "vectors"), lock_path=home / "writer.lock")
    with lake.transaction(message="file", run=None) as commit:
        for one in map(representation, (1, 2)):
            adapter = f"adapter:{one.representation_id.partition(':')[2]}"
            vectors.put_many([(one, None), (one, adapter)])
            commit.insert_new("representations", [representation_row(one)])
            row = {"adapter_id": adapter, "representation_id": one.representation_id}
            commit.insert_new("adapters", [row])
    return vectors


def test_a_vector_that_is_another_is_told_by_its_hash_alone(lake: Lake, tmp_path: Path) -> None:
    vectors = file_vectors(lake, tmp_path)
    assert damage_of_vectors(lake, vectors, is_deep=True) == []
    z = np.float64(representation(1).z[0]).tobytes()
    for file in (tmp_path / "vectors").rglob("*.lance"):
        if file.is_file() and z in (content := file.read_bytes()):
            place = content.index(z)
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert damage_of_vectors(lake, vectors, is_deep=False) == []
    (found,) = damage_of_vectors(lake, vectors, is_deep=True)
    assert found.ids == ("representation:s1@1",), "its adapter's row lies behind it in the file"
    assert (found.what, found.remedy) == ("is not what was kept", REPAIR)


def test_vectors_that_are_gone_are_told_without_a_word_of_lance(
    lake: Lake, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    vectors, ids = file_vectors(lake, tmp_path), set()
    vectors.delete(["representation:s2@1"])
    (found,) = damage_of_vectors(lake, vectors, is_deep=False)
    assert (found.ids, found.what) == (("adapter:s2@1", "representation:s2@1"), "is gone")
    for file in sorted((tmp_path / "vectors").rglob("data/*.lance")):
        content = file.read_bytes()
        for left in (b"", content[: len(content) // 2], b"x" * len(content)):
            file.write_bytes(left)
            opened = Vectors.open(str(tmp_path / "vectors"), lock_path=tmp_path / "l")
            (found, *_) = damage_of_vectors(lake, opened, is_deep=False)
            ids |= {found.what}
        file.write_bytes(content)
    assert ids == {"cannot be read"}
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


def test_a_vector_from_before_hashes_were_on_record_is_held_against_its_length(
    lake: Lake, tmp_path: Path
) -> None:
    vectors = Vectors.open(str(tmp_path / "vectors"), lock_path=tmp_path / "writer.lock")
    row = representation_row(representation(1))
    with lake.transaction(message="file", run=None) as commit:
        commit.insert_new("representations", [{**row, "vector_sha256": None}])
    vectors.put(representation(1))
    assert damage_of_vectors(lake, vectors, is_deep=True) == []
    with lake.transaction(message="file", run=None) as commit:
        commit.execute("UPDATE core.representations SET norm = norm + 1e-6")
    assert [one.what for one in damage_of_vectors(lake, vectors, is_deep=True)] == [
        "is not what was kept"
    ]


def keep_adapter(lake: Lake, home: Path) -> tuple[Artifacts, Path]:
    """An adapter on record with its folder."""
    folder, store = home / "made", Artifacts.open(str(home / "artifacts"))
    folder.mkdir()
    save_file({"a.weight": np.arange(64, dtype=np.float32)}, folder / WEIGHTS)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4}))
    sha256 = store.put_folder(folder)
    row = {
        "adapter_id": "adapter:s1@1",
        "source": "s1",
        "artifact_sha256": sha256,
        "weights_sha256": store.hash_file(folder / WEIGHTS),
    }
    with lake.transaction(message="adapter", run=None) as commit:
        commit.insert_new("adapters", [row])
    return store, store.folder(sha256)


SPOILT: dict[str, tuple[Callable[[Path], object], bool]] = {
    "weights flipped": (lambda f: flip(f / WEIGHTS), True),
    "weights cut": (lambda f: cut(f / WEIGHTS), False),
    "weights longer": (
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes() + b"x"),
        False,
    ),
    "weights emptied": (lambda f: (f / WEIGHTS).write_bytes(b""), False),
    "weights gone": (lambda f: (f / WEIGHTS).unlink(), False),
    "configuration flipped": (lambda f: flip(f / "adapter_config.json"), False),
    "one more file": (lambda f: (f / "more.bin").write_bytes(b"x"), False),
    "a link in place of a file": (lambda f: relink(f / "adapter_config.json"), False),
}


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def relink(file: Path) -> None:
    other = file.parent.parent / "other.json"
    file.rename(other)
    file.symlink_to(other)


@pytest.mark.parametrize("how", SPOILT)
def test_an_artifact_is_held_against_its_record_without_reading_weights(
    lake: Lake, tmp_path: Path, how: str
) -> None:
    store, folder = keep_adapter(lake, tmp_path)
    assert damage_of_artifacts(lake, store, is_deep=True) == []
    assert damage_of_artifacts(lake, store, is_deep=False) == []
    spoil, is_deep = SPOILT[how]
    spoil(folder)
    (found,) = damage_of_artifacts(lake, store, is_deep=True)
    assert found.what.startswith("is not what was kept")
    assert (found.ids, found.remedy) == (("adapter:s1@1",), RETRAIN)
    assert damage_of_artifacts(lake, store, is_deep=False) == ([] if is_deep else [found])


def test_a_database_is_told_to_be_cut_empty_or_none(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    assert fault_of(file) == "", "of what is gone others tell"
    with closing(sqlite3.connect(file)) as opened:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.executescript("CREATE TABLE t (x); CREATE INDEX i ON t (x);")
        opened.executemany("INSERT INTO t VALUES (?)", [(f"{n:0200}",) for n in range(500)])
        opened.commit()
        assert fault_of(file, is_deep=True) == "", "with its log beside it"
    whole = file.read_bytes()
    assert fault_of(file, is_deep=True) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"], "nothing is made beside it"
    zeroed = whole[:8192] + bytes(4096) + whole[12288:]
    for left, told in {
        b"": "is empty",
        whole[:50]: "is no database",
        b"not a database" * 99: "is no database",
        whole[:-4096]: "is cut",
    }.items():
        file.write_bytes(left)
        assert fault_of(file).startswith(told)
    file.write_bytes(zeroed)
    assert fault_of(file) == ""
    assert fault_of(file, is_deep=True).startswith("is damaged")


def close(lake: Lake, vectors: Vectors, number: int) -> dict[str, str]:
    """Close a run; what it put on record of files below the vectors."""
    run = RunRef(f"run:night@{number:012x}", "night", datetime(2026, 1, 1, tzinfo=UTC))
    files = unsealed_files(lake, vectors.uri, vectors.tokens())
    with lake.transaction(message=chain.CLOSING, run=run) as commit:
        chain.seal(commit, {"run_id": run.run_id, "flow": "night", "threads": 1}, files=files)
    return files


def tables_told(lake: Lake, vectors: Vectors, *, is_deep: bool = True) -> str:
    return "\n".join(map(str, damage_of_tables(lake, vectors, is_deep=is_deep)))


def files_of_tables(vectors: Vectors) -> list[Path]:
    """Every file below the vectors but Lance's hint, which nobody believes."""
    files = sorted(path for path in Path(vectors.uri).rglob("*") if path.is_file())
    return [path for path in files if path.name != "latest_version_hint.json"]


def test_a_close_keeps_each_file_below_the_vectors_once(lake: Lake, tmp_path: Path) -> None:
    vectors = file_vectors(lake, tmp_path)
    assert count_unhashed_files(lake, vectors) == len(files_of_tables(vectors)) > 0
    files = close(lake, vectors, 1)
    for path in files_of_tables(vectors):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        name = f"vectors/{path.relative_to(vectors.uri)}"
        assert files.pop(name) == f"{sha256} {path.stat().st_size}"
    assert files.keys() == {f"vectors/{table}.lance" for table in vectors.tokens()}
    assert (close(lake, vectors, 2), count_unhashed_files(lake, vectors)) == ({}, 0)
    vectors.put(representation(3))
    assert len(close(lake, vectors, 3)) == 3, "its rows, the version, what was committed"
    assert tables_told(lake, vectors) == ""


def test_a_bit_anywhere_below_the_vectors_is_told(lake: Lake, tmp_path: Path) -> None:
    """Padding, manifests and deletions too; what is cut, emptied or gone is seen at a look."""
    vectors = file_vectors(lake, tmp_path)
    vectors._database.open_table(next(iter(vectors.tokens()))).delete("role = 'none'")
    close(lake, vectors, 1)
    rng = np.random.default_rng(0)
    for path in files_of_tables(vectors):
        content = path.read_bytes()
        places = rng.choice(len(content), size=4, replace=False)
        for place in map(int, places):
            bit = content[place] ^ (1 << int(rng.integers(8)))
            path.write_bytes(content[:place] + bytes([bit]) + content[place + 1 :])
            found = damage_of_vectors(lake, reopened(vectors), is_deep=True)
            assert found, f"{path.name} at {place}"
        for left in (content[:-1], b"", None):
            path.write_bytes(left) if left is not None else path.unlink()
            assert damage_of_vectors(lake, reopened(vectors), is_deep=False), (path.name, left)
            path.write_bytes(content)
    assert damage_of_vectors(lake, vectors, is_deep=True) == []


def reopened(vectors: Vectors) -> Vectors:
    """The store as another process sees it: nothing is remembered."""
    return Vectors.open(vectors.uri, lock_path=Path(vectors.uri).parent / "other.lock")


def test_what_lance_removes_or_a_repair_replaces_is_no_damage(lake: Lake, tmp_path: Path) -> None:
    vectors = file_vectors(lake, tmp_path)
    close(lake, vectors, 1)
    vectors.optimize()
    assert tables_told(lake, vectors) == "", "compacted"
    assert close(lake, vectors, 2), "the list begins anew"
    vectors.delete(["representation:s2@1"])
    assert tables_told(lake, vectors) == "", "erased"
    close(lake, vectors, 3)
    assert close(lake, vectors, 4) == {}
    (table,) = vectors.tokens()
    vectors.write_again(table, aside=lambda path, _: shutil.move(path, tmp_path / "aside"))
    assert tables_told(lake, vectors) == "", "another table has no record yet"
    close(lake, vectors, 5)
    vectors.put(representation(4))
    vectors.put(representation(5))
    close(lake, vectors, 6)
    assert (tables_told(lake, vectors), close(lake, vectors, 7)) == ("", {})
    oldest, *_ = sorted(Path(vectors.uri).rglob("*.manifest"), reverse=True)
    oldest.unlink()
    assert f"{oldest.name} is gone" in tables_told(lake, vectors, is_deep=False)
    (Path(vectors.uri) / "cleaning").touch()  # as of an upkeep that was killed
    assert tables_told(lake, vectors) == ""
    vectors.optimize()
    assert (tables_told(lake, vectors), (Path(vectors.uri) / "cleaning").exists()) == ("", False)


def test_a_table_written_again_keeps_its_rows_through_a_kill(lake: Lake, tmp_path: Path) -> None:
    vectors = file_vectors(lake, tmp_path)
    (table,) = vectors.tokens()
    rows = vectors.filed("encoder", is_hashed=True)

    def killed(path: Path, _: str) -> None:
        shutil.move(path, tmp_path / "aside")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vectors.write_again(table, aside=killed)
    assert vectors.filed("encoder", is_hashed=True) == []
    vectors.put(representation(1))  # whoever writes next finishes it
    assert vectors.filed("encoder", is_hashed=True) == rows
    assert [path.name for path in Path(vectors.uri).iterdir()] == [f"{table}.lance"]

"""LoRA-VecDB: vectors come back bit for bit, encoders never mix, only what is visible is found."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.errors import RecordConflict, RecordNotFound, StoreError, StoreUnavailable
from catalog.stores.locks import WriterLock
from catalog.stores.vectors.vectors import Vectors
from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.records import Representation

ROOT = Path(__file__).parents[4]
ENCODER = "encoder:pico@0123456789ab"


def open_vectors(home: Path) -> Vectors:
    return Vectors.open(
        str(home / "vectors"), lock_path=home / "writer.lock", lock_timeout_seconds=30.0
    )


@pytest.fixture
def store(tmp_path: Path) -> Vectors:
    return open_vectors(tmp_path)


def filed(name: str, *z: float, encoder: str = ENCODER) -> Representation:
    return Representation(
        f"representation:{name}@1",
        f"dataset:{name}@1",
        encoder,
        "reference",
        7,
        tuple(z),
        tuple(0.5 for _ in z),
    )


def found(
    store: Vectors, *z: float, k: int = 9, allow: tuple[str, ...] = ("a", "b", "c"), **kwargs: Any
) -> list[str]:
    return [c.adapter_id for c in store.library(ENCODER, allow=allow).search(z, k=k, **kwargs)]


def test_z_and_variance_come_back_bit_for_bit(store: Vectors) -> None:
    rng = np.random.default_rng(0)
    given = replace(
        filed("a"), z=(1 / 3, 5e-324, -0.0, 1e300), variance=tuple(rng.random(4).tolist())
    )
    store.put(given, adapter_id=None)
    back = store.representation(given.representation_id)
    assert back == given
    assert np.asarray(back.z).tobytes() == np.asarray(given.z).tobytes()


def test_putting_twice_is_putting_once(store: Vectors, tmp_path: Path) -> None:
    assert store.put(filed("a", 1, 2), adapter_id="a")
    before = sorted(p.as_posix() for p in (tmp_path / "vectors").rglob("*"))
    assert not store.put(filed("a", 1, 2), adapter_id="a")
    told_elsewhere = {"n_groups": 5, "shares": (0.9, 0.1)}  # the lake alone holds these
    assert not store.put(replace(filed("a", 1, 2), **told_elsewhere), adapter_id="a")
    assert sorted(p.as_posix() for p in (tmp_path / "vectors").rglob("*")) == before
    assert found(store, 0, 0) == ["a"]


def test_two_recipes_share_a_place_and_are_two_candidates(store: Vectors) -> None:
    for adapter_id in (None, "a", "b"):
        store.put(filed("x", 1, 2), adapter_id=adapter_id)
    assert found(store, 0, 0) == ["a", "b"]
    assert store.keys() == {"representation:x@1"}


def test_the_same_id_with_another_vector_is_a_conflict(store: Vectors) -> None:
    store.put(filed("a", 1, 2), adapter_id=None)
    with pytest.raises(RecordConflict):
        store.put(filed("a", 1, 3), adapter_id="a")


def test_only_visible_adapters_of_other_sources_are_found(store: Vectors) -> None:
    for name, z in (("a", 1.0), ("b", 2.0), ("c", 3.0), ("o'hara", 0.0)):
        store.put(filed(name, z, 0), adapter_id=name)
    store.put(filed("bare", 0, 0), adapter_id=None)
    assert found(store, 0, 0) == ["a", "b", "c"]
    assert found(store, 0, 0, k=2) == ["a", "b"]
    assert found(store, 0, 0, allow=["c", "o'hara"]) == ["o'hara", "c"]
    assert found(store, 0, 0, allow=[]) == []
    assert found(store, 0, 0, exclude_sources=["a", "o'hara"]) == ["b", "c"]


def test_a_candidate_says_where_it_is_and_how_far(store: Vectors) -> None:
    store.put(filed("a", 3, 4), adapter_id="a")
    (candidate,) = store.library(ENCODER, allow=["a"]).search([0, 0], k=1)
    assert (candidate.source, candidate.dataset_version_id) == ("a", "dataset:a@1")
    assert (candidate.distance, candidate.z) == (5.0, (3.0, 4.0))


def test_the_answers_of_one_library_share_what_they_point_at(store: Vectors) -> None:
    for name, z in (("a", 1.0), ("b", 2.0)):
        store.put(filed(name, z, 0), adapter_id=name)
    library = store.library(ENCODER, allow=["a", "b"])
    first, second = (library.search(z, k=2) for z in ((0.0, 0.0), (5.0, 5.0)))
    places = {c.adapter_id: c.z for c in first}
    assert all(places[c.adapter_id] is c.z for c in second)


def test_encoders_never_mix(store: Vectors) -> None:
    store.put(filed("a", 1, 0), adapter_id="a")
    store.put(filed("b", 0, 0, encoder="encoder:other@1"), adapter_id="b")
    store.put(filed("c", 0, 0, 0, encoder="encoder_other_1"), adapter_id="c")
    assert found(store, 0, 0) == ["a"]
    assert store.library("encoder:unknown@1", allow=["a"]).search([0], k=1) == []
    assert len(store.keys()) == 3


def test_many_encoders_are_all_seen(store: Vectors) -> None:
    for number in range(12):
        store.put(filed(f"s{number}", 1, encoder=f"encoder:e{number}@1"), adapter_id="a")
    assert len(store.keys()) == 12
    assert store.representation("representation:s11@1").encoder_id == "encoder:e11@1"


@pytest.mark.parametrize("z", [(np.nan, 0.0), (np.inf, 0.0)])
def test_what_is_not_finite_is_refused(store: Vectors, z: tuple[float, float]) -> None:
    store.put(filed("a", 1, 2), adapter_id="a")
    with pytest.raises(InputError, match="finite"):
        found(store, *z)
    with pytest.raises(InputError, match="finite"):
        store.put(filed("b", *z), adapter_id="b")


def test_shapes_must_fit(store: Vectors) -> None:
    store.put(filed("a", 1, 2), adapter_id="a")
    with pytest.raises(ShapeMismatch):
        found(store, 1, 2, 3)
    with pytest.raises(ShapeMismatch):
        store.put(filed("b", 1, 2, 3), adapter_id="b")
    with pytest.raises(InputError):
        store.put(filed("b"), adapter_id="b")
    with pytest.raises(InputError, match="k"):
        found(store, 1, 2, k=0)


def test_what_is_not_there_is_said(store: Vectors) -> None:
    with pytest.raises(RecordNotFound, match="rpe embed"):
        store.representation("representation:x@1")
    store.put(filed("a", 1, 2), adapter_id="a")
    with pytest.raises(RecordNotFound):
        store.representation("x' OR 'x' = 'x")
    assert store.keys() == {"representation:a@1"}


def test_delete_removes_the_bytes(store: Vectors, tmp_path: Path) -> None:
    store.put(filed("plantedmarker", 1, 2), adapter_id="a")
    store.put(filed("kept", 1, 2), adapter_id="b")
    store.delete(["representation:plantedmarker@1"])
    assert store.keys() == {"representation:kept@1"}
    files = [p.read_bytes() for p in (tmp_path / "vectors").rglob("*") if p.is_file()]
    assert not any(b"plantedmarker" in content for content in files)
    assert any(b"kept" in content for content in files)


def test_optimize_keeps_what_is_there_and_one_version(store: Vectors, tmp_path: Path) -> None:
    for name in "abc":
        store.put(filed(name, 1, 2), adapter_id=name)
    store.optimize()
    assert found(store, 0, 0) == ["a", "b", "c"]
    assert len(list((tmp_path / "vectors").rglob("*.manifest"))) == 1


def test_concurrent_writers_duplicate_nothing(store: Vectors, tmp_path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from tests.catalog.stores.vectors.test_vectors import filed, open_vectors
        store = open_vectors(Path(sys.argv[1]))
        for i in range(6):
            store.put(filed(f"s{i}", i, 0), adapter_id=f"s{i}")
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    writers = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    visible = [f"s{i}" for i in range(6)]
    assert found(store, 0, 0, allow=visible) == visible


def test_a_writer_waits_for_the_lock_and_a_reader_does_not(store: Vectors, tmp_path: Path) -> None:
    store.put(filed("a", 1, 2), adapter_id="a")
    script = """
        import sys
        from pathlib import Path
        from catalog.stores.locks import WriterLock
        with WriterLock(Path(sys.argv[1]) / "writer.lock").hold():
            print("held", flush=True)
            sys.stdin.readline()
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    waiting = Vectors(
        store._database,
        uri=store._uri,
        lock=WriterLock(tmp_path / "writer.lock", timeout_seconds=0.1),
    )
    with pytest.raises(StoreUnavailable, match=f"process {holder.pid}"):
        waiting.put(filed("b", 1, 2), adapter_id="b")
    assert found(waiting, 0, 0) == ["a"]
    holder.communicate("\n")
    assert waiting.put(filed("b", 1, 2), adapter_id="b")


def test_a_broken_store_is_said_without_the_drivers_words(store: Vectors, tmp_path: Path) -> None:
    store.put(filed("a", 1, 2), adapter_id="a")
    for path in (tmp_path / "vectors").rglob("*.lance"):
        if path.is_file():
            path.write_bytes(os.urandom(64))
    with pytest.raises(StoreError, match="rpe repair") as caught:
        found(open_vectors(tmp_path), 0, 0)
    assert caught.value.__cause__ is None
    assert ".lance" not in str(caught.value)

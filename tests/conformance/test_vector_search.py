"""LoRA-VecDB must equal a sort of all exact distances: order, distances, ties, filters."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.stores.vectors.vectors import Vectors
from rpe_core.records import Representation
from tests.oracles.nearest import nearest_references

ROOT = Path(__file__).parents[2]
LARGE = 8_300  # more rows than are held in memory alone
ENCODER = "encoder:pico@0123456789ab"


def fill(home: Path, references: np.ndarray) -> tuple[Vectors, list[str]]:
    """A store with one adapter per row; ids sort like the rows."""
    store = open_vectors(home)
    return store, append(store, references, first=0)


def open_vectors(home: Path) -> Vectors:
    return Vectors.open(str(home / "vectors"), lock_path=home / "writer.lock")


def append(store: Vectors, references: np.ndarray, *, first: int) -> list[str]:
    names = [f"adapter:s@{first + i:012d}" for i in range(len(references))]
    representations = [
        Representation(
            f"representation:{name}", f"dataset:s{i % 5}@{name[-12:]}", ENCODER, "reference", 3,
            tuple(z.tolist()), (0.0,) * len(z),
        )
        for i, (name, z) in enumerate(zip(names, references, strict=True))
    ]  # fmt: skip
    assert store.put_many(list(zip(representations, names, strict=True))) == len(names)
    return names


def agree(store: Vectors, names: list[str], target: np.ndarray, references: np.ndarray) -> None:
    for k in (1, 3, len(names), len(names) + 5):
        indices, distances = nearest_references(target, references, k=k)
        found = store.library(ENCODER, allow=names).search(target, k=k)
        assert [c.adapter_id for c in found] == [names[i] for i in indices]
        np.testing.assert_allclose([c.distance for c in found], distances, rtol=1e-12, atol=0)
        np.testing.assert_array_equal([c.z for c in found], references[indices])


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1e6, 1e-3), (0.0, 1e-12), (0.0, 1e150)])
def test_search_is_exact_at_every_scale(tmp_path: Path, offset: float, scale: float) -> None:
    # an offset far above the spread is what single precision cannot resolve
    rng = np.random.default_rng(1)
    references = offset + scale * rng.normal(size=(60, 16))
    store, names = fill(tmp_path, references)
    for _ in range(3):
        agree(store, names, offset + scale * rng.normal(size=16), references)


def test_ties_are_ordered_like_the_oracle(tmp_path: Path) -> None:
    # more equal vectors than a preselection holds
    references = np.concatenate([np.ones((50, 4)), np.zeros((3, 4)), np.ones((20, 4))])
    store, names = fill(tmp_path, references)
    agree(store, names, np.zeros(4), references)
    agree(store, names, np.ones(4), references)


def test_distances_a_float_cannot_tell_apart_are_told_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    direction = rng.normal(size=8)
    direction /= np.linalg.norm(direction)
    steps = rng.permutation(60)
    references = (1.0 + 1e-10 * steps)[:, None] * direction
    store, names = fill(tmp_path, references)
    agree(store, names, np.zeros(8), references)


def test_hidden_adapters_do_not_crowd_out_visible_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    references = rng.normal(size=(80, 6))
    store, names = fill(tmp_path, references)
    target = rng.normal(size=6)
    order, _ = nearest_references(target, references, k=80)
    visible = sorted(order[60:].tolist())
    indices, _ = nearest_references(target, references[visible], k=5)
    library = store.library(ENCODER, allow=[names[i] for i in visible])
    found = library.search(target, k=5)
    assert [c.adapter_id for c in found] == [names[visible[i]] for i in indices]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A store whose rows lie in parts on the disk, with clusters, duplicates and outliers."""
    home = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(5)
    centers = rng.normal(size=(12, 8)) * 4
    references = centers[rng.integers(0, 12, LARGE)] + rng.normal(size=(LARGE, 8))
    references[100:140] = references[7]
    references[200] *= 1e6
    references[201] *= 1e-9
    store, names = fill(home, references)
    store.library(ENCODER, allow=names).search(references[0], k=1)  # writes the parts
    return home, references


def parts_of(home: Path) -> list[Path]:
    return sorted((home / "vectors" / "shelves").glob("*/part-*"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.001, 0.2, 1.0]), k=st.integers(1, 40))
def test_filters_stay_exact_for_one_target_after_another(
    large: tuple[Path, np.ndarray], seed: int, share: float, k: int
) -> None:
    home, references = large
    rng = np.random.default_rng(seed)
    visible = np.flatnonzero(rng.random(LARGE) < share)
    library = open_vectors(home).library(ENCODER, allow=[f"adapter:s@{i:012d}" for i in visible])
    assert len(library) == len(visible)
    targets = references[rng.integers(0, LARGE, 3)] + rng.normal(size=(3, 8)) * rng.choice([0, 1])
    targets[0] = references[7]
    excluded = rng.choice([0, 1])
    seen = visible[visible % 5 != 0] if excluded else visible
    for target in targets:
        candidates = library.search(target, k=k, exclude_sources=["s0"] * excluded)
        if len(seen):
            indices, distances = nearest_references(target, references[seen], k=k)
            assert [int(c.adapter_id[-12:]) for c in candidates] == seen[indices].tolist()
            np.testing.assert_array_equal([c.distance for c in candidates], distances)
            np.testing.assert_array_equal([c.z for c in candidates], references[seen[indices]])
        else:
            assert candidates == []


def test_a_reopened_store_appends_and_rebuilds_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    references = rng.normal(size=(LARGE + 700, 5))
    store, names = fill(tmp_path, references[:LARGE])
    agree(store, names, references[3], references[:LARGE])
    (base,) = parts_of(tmp_path)
    written = {file: file.stat().st_mtime_ns for file in base.iterdir()}
    names += append(store, references[LARGE:], first=LARGE)
    agree(open_vectors(tmp_path), names, references[LARGE + 3], references)
    assert len(parts_of(tmp_path)) == 2
    store.optimize()
    agree(open_vectors(tmp_path), names, references[5], references)
    assert {file: file.stat().st_mtime_ns for file in base.iterdir()} == written
    assert len(parts_of(tmp_path)) == 2


def test_a_delete_takes_rows_out_of_the_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    references = rng.normal(size=(LARGE + 1, 4))
    store, names = fill(tmp_path, references)
    target = references[LARGE]
    (last,) = store.library(ENCODER, allow=names).search(target, k=1)
    assert last.adapter_id == names[-1]
    store.delete([f"representation:{names[-1]}"])
    assert parts_of(tmp_path) == []
    agree(store, names[:-1], target, references[:-1])


@pytest.mark.parametrize(
    "harm",
    ["no current", "no part", "no file", "short z", "short codes", "codes", "facts", "z", "keys"],
)
def test_damaged_parts_are_made_again(
    large: tuple[Path, np.ndarray], tmp_path: Path, harm: str
) -> None:
    home, references = large
    names = [f"adapter:s@{i:012d}" for i in range(len(references))]
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    (part,) = parts_of(tmp_path)
    _harm(part, harm)
    agree(open_vectors(tmp_path), names, references[1], references)
    library = open_vectors(tmp_path).library(ENCODER, allow=names)
    for row in range(4):
        (candidate,) = library.search(references[row], k=1)
        assert int(candidate.adapter_id[-12:]) == row


def _harm(part: Path, harm: str) -> None:
    """What a crash, a full disk or a bad sector leaves."""
    if harm == "no current":
        (part.parent / "current.json").write_text("{")
    elif harm == "no part":
        part.rename(part.with_name("elsewhere"))
    elif harm == "no file":
        (part / "facts.npy").unlink()
    elif harm.startswith("short"):
        file = part / f"{harm.split()[1]}.npy"
        file.write_bytes(file.read_bytes()[:-4096])
    else:
        file = part / ("keys.arrow" if harm == "keys" else f"{harm}.npy")
        content = bytearray(file.read_bytes())
        at = 128 + 8 * 8 + 5 if harm == "z" else len(content) // 2
        content[at] ^= 0x40
        file.write_bytes(bytes(content))


def test_a_reader_beside_a_writer_sees_whole_states(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    references = rng.normal(size=(LARGE, 4))
    store, names = fill(tmp_path, references)
    script = """
        import sys
        import numpy as np
        from pathlib import Path
        from tests.conformance.test_vector_search import append, open_vectors
        store = open_vectors(Path(sys.argv[1]))
        print("ready", flush=True)
        rng = np.random.default_rng(1)
        for i in range(12):
            append(store, 50 + rng.normal(size=(40, 4)), first=100_000 + 40 * i)
        store.optimize()
    """
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    later = [f"adapter:s@{i:012d}" for i in range(100_000, 100_480)]
    sizes = []
    while writer.poll() is None or not sizes:
        library = store.library(ENCODER, allow=[*names, *later])
        sizes.append(len(library))
        found = library.search(references[5], k=3)
        assert [c.distance for c in found] == nearest_references(references[5], references, k=3)[
            1
        ].tolist()
    writer.communicate()
    assert writer.returncode == 0
    assert sizes == sorted(sizes)
    assert all((size - LARGE) % 40 == 0 for size in sizes)
    assert len(store.library(ENCODER, allow=[*names, *later])) == LARGE + 480

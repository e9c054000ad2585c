"""Top-16 search against numpy, FAISS flat and LanceDB flat; one run.

Peers hold the same rows in single precision, loaded before they are timed, one peer at a time. Each
answers all targets in a row: between them the threads of the one before would still spin.
Ids are held against exact distances in double precision.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import lancedb
import numpy as np
import pyarrow as pa
import torch

from catalog.stores.vectors.library import Library
from catalog.stores.vectors.rows import table_name, table_schema
from catalog.stores.vectors.vectors import Vectors
from tests.oracles.nearest import nearest_references

K = 16
ENCODER = "encoder:bench@0123456789ab"
CLUSTERS = 2_000
TARGETS = 40  # of one search each
LANCE_TARGETS = 3  # it takes seconds for each
BATCH = 16_384
Row = dict[str, Any]
Search = Callable[[np.ndarray], list[int]]


def row_top16_of_1e5_at_384(workdir: Path) -> Row:
    """The sentence encoder's width."""
    return _row(workdir, 100_000, 384)


def row_top16_of_1e5_at_1024(workdir: Path) -> Row:
    """The width of a large encoder."""
    return _row(workdir, 100_000, 1024)


def row_top16_of_1e6_at_384(workdir: Path) -> Row:
    """A million adapters."""
    return _row(workdir, 1_000_000, 384)


def row_top16_of_1e6_at_1024(workdir: Path) -> Row:
    """A million adapters of a large encoder; needs 30 GB of disk and 12 GB of memory."""
    return _row(workdir, 1_000_000, 1024)


def _row(workdir: Path, n: int, d: int) -> Row:
    measured = {kind: _single(workdir, kind, n, d) for kind in ("clustered", "isotropic")}
    return _told(f"top-{K} of {n:,} at {d}, exact", measured, target=2.0)


def _told(work: str, measured: dict[str, Row], *, target: float) -> Row:
    """The harder of both kinds of data is the row; all of both stands in `extra`."""
    worst = min(measured.values(), key=lambda one: float(one["ratio"]))
    return {
        "work": work,
        "peer": worst["peer"],
        "ours_seconds": worst["ours_seconds"],
        "peer_seconds": worst["peer_seconds"],
        "ratio": worst["ratio"],
        "target": target,
        "extra": {"threads": torch.get_num_threads(), "cpus": os.cpu_count(), **measured},
    }


def features(kind: str, n: int, d: int, *, seed: int) -> np.ndarray:
    """Means of encoder features: clusters with a falling spectrum, or the hardest case, none."""
    rng = np.random.default_rng(seed)
    if kind == "isotropic":
        return rng.standard_normal((n, d), dtype=np.float32)
    spectrum = (1.0 / np.sqrt(1.0 + np.arange(d) / 8.0)).astype(np.float32)
    centers = np.random.default_rng(7).standard_normal((CLUSTERS, d), dtype=np.float32)
    found = rng.standard_normal((n, d), dtype=np.float32)
    found *= 0.5
    found += centers[rng.integers(0, CLUSTERS, n)]
    found *= spectrum
    turn = np.linalg.qr(np.random.default_rng(8).standard_normal((d, d)))[0].astype(np.float32)
    for first in range(0, n, BATCH):  # no coordinate is a principal one by chance
        found[first : first + BATCH] = found[first : first + BATCH] @ turn
    return found


def _single(workdir: Path, kind: str, n: int, d: int) -> Row:
    x = features(kind, n, d, seed=1)
    targets = features(kind, TARGETS, d, seed=2)
    times: dict[str, list[float]] = {}
    found: dict[str, list[list[int]]] = {}
    facts: Row = {}
    for name, opened in {**PEERS, "ours": _ours}.items():
        with opened(workdir, x, facts) as search:
            asked = targets[:LANCE_TARGETS] if name == "LanceDB flat" else targets
            search(targets[0])
            times[name], found[name] = _timed(search, asked)
    exact = [nearest_in_blocks(target, x)[0] for target in targets]
    same = {
        name: sum(a == b for a, b in zip(answers, exact, strict=False))
        for name, answers in found.items()
    }
    return _summary(times, same, facts, x)


def _timed(search: Search, targets: np.ndarray) -> tuple[list[float], list[list[int]]]:
    time.sleep(1.0)  # until the threads of whoever was timed before have gone to sleep
    times, answers = [], []
    for target in targets:
        started = time.perf_counter()
        answers.append(search(target))
        times.append(time.perf_counter() - started)
    return times, answers


def _summary(times: dict[str, list[float]], same: dict[str, int], facts: Row, x: np.ndarray) -> Row:
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = medians.pop("ours")
    best = min(medians, key=lambda name: medians[name])
    bandwidth = _read_bandwidth()
    return {
        "peer": best,
        "ours_seconds": ours,
        "peer_seconds": medians[best],
        "ratio": medians[best] / ours,
        "p95_seconds": {name: float(np.percentile(v, 95)) for name, v in times.items()},
        "median_seconds": medians,
        "same_ids": {name: f"{same[name]}/{len(times[name])}" for name in times},
        "read_bandwidth_bytes_per_second": bandwidth,
        "limit_of_fp32_seconds": x.nbytes / bandwidth,
        "limit_of_codes_seconds": x.size / bandwidth,
        **facts,
    }


def nearest_in_blocks(target: np.ndarray, x: np.ndarray) -> tuple[list[int], list[float]]:
    """The oracle over rows that do not fit the memory in double precision."""
    found: list[tuple[float, int]] = []
    for first in range(0, len(x), 1 << 16):
        rows, distances = nearest_references(target, x[first : first + (1 << 16)], k=K)
        found += [(float(e), first + int(i)) for e, i in zip(distances, rows, strict=True)]
    best = sorted(found)[:K]
    return [i for _, i in best], [e for e, _ in best]


@contextmanager
def _ours(workdir: Path, x: np.ndarray, facts: Row) -> Iterator[Search]:
    library, told = _library(workdir, x)
    facts.update(told)
    yield lambda target: [int(c.adapter_id[-12:]) for c in library.search(target, k=K)]
    shutil.rmtree(workdir / "vectors")


def _library(workdir: Path, x: np.ndarray) -> tuple[Library, Row]:
    """LoRA-VecDB with these rows, opened anew; how long making the shelves and reopening took."""
    home = workdir / "vectors"
    shutil.rmtree(home, ignore_errors=True)
    lancedb.connect(str(home)).create_table(table_name(ENCODER), _filed(x))
    names = pa.array([f"adapter:s@{i:012d}" for i in range(len(x))])
    facts: Row = {}
    for name in ("first_open_seconds", "reopen_seconds"):
        started = time.perf_counter()
        store = Vectors.open(str(home), lock_path=workdir / "writer.lock")
        library = store.library(ENCODER, allow=names)
        library.search(x[0], k=K)
        facts[name] = time.perf_counter() - started
    return library, facts


def _filed(x: np.ndarray) -> pa.RecordBatchReader:
    schema = table_schema(x.shape[1])

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, len(x), BATCH):
            z = x[first : first + BATCH].astype(np.float64)
            ids = [f"{i:012d}" for i in range(first, first + len(z))]
            columns: dict[str, Any] = {
                "representation_id": [f"representation:s@{i}" for i in ids],
                "adapter_id": [f"adapter:s@{i}" for i in ids],
                "dataset_version_id": [f"dataset:s@{i}" for i in ids],
                "source": ["s"] * len(z),
                "encoder_id": [ENCODER] * len(z),
                "role": ["reference"] * len(z),
                "n_items": [1] * len(z),
                "z": _vectors(z),
                "variance": _vectors(np.zeros_like(z)),
            }
            yield pa.record_batch(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _vectors(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


@contextmanager
def _numpy(_: Path, x: np.ndarray, facts: Row) -> Iterator[Search]:
    parts = [x[first : first + BATCH] for first in range(0, len(x), BATCH)]
    norms = np.concatenate([np.einsum("ij,ij->i", part, part) for part in parts])

    def search(target: np.ndarray) -> list[int]:
        scores = norms - 2 * (x @ target)
        near = np.argpartition(scores, K)[:K]
        return [int(i) for i in near[np.argsort(scores[near], kind="stable")]]

    yield search


@contextmanager
def _faiss(_: Path, x: np.ndarray, facts: Row) -> Iterator[Search]:
    index = faiss.IndexFlatL2(x.shape[1])
    index.add(x)
    yield lambda target: [int(i) for i in index.search(target[None], K)[1][0]]


@contextmanager
def _lance(workdir: Path, x: np.ndarray, facts: Row) -> Iterator[Search]:
    folder = workdir / "peer"
    shutil.rmtree(folder, ignore_errors=True)
    schema = pa.schema([pa.field("z", pa.list_(pa.float32(), x.shape[1])), ("i", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, len(x), BATCH):
            z = x[first : first + BATCH]
            ids = np.arange(first, first + len(z))
            yield pa.record_batch([_vectors(z), pa.array(ids)], schema=schema)

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    table = lancedb.connect(str(folder)).create_table("flat", reader)

    def search(target: np.ndarray) -> list[int]:
        found = table.search(target).limit(K).select(["i", "_distance"]).to_arrow()
        return [int(i) for i in found["i"].to_pylist()]

    yield search
    shutil.rmtree(folder)


# each as it is used best, and gone before the next: copies of all beside ours would not fit
PEERS = {"numpy": _numpy, "FAISS flat": _faiss, "LanceDB flat": _lance}


def _read_bandwidth() -> float:
    """Bytes read per second by the fastest reader at hand: matrix times vector, best of nine."""
    block = np.ones((1 << 18, 256), dtype=np.float32)
    vector = np.ones(256, dtype=np.float32)
    best = float("inf")
    for _ in range(9):
        started = time.perf_counter()
        block @ vector
        best = min(best, time.perf_counter() - started)
    return block.nbytes / best

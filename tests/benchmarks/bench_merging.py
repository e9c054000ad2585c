"""The merge against `cp` and PEFT's `cat` and `svd`, on the same files in one run.

Ours and the peer take turns, with their inputs in the page cache alike, and both wait until their
output is on the disk where the row says fsync. The median counts.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from rpe_core.delta import LowRankDelta
from rpe_core.merging.blueprint import draw_blueprint
from rpe_core.merging.files.adapter_reader import WEIGHTS as FILE
from rpe_core.merging.files.writing import write_folder_whole
from rpe_core.merging.merge import merge
from rpe_core.merging.stream import stream_adapter
from rpe_core.merging.table import MergeOptions, find_method, merge_deltas
from tests.benchmarks import merging_world as world
from tests.benchmarks import peers_of_merging as peers
from tests.benchmarks.measuring_merging import (
    ROOT,
    copy_files,
    hash_all,
    peak_memory,
    take_turns,
    timed,
)

MEMORY_LIMIT = 250 << 20
PEER_LIMIT_SECONDS = 300


def row_concat_copy(workdir: Path) -> dict[str, Any]:
    """Five adapters of an 8B Llama side by side, against copying their bytes."""
    members, out = world.write_members(workdir, world.LLAMA_8B), workdir / "out"
    files = [folder / FILE for folder, _ in members]
    times = take_turns(
        out,
        runs=7,
        ours=lambda: _concat(members, out),
        copy=lambda: copy_files(files, out),
        merge=lambda: merge(members, out, dtype="bfloat16"),
    )
    merge(members, out, dtype="bfloat16")
    hashing = [timed(lambda: hash_all([*files, out / FILE])) for _ in range(3)]
    folders = json.dumps([str(folder) for folder, _ in members])
    alone, peak = peak_memory("import torch"), peak_memory(MERGE, folders, str(workdir / "lean"))
    ours, copy = statistics.median(times["ours"]), statistics.median(times["copy"])
    return {
        "work": "concat, k=5, r=16, 8B Llama, bf16 to bf16, fsync, hashing apart",
        "peer": "cp and fsync",
        "ours_seconds": ours,
        "peer_seconds": copy,
        "ratio": ours / copy,
        "target": "<= 2, at most 250 MiB above torch",
        "is_met": ours / copy <= 2 and peak - alone <= MEMORY_LIMIT,
        "extra": {
            "n_bytes": sum(file.stat().st_size for file in files),
            "hashing_seconds": statistics.median(hashing),
            "merge_seconds": statistics.median(times["merge"]),
            "peak_bytes_above_torch": peak - alone,
            "runs": times,
        },
    }


def row_concat_peft(workdir: Path) -> dict[str, Any]:
    """The whole merge, hashes and manifest too, against PEFT with its base on the meta device."""
    members = world.write_members(workdir, world.LLAMA_8B)
    out, other = workdir / "out", workdir / "peft"
    ours, steps = [], []
    for _ in range(3):
        for place in (out, other):
            shutil.rmtree(place, ignore_errors=True)
        steps.append(peers.peft_cat(members, other, world.LLAMA_8B))
        ours.append(timed(lambda: merge(members, out, dtype="bfloat16")))
    seconds = statistics.median(ours)
    peer = statistics.median(sum(each.values()) for each in steps)
    theirs = other / "merged" / FILE
    return {
        "work": "concat, k=5, r=16, 8B Llama, folders to folder, hashes included",
        "peer": "PEFT cat, base on meta, load and save included",
        "ours_seconds": seconds,
        "peer_seconds": peer,
        "ratio": peer / seconds,
        "target": ">= 5",
        "extra": {
            "peer_seconds_by_step": {
                step: statistics.median(each[step] for each in steps) for step in steps[0]
            },
            "ours_bytes": (out / FILE).stat().st_size,
            "peer_bytes": theirs.stat().st_size,
            "relative_difference_of_first_module": _difference(out / FILE, theirs),
            "ours_runs": ours,
        },
    }


def row_svd(workdir: Path) -> dict[str, Any]:
    """Five deltas of rank 16 on a 4096 x 4096 module, truncated from 80 to 16; CPU seconds."""
    factors = _factors()
    given, made = workdir / "given.safetensors", workdir / "made.safetensors"
    save_file(factors, given)
    deltas = [
        LowRankDelta(factors[f"a{i}"], factors[f"b{i}"], world.ALPHA / world.RANK)
        for i in range(len(world.WEIGHTS))
    ]
    members = [({"m": delta}, w) for delta, w in zip(deltas, world.WEIGHTS, strict=True)]
    cpu = []
    for _ in range(9):
        start = time.process_time()
        merged = merge_deltas("svd", members, rank=world.RANK)
        cpu.append(time.process_time() - start)
    ours, peer = statistics.median(cpu), _peft_svd_seconds(given, made)
    exact = sum(
        w * d.dense(dtype=torch.float64) for d, w in zip(deltas, world.WEIGHTS, strict=True)
    )
    bound = _bound(deltas)
    error = float((exact - merged.deltas["m"].dense(dtype=torch.float64)).norm() / exact.norm())
    extra = {"error": error, "eckart_young_bound": bound, "excess": error - bound, "runs": cpu}
    has_ended = made.is_file()
    if has_ended:
        extra["peer_excess"] = (
            float((exact - load_file(made)["delta"]).norm() / exact.norm()) - bound
        )
    ratio = peer / ours
    return {
        "work": "svd 80 to 16, one 4096 x 4096 module, CPU seconds",
        "peer": "PEFT svd" if has_ended else f"PEFT svd, stopped after {PEER_LIMIT_SECONDS} s",
        "ours_seconds": ours,
        "peer_seconds": peer,
        "ratio": ratio,
        "target": ">= 1000, error within 1e-6 of the bound",
        "is_met": ratio >= 1000 and error - bound <= 1e-6,
        "extra": extra,
    }


MERGE = """
import json, sys
import torch
from pathlib import Path
from rpe_core.merging.merge import merge
from tests.benchmarks.merging_world import WEIGHTS
folders = map(Path, json.loads(sys.argv[1]))
merge(list(zip(folders, WEIGHTS)), Path(sys.argv[2]), dtype="bfloat16")
"""


def _concat(members: world.Members, out: Path) -> None:
    """What `merge` does but for hashes, configuration and manifest."""
    blueprint = draw_blueprint(members, base=None)
    method = find_method("concat", rank=None, energy=None)
    with write_folder_whole(out) as part:
        stream_adapter(
            blueprint, part / FILE, method=method, form=MergeOptions(dtype=torch.bfloat16)
        )


def _factors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = {"a": (world.RANK, peers.WIDTH), "b": (peers.WIDTH, world.RANK)}
    return {
        f"{name}{i}": torch.randn(shape, generator=generator)
        for i in range(len(world.WEIGHTS))
        for name, shape in shapes.items()
    }


def _peft_svd_seconds(given: Path, made: Path) -> float:
    """CPU seconds of PEFT's merge; of the limit where it does not end."""
    code = "import sys; from tests.benchmarks.peers_of_merging import *; peft_svd(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(given), str(made)]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            timeout=PEER_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return PEER_LIMIT_SECONDS
    return float(done.stdout)


def _bound(deltas: Sequence[LowRankDelta]) -> float:
    """The least relative error at rank 16, by eigenvalues of a Gram matrix: s^2 = eig(L' B'B L)."""
    a = np.concatenate([d.a.double().numpy() for d in deltas])
    b = np.concatenate(
        [w * d.scaling * d.b.double().numpy() for d, w in zip(deltas, world.WEIGHTS, strict=True)],
        1,
    )
    root = np.linalg.cholesky(a @ a.T)
    squares = np.sort(np.linalg.eigvalsh(root.T @ (b.T @ b) @ root))[::-1]
    return float(np.sqrt(squares[world.RANK :].sum() / squares.sum()))


def _difference(ours: Path, theirs: Path) -> float:
    """||ours - theirs||_F / ||theirs||_F of the first module's dW."""
    mine, other = load_file(ours), load_file(theirs)
    a = min(mine)
    b = a.replace("lora_A", "lora_B")
    delta = other[b].double() @ other[a].double()
    return float((mine[b].double() @ mine[a].double() - delta).norm() / delta.norm())

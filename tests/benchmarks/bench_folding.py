"""Folding into a checkpoint of 1B against `cp` and mergekit, on the same files in one run."""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from rpe_core.merging.blueprint import draw_blueprint
from rpe_core.merging.files.adapter_reader import WEIGHTS as FILE
from rpe_core.merging.files.writing import write_folder_whole
from rpe_core.merging.fold import fold_into
from rpe_core.merging.fold_plan import plan_folds
from rpe_core.merging.merge import merge
from tests.benchmarks import peers_of_merging as peers
from tests.benchmarks.measuring_merging import copy_files, disk_traffic, take_turns
from tests.benchmarks.merging_world import LLAMA_1B, Members, write_checkpoint, write_members

SHARDS = 5


def row_fold_copy(workdir: Path) -> dict[str, Any]:
    """An adapter of rank 80 into a sharded checkpoint of 1B, against copying the checkpoint."""
    base = write_checkpoint(workdir / "base", LLAMA_1B, shards=SHARDS)
    merged, out = workdir / "merged", workdir / "out"
    merge(write_members(workdir, LLAMA_1B), merged, dtype="bfloat16")
    shards = sorted(base.glob("*.safetensors"))
    times = take_turns(
        out,
        runs=3,
        ours=lambda: merge([(merged, 1.0)], out, method="fold", base=base),
        copy=lambda: copy_files(shards, out),
        fold=lambda: _fold([(merged, 1.0)], base, out),
    )
    ours, copy = statistics.median(times["ours"]), statistics.median(times["copy"])
    return {
        "work": "fold of rank 80 into a 1B checkpoint in 5 shards, fsync, hashes included",
        "peer": "cp and fsync",
        "ours_seconds": ours,
        "peer_seconds": copy,
        "ratio": ours / copy,
        "target": "<= 3",
        "extra": {
            "n_bytes": sum(shard.stat().st_size for shard in shards),
            "ratio_without_hashing": statistics.median(times["fold"]) / copy,
            "runs": times,
        },
    }


def row_fold_mergekit(workdir: Path) -> list[dict[str, Any]]:
    """Five adapters into the same checkpoint, command against command, page cache empty."""
    version = peers.mergekit_version()
    base = write_checkpoint(workdir / "base", LLAMA_1B, shards=SHARDS)
    members = write_members(workdir, LLAMA_1B)
    out, other, scratch = workdir / "out", workdir / "other", workdir / "scratch"
    command = [str(Path(sys.executable).with_name("rpe")), "merge", "--method", "fold"]
    command += ["--base", str(base), "--out", str(out)]
    command += [part for folder, w in members for part in ("--members", f"{folder}={w}")]
    inputs = [*base.glob("*.safetensors"), *(folder / FILE for folder, _ in members)]
    ours = disk_traffic(command, inputs)
    theirs = disk_traffic(peers.mergekit_command(members, base, other, scratch=scratch), inputs)
    extra = {
        "mergekit": version,
        "ours": ours,
        "peer": theirs,
        "peer_scratch_bytes": sum(f.stat().st_size for f in scratch.rglob("*.safetensors")),
        "error": _fold_error(members, base, out),
        "peer_error": _fold_error(members, base, other),
    }
    shutil.rmtree(scratch)
    peer = "mergekit task_arithmetic on base+adapter"
    return [
        {
            "work": f"fold of five adapters into a 1B checkpoint, {what}",
            "peer": peer,
            "ours_seconds": ours["seconds"],
            "peer_seconds": theirs["seconds"],
            "ratio": theirs[key] / ours[key],
            "target": ">= 4",
            "extra": extra,
        }
        for what, key in (("time", "seconds"), ("bytes to and from the disk", "n_bytes"))
    ]


def _fold(members: Members, base: Path, out: Path) -> None:
    """Our fold of the members into their base."""
    blueprint = draw_blueprint(members, base=base, needs_base=True)
    assert blueprint.base is not None
    with write_folder_whole(out) as part:
        fold_into(blueprint, blueprint.base, plan_folds(blueprint, blueprint.base), part)


def _fold_error(members: Members, base: Path, made: Path) -> float:
    """||theta - theta_0 - dW||_F / ||dW||_F of one weight, with dW = sum_i w_i dW_i in fp64."""
    key = "model.layers.0.self_attn.q_proj"
    added = sum(
        w
        * 2.0
        * tensors[f"base_model.model.{key}.lora_B.weight"].double()
        @ tensors[f"base_model.model.{key}.lora_A.weight"].double()
        for tensors, w in ((load_file(folder / FILE), w) for folder, w in members)
    )
    found, start = (
        next(
            t[f"{key}.weight"].double()
            for t in map(load_file, sorted(place.glob("*.safetensors")))
            if f"{key}.weight" in t
        )
        for place in (made, base)
    )
    return float((found - start - added).norm() / added.norm())

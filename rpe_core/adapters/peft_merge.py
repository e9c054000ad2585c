"""Baselines through PEFT's own merge functions: linear, TIES, DARE. None is the exact weighted sum.

The exact merge is rpe_core/merging; these are what it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft.utils.merge_utils import (
    calculate_majority_sign_mask,
    disjoint_merge,
    task_arithmetic,
    ties,
)
from torch import Tensor

from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError, ShapeMismatch, UnknownName
from rpe_core.merging.files.configs import common_base, common_text
from rpe_core.merging.manifest import MergeReport, servable_rank
from rpe_core.merging.peft_folders import read_adapter, write_adapter
from rpe_core.merging.table import MergedDeltas, merge_deltas
from rpe_core.merging.threads import map_in_order

Terms = Sequence[tuple[LowRankDelta, float]]


@dataclass(frozen=True)
class PeftMerge:
    """How the terms of one module become one delta; `merge(terms, density, generator)`."""

    name: str
    doc: str
    merge: Callable[[Terms, float, torch.Generator], LowRankDelta]


def merge_with_peft(
    members: Sequence[tuple[Path, float]],
    out: Path,
    *,
    method: str,
    density: float = 0.5,
    seed: int = 0,
    rank: int | None = None,
) -> MergeReport:
    """Merge adapter folders by a baseline into a new folder; the base model is never loaded.

    Raises:
        UnknownName: the method is none of PEFT_MERGES.
        InputError: a folder cannot be read or holds whole tensors or prompts, members differ in
            base, or `out` is taken.
    """
    adapters = [(read_adapter(Path(folder)), float(weight)) for folder, weight in members]
    if any(adapter.whole for adapter, _ in adapters):
        raise InputError("Whole tensors have no baseline merge.", remedy="merge by concat")
    if any(adapter.prompts for adapter, _ in adapters):
        raise InputError("Learned prompts have no baseline merge.", remedy="merge by concat")
    configs = [adapter.config for adapter, _ in adapters]
    merged = merge_deltas_with_peft(
        method,
        [(adapter.deltas, weight) for adapter, weight in adapters],
        density=density,
        seed=seed,
        rank=rank,
    )
    sha256 = write_adapter(
        out,
        merged.deltas,
        base_name=common_base(configs),
        task_type=common_text(configs, "task_type"),
        fan_in_fan_out=any(config.get("fan_in_fan_out") for config in configs),
        manifest={"method": method, "density": density, "seed": seed, "rank": merged.rank},
    )
    servable = servable_rank(merged.rank)
    return MergeReport(
        method, merged.rank, merged.relative_error, sha256, servable, is_servable=servable > 0
    )


def merge_deltas_with_peft(
    method: str,
    members: Sequence[tuple[Mapping[str, LowRankDelta], float]],
    *,
    density: float = 0.5,
    seed: int = 0,
    rank: int | None = None,
) -> MergedDeltas:
    """One adapter from several; a function of its arguments, DARE's random drops included.

    The kernels are single-threaded, so that the same members give the same bytes anywhere.

    A module that a member lacks is merged from the others. TIES and DARE make a delta of full rank,
    which is truncated to `rank` (by default the sum of the members' ranks); `relative_error` is
    what that truncation loses, not the distance to the exact weighted sum.

    Raises:
        UnknownName: the method is none of PEFT_MERGES.
        InputError: no member, a density outside ]0, 1[, or ranks that `linear` cannot mix.
    """
    if method not in PEFT_MERGES:
        raise UnknownName("merge method", method, PEFT_MERGES)
    if not members or not 0 < density < 1:
        raise InputError("Nothing to merge.", expected="a member, and 0 < density < 1")
    generator = torch.Generator().manual_seed(seed)
    terms: dict[str, list[tuple[LowRankDelta, float]]] = {}
    for deltas, weight in members:
        for module, delta in deltas.items():
            terms.setdefault(module, []).append((delta, weight))
    modules = sorted(terms)
    # in one thread: the generator is drawn from in the order of the modules
    made = map_in_order(
        lambda module: PEFT_MERGES[method].merge(terms[module], density, generator),
        modules,
        threads=1,
    )
    merged = dict(zip(modules, made, strict=True))
    limit = rank or max(sum(delta.rank for delta, _ in parts) for parts in terms.values())
    return merge_deltas("svd", [(merged, 1.0)], rank=limit)


def _linear(terms: Terms, density: float, generator: torch.Generator) -> LowRankDelta:
    """A = sum sign_i sqrt|w_i s_i| A_i times B = sum sqrt|w_i s_i| B_i: it has cross terms."""
    if len({delta.rank for delta, _ in terms}) > 1:
        raise ShapeMismatch("PEFT's linear merge needs equal ranks.", remedy="merge by concat")
    scales = [weight * delta.scaling for delta, weight in terms]
    roots = torch.tensor([math.sqrt(abs(scale)) for scale in scales])
    signs = torch.tensor([math.copysign(1.0, scale) for scale in scales])
    a = task_arithmetic([delta.a for delta, _ in terms], signs * roots)
    b = task_arithmetic([delta.b for delta, _ in terms], roots)
    return LowRankDelta(a, b)


def _ties(terms: Terms, density: float, generator: torch.Generator) -> LowRankDelta:
    """Keep the largest entries of each dW_i, elect signs, mean over those that agree."""
    return _full_rank(ties(_dense(terms), _mean_one(terms), density))


def _dare_linear(terms: Terms, density: float, generator: torch.Generator) -> LowRankDelta:
    """Drop entries of each dW_i at random, rescale the rest by 1/density, weighted sum."""
    weights = torch.tensor([weight for _, weight in terms])
    return _full_rank(task_arithmetic(_dropped(terms, density, generator), weights))


def _dare_ties(terms: Terms, density: float, generator: torch.Generator) -> LowRankDelta:
    """Drop at random as DARE, then elect signs and take the mean as TIES."""
    kept = torch.stack(_dropped(terms, density, generator))
    weighted = kept * _mean_one(terms)[:, None, None]
    return _full_rank(disjoint_merge(weighted, calculate_majority_sign_mask(kept)))


def _dense(terms: Terms) -> list[Tensor]:
    return [delta.dense() for delta, _ in terms]


def _dropped(terms: Terms, density: float, generator: torch.Generator) -> list[Tensor]:
    """PEFT's random pruning draws from the global generator; this one from its own."""
    return [
        delta * torch.bernoulli(torch.full_like(delta, density), generator=generator) / density
        for delta in _dense(terms)
    ]


def _mean_one(terms: Terms) -> Tensor:
    """The weights times their number, because the mean over members divides by it once more."""
    return torch.tensor([weight * len(terms) for _, weight in terms])


def _full_rank(delta: Tensor) -> LowRankDelta:
    return LowRankDelta(delta, torch.eye(len(delta)))


PEFT_MERGES: dict[str, PeftMerge] = {
    entry.name: entry
    for entry in (
        PeftMerge("linear", "factors averaged apart, as PEFT's linear: not the sum", _linear),
        PeftMerge("ties", "trim, elect signs, mean of those that agree", _ties),
        PeftMerge("dare_linear", "random drop and rescale, weighted sum", _dare_linear),
        PeftMerge("dare_ties", "random drop and rescale, then as ties", _dare_ties),
    )
}

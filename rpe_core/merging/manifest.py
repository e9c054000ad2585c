"""What a merge leaves beside its weights: inputs by hash, weights, errors, and who can serve it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rpe_core.merging.blueprint import Blueprint
from rpe_core.merging.donor_inputs import DonorInputs
from rpe_core.merging.fold_plan import FoldPlan
from rpe_core.merging.regmean import OFF_DIAGONAL, RIDGE
from rpe_core.merging.rounding import DTYPES, Rounding
from rpe_core.merging.stream import MergeStatistics
from rpe_core.merging.table import MergeOptions, Norms, overall_ratio

MANIFEST = "rpe_merge.json"
SERVABLE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM can be told to serve


@dataclass(frozen=True)
class MergeReport:
    """What a merge made.

    rank: the largest of a module. relative_error: ||exact sum - merged||_F / ||exact sum||_F as
    measured, 0 for an exact method; error_bound: the least that is possible at these ranks.
    rounding_ratio: what the cast to a narrower dtype changed, relative to the factors (an adapter)
    or to what was added to the base (a fold). servable_rank: the smallest rank limit of vLLM that
    holds the adapter, 0 where none does; `not_servable` says why. Of a fold, left_out: the files in
    the base's folder that it does not hold; is_untied: whether it gave an output layer that was the
    embedding numbers of its own.
    """

    method: str
    rank: int
    relative_error: float
    weights_sha256: str
    servable_rank: int
    is_servable: bool
    error_bound: float = 0.0
    rounding_ratio: float = 0.0
    not_servable: str = ""
    left_out: tuple[str, ...] = ()
    is_untied: bool = False


def servable_rank(rank: int) -> int:
    """The smallest rank limit of vLLM that holds this rank, 0 where none does.

    >>> servable_rank(80), servable_rank(600)
    (128, 0)
    """
    return next((limit for limit in SERVABLE_RANKS if limit >= rank), 0)


def why_not_servable(blueprint: Blueprint, rank: int) -> str:
    """Why vLLM cannot serve the adapter, or nothing."""
    if blueprint.whole:
        return "it holds whole tensors beside its factors (modules_to_save)"
    if any(blueprint.spec(module).layout.kernel for module in blueprint.modules):
        return "it adapts convolutions"
    return "" if servable_rank(rank) else f"its rank exceeds {SERVABLE_RANKS[-1]}"


def adapter_report(
    blueprint: Blueprint, account: MergeStatistics, *, method: str, weights_sha256: str
) -> MergeReport:
    """The report of a merge to an adapter."""
    rank = max(account.ranks.values(), default=0)
    reason = why_not_servable(blueprint, rank)
    return MergeReport(
        method=method,
        rank=rank,
        relative_error=account.relative_error,
        weights_sha256=weights_sha256,
        servable_rank=servable_rank(rank),
        is_servable=not reason,
        error_bound=account.error_bound,
        rounding_ratio=account.rounding.ratio,
        not_servable=reason,
    )


def adapter_manifest(
    blueprint: Blueprint,
    account: MergeStatistics,
    report: MergeReport,
    form: MergeOptions,
    hashes: Sequence[str],
) -> dict[str, Any]:
    """rpe_merge.json of a merged adapter; `hashes` are those of the members' weights."""
    return {
        "method": report.method,
        "members": members_of(blueprint.weights, hashes),
        "dtype": next(name for name, dtype in DTYPES.items() if dtype == form.dtype),
        "asked": {"rank": form.rank, "energy": form.energy},
        "rank": report.rank,
        "servable_rank": report.servable_rank,
        "servable_ranks": [limit for limit in SERVABLE_RANKS if limit >= report.rank],
        "is_servable": report.is_servable,
        "not_servable": report.not_servable,
        "relative_error": report.relative_error,
        "error_bound": report.error_bound,
        "rounding_ratio": report.rounding_ratio,
        "modules": _errors(account.ranks, account.norms),
        "weights_sha256": report.weights_sha256,
    }


def regmean_manifest(account: MergeStatistics, donors: DonorInputs) -> dict[str, Any]:
    """What rpe_merge.json says beside that of a RegMean: the matrices by hash, and the options.

    `gram_sha256` has the members' order; `n_plain` counts modules that were summed as they are.
    """
    return {
        "regmean": {
            "gram_sha256": [file.sha256() if file else None for file in donors.grams],
            "off_diagonal": OFF_DIAGONAL,
            "ridge": RIDGE,
            "n_modules": account.n_regmean,
            "n_plain": len(account.ranks) - account.n_regmean,
        }
    }


def members_of(weights: Sequence[float], hashes: Sequence[str]) -> list[dict[str, str | float]]:
    """The inputs of a merge: no path, but what was in the files, and how much it weighed."""
    return [
        {"weights_sha256": sha256, "weight": weight}
        for sha256, weight in zip(hashes, weights, strict=True)
    ]


def _errors(ranks: Mapping[str, int], norms: Mapping[str, Norms]) -> dict[str, Any]:
    return {
        module: {
            "rank": ranks[module],
            "relative_error": overall_ratio([(each.error, each.total)]),
            "error_bound": overall_ratio([(each.bound, each.total)]),
        }
        for module, each in norms.items()
    }


def fold_report(
    blueprint: Blueprint,
    rounding: Rounding,
    *,
    weights_sha256: str,
    plan: FoldPlan,
    left_out: tuple[str, ...],
) -> MergeReport:
    """The report of a fold: a whole checkpoint, which any server of its base serves."""
    return MergeReport(
        method="fold",
        rank=max((sum(blueprint.ranks(module)) for module in blueprint.modules), default=0),
        relative_error=0.0,
        weights_sha256=weights_sha256,
        servable_rank=0,
        is_servable=True,
        rounding_ratio=rounding.ratio,
        left_out=left_out,
        is_untied=plan.unties,
    )


def fold_manifest(
    blueprint: Blueprint,
    report: MergeReport,
    *,
    inputs: Sequence[str],
    before: Mapping[str, str],
    after: Mapping[str, str],
) -> dict[str, Any]:
    """rpe_merge.json of a fold: the shards by hash, before and after."""
    return {
        "method": report.method,
        "members": members_of(blueprint.weights, inputs),
        "base": dict(before),
        "shards": dict(after),
        "modules": {module: sum(blueprint.ranks(module)) for module in blueprint.modules},
        "whole_tensors": list(blueprint.whole),
        "left_out": list(report.left_out),
        "is_untied": report.is_untied,
        "relative_error": report.relative_error,
        "rounding_ratio": report.rounding_ratio,
        "weights_sha256": report.weights_sha256,
    }

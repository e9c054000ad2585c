"""One experiment of each kind with many sources, arms and methods, as the lake records them."""

from __future__ import annotations

import json
from typing import Any

from catalog.stores.lake.lake import Lake

SITES = [f"letters_of_hospital_{number:02d}" for number in range(7)]
ARMS = ("base", "sft", "average", "nearest", "similarity", "linear", "linear_l1", "sft_ensemble")
METHODS = ("lora", "hydra_lora", "spectral_adapter_of_the_top_space", "vera")
_TRANSFER, _METHODS = "experiment:leave_one_out@1", "experiment:adapter_methods@1"


def add_experiments(lake: Lake) -> None:
    """Put both into the lake."""
    with lake.transaction(message="test", run=None) as commit:
        commit.insert_new("experiments", [_experiment(_TRANSFER, "leave_one_out", {}),
                          _experiment(_METHODS, "adapter_methods", _asked())])  # fmt: skip
        commit.insert_new("experiment_scores", _scores())
        commit.insert_new("experiment_distances", [
            {"experiment_id": _TRANSFER, "kind": kind, "source": a, "reference": b,
             "distance": 0.1 * abs(i - j), "n_items": 9, "n_reference_items": 9}
            for kind in ("mean", "nearest_neighbour", "chamfer")
            for i, a in enumerate(SITES) for j, b in enumerate(SITES) if a != b
        ])  # fmt: skip
        commit.insert_new("experiment_findings", [_finding(_TRANSFER), _finding(_METHODS)])
        commit.insert_new("adapters", [{"adapter_id": f"adapter:{s}", "source": s} for s in SITES])
        commit.insert_new("ensemble_members", [
            {"ensemble_id": f"ensemble:{a}", "adapter_id": f"adapter:{b}", "weight": 1 / 6}
            for a in SITES for b in SITES if a != b
        ])  # fmt: skip
        commit.insert_new("experiment_methods", [
            _quantity(method, source, name)
            for method in METHODS for source in ("", *SITES) for name in _quantities()
        ])  # fmt: skip


def _experiment(name: str, kind: str, protocol: dict[str, Any]) -> dict[str, Any]:
    return {
        "experiment_id": name, "run_id": "run:experiment@1", "kind": kind,
        "sources_json": json.dumps(SITES), "base_id": "minilm@0123456789ab", "recipe_id": "r1",
        "task_type": "text-generation", "metric": "rouge_l", "protocol_json": json.dumps(protocol),
    }  # fmt: skip


def _asked() -> dict[str, Any]:
    return {
        "yardstick": "lora", "n_parameters": 73728, "strategies": ["average", "linear"],
        "seeds": [0, 1, 2], "recipes": {method: {"r": 8} for method in METHODS},
    }  # fmt: skip


def _scores() -> list[dict[str, Any]]:
    arms = [(source, arm) for source in (*SITES, "") for arm in ARMS]
    arms += [(a, f"reference:{b}") for a in SITES for b in SITES if a != b]
    rows = []
    for number, (source, arm) in enumerate(arms):
        value = 0.3 + 0.01 * (number % 40)
        row: dict[str, Any] = {
            "experiment_id": _TRANSFER, "source": source, "arm": arm, "metric": "rouge_l",
            "metric_version": "1", "is_higher_better": True, "evaluation_id": f"e-{source}",
            "ensemble_id": f"ensemble:{source}" if arm == "linear" and source else "",
            "value": value, "ci_low": value - 0.1, "ci_high": value + 0.1, "n_items": 1200,
            "n_groups": 640,
        }  # fmt: skip
        for baseline in ("base", "average"):
            row |= {f"{baseline}_{name}": 0.0 for name in ("difference", "ci_low", "ci_high")}
            row[f"{baseline}_result"] = "win"
        rows.append(row)
    return rows


def _finding(name: str) -> dict[str, Any]:
    return {
        "experiment_id": name, "finding": "own_above_ensembles",
        "statement": "An adapter of one's own is better than every ensemble of the others",
        "verdict": "holds", "metric": "rouge_l", "quantity": "difference", "value": 0.4,
        "ci_low": 0.3, "ci_high": 0.5, "p_value": 0.001, "n": 60, "n_clusters": 60,
        "details": "In every one of the sources, and by each of the distances that were measured",
    }  # fmt: skip


def _quantities() -> list[str]:
    merged = [f"{name}{end}" for name in ("average", "linear") for end in ("", "_gap")]
    return ["own", "elsewhere", *merged, "n_parameters", "rank", "train_seconds"]


def _quantity(method: str, source: str, name: str) -> dict[str, Any]:
    is_cost = name in ("n_parameters", "rank", "train_seconds")
    value = 73728.0 if is_cost else 0.1 * len(method) - 0.5
    ends = ("ci_low", "ci_high", "seed_low", "seed_high")
    spread = {e: None if is_cost else value + 0.05 * (-1) ** i for i, e in enumerate(ends, 1)}
    return {
        "experiment_id": _METHODS, "method": method, "source": source, "quantity": name,
        "value": value, **spread, "n_items": 60, "n_groups": 60, "n_seeds": 3, "difference": None,
        "difference_ci_low": None, "difference_ci_high": None,
        "result": "" if is_cost else "win",
    }  # fmt: skip

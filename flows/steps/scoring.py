"""Scoring: what arms answered as rows of core.scores and core.item_scores, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flows.library.answers import LabelledRows
from rpe_core.evaluation.bootstrap import score_interval
from rpe_core.evaluation.metrics import METRICS, Items, make_items, pool

BASE_ARM, OWN_ARM, CHAMPION_ARM, AUTO_ARM = "base", "sft", "champion", "auto"
OWN_ENSEMBLE_ARM = "sft_ensemble"
REFERENCE_ARM = "reference:"  # with the source after it: its adapter by itself
CLOSED_SET_METRIC = (
    "accuracy"  # what an item of a closed answer set is filed under, beside its labels
)
CONFIDENCE = 0.95


def score_rows(
    labelled: LabelledRows, items: Items, common: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows of core.scores for one arm and split: every metric, over all, by slice and by class."""
    parts = {"": items}
    for column, every_name in labelled.rows.slices.items():
        names = every_name[labelled.chosen]
        for name in np.unique(names):
            parts[f"{column}={name}"] = items.take(np.flatnonzero(names == name))
    parts |= {f"class={name}": part for name, part in items.by_class().items()}
    return [
        score_row(part, metric, {**common, "slice": name})
        for name, part in parts.items()
        for metric in sorted(METRICS)
        if set(METRICS[metric].needs) <= set(part.statistics)
    ]


def score_row(items: Items, metric: str, common: Mapping[str, Any]) -> dict[str, Any]:
    """One row of core.scores with its interval."""
    value, low, high = score_interval(items, metric, confidence=CONFIDENCE, seed=0)
    return {
        **common,
        "metric": metric,
        "metric_version": METRICS[metric].version,
        "is_higher_better": METRICS[metric].is_higher_better,
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "n_items": items.n_items,
        "n_groups": items.n_groups,
    }


def item_rows(
    labelled: LabelledRows, items: Items, common: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows of core.item_scores for one arm and split, one for an item and what it is scored by."""
    is_closed = "target" in items.statistics
    scores = {CLOSED_SET_METRIC: items["correct"]} if is_closed else items.statistics
    return [
        {
            **common,
            "item_sha256": str(labelled.rows.item_sha256[row]),
            "group_sha256": str(labelled.rows.groups[row]),
            "metric": metric,
            "value": float(values[i]),
            "predicted": int(items["predicted"][i]) if is_closed else None,
            "expected": int(items["target"][i]) if is_closed else None,
        }
        for metric, values in scores.items()
        for i, row in enumerate(labelled.chosen)
    ]


def items_of(rows: Sequence[Mapping[str, Any]]) -> Items:
    """The items behind rows of core.item_scores of one arm, in their order."""
    by_metric: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_metric.setdefault(row["metric"], []).append(row)
    groups = [row["group_sha256"] for row in next(iter(by_metric.values()))]
    if CLOSED_SET_METRIC in by_metric:
        closed = by_metric[CLOSED_SET_METRIC]
        return make_items(
            [row["predicted"] for row in closed], [row["expected"] for row in closed], groups
        )
    scores = {
        name: np.array([r["value"] for r in metric_rows]) for name, metric_rows in by_metric.items()
    }
    return Items(scores, np.array(groups, dtype=str))


def items_by_arm(rows: Sequence[Mapping[str, Any]]) -> dict[str, Items]:
    """Items per arm; those of several references are pooled, each with label indices of its own."""
    parts: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        parts.setdefault(row["arm"], {}).setdefault(row["dataset_version_id"], []).append(row)
    return {
        arm: pool([items_of(part) for _, part in sorted(versions.items())])
        for arm, versions in parts.items()
    }

"""Scoring: the rows of a dataset version as a model sees them, and what an arm answers on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.workspace.task_rows import TaskRows
from flows.workspace.workspace import Workspace
from rpe_core.errors import InputError
from rpe_core.evaluation.bootstrap import score_interval
from rpe_core.evaluation.metrics import METRICS, Items, find_metric, gate_metric, make_items, pool
from rpe_core.fingerprint import SHORT
from rpe_core.records import TaskSpec

BASE_ARM, OWN_ARM, CHAMPION_ARM, AUTO_ARM = "base", "sft", "champion", "auto"
OWN_ENSEMBLE_ARM = "sft_ensemble"
REFERENCE_ARM = "reference:"  # with the source after it: its adapter by itself
CLOSED_SET_METRIC = (
    "accuracy"  # what an item of a closed answer set is filed under, beside its labels
)
CONFIDENCE = 0.95


def predict_arm(
    workspace: Workspace, base_name: str, task: TaskSpec, folder: Path | None, inputs: Sequence[Any]
) -> np.ndarray:
    """Predictions, first axis over inputs, of the base with or without an adapter."""
    family, base = workspace.family(base_name), workspace.loaded(base_name)
    prepared = workspace.prepared(base_name, task)
    if folder is None:
        return np.asarray(family.predict(base, prepared, inputs))
    # peft, which a night that answers nothing need not load
    from rpe_core.families import attachment

    try:
        attachment.attach(base, str(folder))
    except ValueError as error:  # no row has been read: its text is about names and shapes
        raise InputError(
            f"{error}.",
            where=f"artifact {folder.name[:SHORT]} on base {base_name}",
            expected="tensors by the names and shapes of the modules that the family loads",
            remedy="`rpe adapters list` shows what was imported, `rpe retract` takes a source back",
        ) from None
    try:
        return np.asarray(family.predict(base, prepared, inputs))
    finally:
        attachment.detach(base)


def score_items(
    workspace: Workspace,
    base_name: str,
    task: TaskSpec,
    rows: TaskRows,
    chosen: np.ndarray,
    predictions: np.ndarray,
) -> Items:
    """What was answered on these labelled rows; `predictions` has one entry for each of them."""
    prepared = workspace.prepared(base_name, task)
    targets = rows.targets_of(chosen)
    statistics = workspace.family(base_name).score(prepared, predictions, targets)
    if task.type == "text-generation":
        statistics = {**statistics, **_scored_by_models(workspace, predictions.tolist(), targets)}
    return Items(statistics, rows.groups[chosen])


def _scored_by_models(
    workspace: Workspace, texts: Sequence[str], targets: Sequence[str]
) -> dict[str, np.ndarray]:
    """Scores of texts under the models that the plan names for it, each of shape (n,)."""
    spec, found = workspace.plan.evaluation, {}
    # torch, which a night that scores no text by a model need not load for this
    if bert := spec.bert_score:
        from rpe_core.evaluation.bert_score import bert_f1

        encoder = workspace.loaded(bert.base)
        found["bert_f1"] = bert_f1(
            encoder, texts, targets, layer=bert.layer, baseline=bert.baseline
        )
    if judge := spec.judge:
        from rpe_core.evaluation.judge import judge_grades

        model = workspace.loaded(judge.base)
        found["judge"] = judge_grades(model, texts, targets, prompt=judge.prompt)
    return found


def mean_score(items: Items, task_type: str) -> float:
    """The score by the metric that a gate would use."""
    return find_metric(gate_metric("auto", task_type)).value(items)


def score_rows(
    rows: TaskRows, chosen: np.ndarray, items: Items, common: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows of core.scores for one arm and split: every metric, over all, by slice and by class."""
    parts = {"": items}
    for column, names in rows.slices.items():
        for name in np.unique(names[chosen]):
            parts[f"{column}={name}"] = items.take(np.flatnonzero(names[chosen] == name))
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
    rows: TaskRows, chosen: np.ndarray, items: Items, common: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows of core.item_scores for one arm and split, one for an item and what it is scored by."""
    is_closed = "target" in items.statistics
    scores = {CLOSED_SET_METRIC: items["correct"]} if is_closed else items.statistics
    return [
        {
            **common,
            "item_sha256": str(rows.item_sha256[row]),
            "group_sha256": str(rows.groups[row]),
            "metric": metric,
            "value": float(values[i]),
            "predicted": int(items["predicted"][i]) if is_closed else None,
            "expected": int(items["target"][i]) if is_closed else None,
        }
        for metric, values in scores.items()
        for i, row in enumerate(chosen)
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
    scores = {name: np.array([r["value"] for r in found]) for name, found in by_metric.items()}
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

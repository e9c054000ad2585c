"""Scoring: the rows of a dataset version as a model sees them, and what an arm answers on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalog.contracts.contract import SourceContract
from flows.workspace import Workspace
from rpe_core.evaluation.bootstrap import score_interval
from rpe_core.evaluation.metrics import METRICS, Items, make_items
from rpe_core.fingerprint import fingerprint

BASE_ARM, OWN_ARM, CHAMPION_ARM, AUTO_ARM = "base", "sft", "champion", "auto"
UNLABELLED = -1
CONFIDENCE = 0.95


@dataclass(frozen=True)
class TaskRows:
    """Rows of a dataset version in the order of their hash; every array has shape (n,)."""

    inputs: list[str]
    item_sha256: np.ndarray
    groups: np.ndarray
    splits: np.ndarray
    expected: np.ndarray  # label index in the contract, UNLABELLED where there is none
    slices: Mapping[str, np.ndarray]

    def labelled(self, split: str, limit: int | None) -> np.ndarray:
        """Indices of the labelled rows of a split, at most `limit` of them."""
        return np.flatnonzero((self.splits == split) & (self.expected != UNLABELLED))[:limit]

    def first(self, limit: int) -> np.ndarray:
        """Indices of the first rows, whatever their split or label."""
        return np.arange(min(limit, len(self.inputs)))

    def items(self, rows: np.ndarray, probabilities: np.ndarray) -> Items:
        """What was answered on these labelled rows; probabilities has shape (len(rows), labels)."""
        return make_items(probabilities.argmax(axis=1), self.expected[rows], self.groups[rows])


def read_task_rows(
    workspace: Workspace, contract: SourceContract, dataset_version_id: str
) -> TaskRows:
    """Read the rows of a dataset version for scoring."""
    task = contract.task
    sliced = [name for name, rule in contract.columns.items() if rule.slice]
    columns = list(dict.fromkeys([task.input, task.target, *sliced]))
    rows = workspace.rows(dataset_version_id, columns=columns)
    index = {label: i for i, label in enumerate(task.labels)}
    targets = rows.column(task.target).to_pylist()
    return TaskRows(
        rows.column(task.input).to_pylist(),
        np.array(rows.column("_item_sha256").to_pylist(), dtype=str),
        np.array(rows.column("_group_sha256").to_pylist(), dtype=str),
        np.array(rows.column("_split").to_pylist(), dtype=str),
        np.array([index.get(target, UNLABELLED) for target in targets], dtype=np.int64),
        {name: _slice_names(contract, name, rows.column(name).to_pylist()) for name in sliced},
    )


def predict_arm(
    workspace: Workspace,
    base_name: str,
    labels: Mapping[str, str],
    folder: Path | None,
    inputs: Sequence[str],
) -> np.ndarray:
    """Probabilities, shape (len(inputs), len(labels)), of the base with or without an adapter."""
    family, base = workspace.family(base_name), workspace.loaded(base_name)
    task = family.prepare(base, labels)
    if folder is None:
        return np.asarray(family.predict(base, task, inputs))
    family.attach(base, str(folder))
    try:
        return np.asarray(family.predict(base, task, inputs))
    finally:
        family.detach(base)


def score_rows(
    rows: TaskRows, chosen: np.ndarray, items: Items, task_type: str, common: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows of core.scores for one arm and split: every metric, over all items and by slice."""
    parts = {"": np.arange(len(chosen))}
    for column, names in rows.slices.items():
        for name in np.unique(names[chosen]):
            parts[f"{column}={name}"] = np.flatnonzero(names[chosen] == name)
    return [
        score_row(items.take(part), metric, {**common, "slice": name})
        for name, part in parts.items()
        for metric in sorted(METRICS)
        if task_type in METRICS[metric].task_types
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
    """Rows of core.item_scores for one arm and split."""
    return [
        {
            **common,
            "item_sha256": str(rows.item_sha256[row]),
            "group_sha256": str(rows.groups[row]),
            "value": float(items.correct[i]),
            "predicted": int(items.predicted[i]),
            "expected": int(items.target[i]),
        }
        for i, row in enumerate(chosen)
    ]


def _slice_names(contract: SourceContract, column: str, values: list[Any]) -> np.ndarray:
    """Values that the contract itself declares are shown; any other by its hash."""
    declared = set(contract.columns[column].values or ())
    names = ["" if v is None else v if v in declared else fingerprint(str(v))[:12] for v in values]
    return np.array(names, dtype=str)

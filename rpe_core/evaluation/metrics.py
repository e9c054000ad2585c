"""Metrics as functions of additive per-item statistics: name, version, direction, task types.

A metric whose value depends on sums over items only (counts of hits, of confusions) can be
resampled by weighting those sums, so one table serves the score, the interval and the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from rpe_core.errors import InputError, ShapeMismatch, UnknownName

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GATE_METRIC = {"text-classification": "accuracy"}


@dataclass(frozen=True, eq=False)
class Items:
    """What one arm answered, item by item; every array has shape (n,) with n >= 1.

    `predicted` and `target` are label indices, `correct` is 0 or 1, `groups` names the cluster
    (the patient) that an item belongs to and that resampling never cuts.

    Raises:
        ShapeMismatch: the arrays are empty, not flat or of unequal lengths.
        InputError: a value is NaN, infinite, no label index or no hit-or-miss.
    """

    correct: Ints
    predicted: Ints
    target: Ints
    groups: npt.NDArray[Any]

    def __post_init__(self) -> None:
        n = np.shape(self.target)
        if len(n) != 1 or n[0] == 0:
            raise ShapeMismatch("items need flat arrays with one entry each.", expected="n >= 1")
        for name in ("correct", "predicted", "target", "groups"):
            if np.shape(getattr(self, name)) != n:
                raise ShapeMismatch(f"{name} has another length than target.", expected=f"{n[0]}")
        for name in ("correct", "predicted", "target"):
            object.__setattr__(self, name, _indices(name, getattr(self, name)))
        if self.correct.max() > 1:
            raise InputError("correct holds something other than hit or miss.", expected="0 or 1")
        object.__setattr__(self, "groups", _group_names(self.groups))

    @property
    def n_items(self) -> int:
        """How many items were answered."""
        return len(self.target)

    @property
    def n_groups(self) -> int:
        """How many clusters the items form: what the interval really counts."""
        return int(self.group_codes.max()) + 1

    @cached_property
    def group_codes(self) -> Ints:
        """Clusters numbered from 0 in the order of their names, shape (n,)."""
        return np.unique(self.groups, return_inverse=True)[1].astype(np.int64).reshape(-1)

    @property
    def n_labels(self) -> int:
        """One more than the largest label index that occurs."""
        return int(max(self.predicted.max(), self.target.max())) + 1

    def take(self, rows: npt.ArrayLike) -> Items:
        """The items of a slice: row numbers or a mask of shape (n,)."""
        chosen = np.asarray(rows)
        return Items(
            self.correct[chosen], self.predicted[chosen], self.target[chosen], self.groups[chosen]
        )


def make_items(predicted: npt.ArrayLike, target: npt.ArrayLike, groups: npt.ArrayLike) -> Items:
    """Items from label indices (n,) and group names or numbers (n,).

    >>> items = make_items([0, 1, 1], [0, 1, 0], ["p1", "p1", "p2"])
    >>> items.correct.tolist(), items.n_groups
    ([1, 1, 0], 2)
    """
    first, second = np.asarray(predicted), np.asarray(target)
    if first.shape != second.shape:
        raise ShapeMismatch("predicted and target differ in length.")
    # The arrays are typed by the checks of Items, which accept any integer-valued input.
    return Items((first == second).astype(np.int64), first, second, np.asarray(groups))


def pool(parts: Sequence[Items]) -> Items:
    """Items of several references as one set.

    Labels of different parts never meet (their indices are shifted apart); a group that occurs
    in two parts is one cluster, because groups are platform-wide.

    Raises:
        ShapeMismatch: there are no parts.
    """
    if not parts:
        raise ShapeMismatch("there is nothing to pool.", expected="at least one part")
    shifts = np.cumsum([0, *(items.n_labels for items in parts[:-1])])
    return Items(
        np.concatenate([items.correct for items in parts]),
        np.concatenate([i.predicted + shift for i, shift in zip(parts, shifts, strict=True)]),
        np.concatenate([i.target + shift for i, shift in zip(parts, shifts, strict=True)]),
        np.concatenate([items.groups.astype(str) for items in parts]),
    )


@dataclass(frozen=True)
class Metric:
    """A score of a set of items: value = from_sums(sum over items of statistics(item)).

    `statistics` maps items to (n, m); `from_sums` maps sums of shape (..., m) to values (...).
    """

    name: str
    version: str
    is_higher_better: bool
    task_types: tuple[str, ...]
    doc: str
    statistics: Callable[[Items], Floats]
    from_sums: Callable[[Floats], Floats]

    def value(self, items: Items) -> float:
        """The score of all items, a plain number without unit."""
        return float(self.from_sums(self.statistics(items).sum(axis=0)))


def _accuracy_statistics(items: Items) -> Floats:
    return np.column_stack([items.correct, np.ones(items.n_items)]).astype(np.float64)


def _accuracy(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1], dtype=np.float64)


def _f1_statistics(items: Items) -> Floats:
    eye = np.eye(items.n_labels)
    predicted, target = eye[items.predicted], eye[items.target]
    return np.concatenate([predicted * target, predicted + target], axis=1)


def _macro_f1(sums: Floats) -> Floats:
    hits, marks = np.split(sums, 2, axis=-1)
    f1 = 2.0 * hits / np.where(marks > 0, marks, 1.0)
    return np.asarray(f1.sum(axis=-1) / (marks > 0).sum(axis=-1), dtype=np.float64)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy",
            "1",
            True,
            ("text-classification",),
            "share of items answered with the right label",
            _accuracy_statistics,
            _accuracy,
        ),
        Metric(
            "macro_f1",
            "1",
            True,
            ("text-classification",),
            "mean over labels, predicted or true, of F1 = 2 tp / (2 tp + fp + fn)",
            _f1_statistics,
            _macro_f1,
        ),
    )
}


def find_metric(name: str) -> Metric:
    """The metric of this name.

    >>> find_metric("macro_f1").value(make_items([0, 0, 1], [0, 1, 1], [1, 2, 3])).__round__(4)
    0.6667

    Raises:
        UnknownName: no metric has this name.
    """
    if name not in METRICS:
        raise UnknownName("metric", name, METRICS)
    return METRICS[name]


def gate_metric(metric: str, task_type: str) -> str:
    """The metric that a gate uses: `auto` is resolved by the type of the task.

    Raises:
        UnknownName: no such metric, no such task type, or a metric of another task type.
    """
    if metric == "auto":
        if task_type not in GATE_METRIC:
            raise UnknownName("task type", task_type, GATE_METRIC)
        return GATE_METRIC[task_type]
    fitting = [name for name, known in METRICS.items() if task_type in known.task_types]
    if metric not in fitting:
        raise UnknownName("metric", metric, [*fitting, "auto"])
    return metric


def _indices(name: str, values: Any) -> Ints:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise InputError(f"{name} must be finite whole numbers.")
    whole = array.astype(np.int64)
    if (whole != array).any() or whole.min() < 0:
        raise InputError(f"{name} must be whole numbers, not negative.")
    return whole


def _group_names(values: Any) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("groups must be names or finite numbers.")
    return array.astype(str) if array.dtype.kind == "O" else array

"""Metrics as functions of additive per-item statistics: name, version, direction, task types.

A metric whose value depends on sums over items only (counts of hits, of confusions) can be
resampled by weighting those sums, so one table serves the score, the interval and the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from rpe_core.errors import InputError, ShapeMismatch, UnknownName

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GATE_METRIC = {  # by type of task
    "image-classification": "accuracy",
    "image-segmentation": "dice",
    "text-classification": "accuracy",
    "text-generation": "rouge_l",
}
CLASSIFICATION = ("text-classification", "image-classification")
UNIT = (0.0, 1.0)
LABELS = ("correct", "predicted", "target")  # statistics of a closed answer set: whole numbers


@dataclass(frozen=True, eq=False)
class Items:
    """What one arm answered, item by item: statistics by name, each of shape (n,) with n >= 1.

    Of a closed answer set they are `predicted` and `target`, label indices, and `correct`, 0 or 1;
    else scores, and with a name after a dot the score on one class of a mask. `groups` (n,) names
    the cluster (the patient) that an item belongs to and that resampling never cuts.

    Raises:
        ShapeMismatch: the arrays are empty, not flat or of unequal lengths.
        InputError: a value is NaN, infinite, no label index or no hit-or-miss.
    """

    statistics: Mapping[str, npt.NDArray[Any]]
    groups: npt.NDArray[Any]

    def __post_init__(self) -> None:
        n = np.shape(self.groups)
        if len(n) != 1 or n[0] == 0 or not self.statistics:
            raise ShapeMismatch("items need flat arrays with one entry each.", expected="n >= 1")
        for name, values in self.statistics.items():
            if np.shape(values) != n:
                raise ShapeMismatch(f"{name} has another length than groups.", expected=f"{n[0]}")
        checked = {
            name: (_indices if name in LABELS else _numbers)(name, values)
            for name, values in self.statistics.items()
        }
        if "correct" in checked and checked["correct"].max() > 1:
            raise InputError("correct holds something other than hit or miss.", expected="0 or 1")
        object.__setattr__(self, "statistics", checked)
        object.__setattr__(self, "groups", _group_names(self.groups))

    def __getitem__(self, statistic: str) -> npt.NDArray[Any]:
        return self.statistics[statistic]

    @property
    def n_items(self) -> int:
        """How many items were answered."""
        return len(self.groups)

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
        return int(max(self["predicted"].max(), self["target"].max())) + 1

    def take(self, rows: npt.ArrayLike) -> Items:
        """The items of a slice: row numbers or a mask of shape (n,)."""
        chosen = np.asarray(rows)
        taken = {name: values[chosen] for name, values in self.statistics.items()}
        return Items(taken, self.groups[chosen])

    def by_class(self) -> dict[str, Items]:
        """These items as scored on one class of their masks: `dice.liver` is its `dice`."""
        by_label: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for name, values in self.statistics.items():
            metric, _, label = name.partition(".")
            if label:
                by_label.setdefault(label, {})[metric] = values
        return {label: Items(statistics, self.groups) for label, statistics in by_label.items()}


def make_items(predicted: npt.ArrayLike, target: npt.ArrayLike, groups: npt.ArrayLike) -> Items:
    """Items of a closed answer set from label indices (n,) and group names or numbers (n,).

    >>> items = make_items([0, 1, 1], [0, 1, 0], ["p1", "p1", "p2"])
    >>> items["correct"].tolist(), items.n_groups
    ([1, 1, 0], 2)
    """
    first, second = np.asarray(predicted), np.asarray(target)
    if first.shape != second.shape:
        raise ShapeMismatch("predicted and target differ in length.")
    correct = (first == second).astype(np.int64)
    return Items(
        {"correct": correct, "predicted": first, "target": second}, groups=np.asarray(groups)
    )


def pool(parts: Sequence[Items]) -> Items:
    """Items of several references as one set.

    Labels of different parts never meet (their indices are shifted apart), and scores on single
    classes are left out unless all parts have them; a group that occurs in two parts is one
    cluster, because groups are platform-wide.

    Raises:
        ShapeMismatch: there are no parts, or they have other statistics.
    """
    names = {tuple(sorted(n for n in items.statistics if "." not in n)) for items in parts}
    if len(names) != 1:
        raise ShapeMismatch("there is nothing to pool.", expected="parts of the same statistics")
    is_closed = "target" in parts[0].statistics
    shifts = np.cumsum([0, *(items.n_labels if is_closed else 0 for items in parts[:-1])])

    def joined(name: str) -> npt.NDArray[Any]:
        apart = shifts if name in ("predicted", "target") else np.zeros(len(parts), dtype=int)
        return np.concatenate([i[name] + s for i, s in zip(parts, apart, strict=True)])

    shared = set.intersection(*(set(items.statistics) for items in parts))
    return Items(
        {name: joined(name) for name in parts[0].statistics if name in shared},
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
    needs: tuple[str, ...]  # statistics of an item; without them it is not told
    doc: str
    statistics: Callable[[Items], Floats]
    from_sums: Callable[[Floats], Floats]
    is_mean: bool = True  # of item scores; else of the set as a whole
    bounds: tuple[float, float] | None = None  # between which an item's score lies
    is_binary: bool = False  # an item scores 0 or 1

    def item_scores(self, items: Items) -> Floats:
        """The score of each item, shape (n,), of a metric that is their mean."""
        return self.statistics(items)[:, 0]

    def value(self, items: Items) -> float:
        """The score of all items, a plain number without unit."""
        return float(self.from_sums(self.statistics(items).sum(axis=0)))


def _mean_of(statistic: str) -> Callable[[Items], Floats]:
    """The statistics of a mean over items: its value, and one."""
    return lambda items: np.column_stack([items[statistic], np.ones(items.n_items)]).astype(float)


def _ratio(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1], dtype=np.float64)


def _f1_statistics(items: Items) -> Floats:
    eye = np.eye(items.n_labels)
    predicted, target = eye[items["predicted"]], eye[items["target"]]
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
            CLASSIFICATION,
            ("correct",),
            "share of items answered with the right label; the gate's metric for classification, of"
            " text and of images",
            _mean_of("correct"),
            _ratio,
            bounds=UNIT,
            is_binary=True,
        ),
        Metric(
            "macro_f1",
            "1",
            True,
            CLASSIFICATION,
            ("predicted", "target"),
            "mean over labels, predicted or true, of F1 = 2 tp / (2 tp + fp + fn); it is reported,"
            " and no gate decides by it",
            _f1_statistics,
            _macro_f1,
            is_mean=False,
        ),
        Metric(
            "rouge_l",
            "1",
            True,
            ("text-generation",),
            ("rouge_l",),
            "mean F-measure of the longest common subsequence of stemmed words (Lin, 2004), as"
            " `rouge-score` defines it; the gate's metric for text generation",
            _mean_of("rouge_l"),
            _ratio,
            bounds=UNIT,
        ),
        Metric(
            "exact_match",
            "1",
            True,
            ("text-generation",),
            ("exact_match",),
            "share of texts equal to the target but for white space",
            _mean_of("exact_match"),
            _ratio,
            bounds=UNIT,
            is_binary=True,
        ),
        Metric(
            "bert_f1",
            "1",
            True,
            ("text-generation",),
            ("bert_f1",),
            "mean F-measure of matched tokens (BERTScore, Zhang et al., 2020) under the text"
            " encoder and layer that the plan's `evaluation.bert_score` names; a gate by it"
            " needs a `cap`",
            _mean_of("bert_f1"),
            _ratio,
        ),
        Metric(
            "judge",
            "1",
            True,
            ("text-generation",),
            ("judge",),
            "mean grade of a language model, 0 to 1, each grade weighed by its probability (G-Eval,"
            " 2023); the plan's `evaluation.judge` names the base and the prompt",
            _mean_of("judge"),
            _ratio,
            bounds=UNIT,
        ),
        Metric(
            "dice",
            "1",
            True,
            ("image-segmentation",),
            ("dice",),
            "mean over cases and classes of 2 |P and T| / (|P| + |T|) (Dice, 1945), each class"
            " also as a slice; the gate's metric for image segmentation",
            _mean_of("dice"),
            _ratio,
            bounds=UNIT,
        ),
        Metric(
            "hd95",
            "1",
            False,
            ("image-segmentation",),
            ("hd95",),
            "mean 95 % Hausdorff distance of masks in mm, the 95th percentile of the distances"
            " between their surfaces (Huttenlocher et al., 1993); lower is better; a gate by it"
            " needs a `cap`",
            _mean_of("hd95"),
            _ratio,
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


def metrics_of(task_type: str) -> list[str]:
    """The metrics that score a type of task; none of one that is not known."""
    return [name for name, metric in METRICS.items() if task_type in metric.task_types]


def gate_metric(metric: str, task_type: str) -> str:
    """The metric that a gate uses: `auto` is resolved by the type of the task.

    Raises:
        UnknownName: no such metric, no such task type, or a metric of another task type.
    """
    if metric == "auto":
        if task_type not in GATE_METRIC:
            raise UnknownName("task type", task_type, GATE_METRIC)
        return GATE_METRIC[task_type]
    fitting = metrics_of(task_type)
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


def _numbers(name: str, values: Any) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise InputError(f"{name} must be finite numbers.")
    return array.astype(np.float64)


def _group_names(values: Any) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("groups must be names or finite numbers.")
    return array.astype(str) if array.dtype.kind == "O" else array

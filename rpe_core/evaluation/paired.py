"""Paired differences by group (patient): what the gate's interval and both its guards look at.

The gate's estimand is the mean over groups of the group's mean difference, better being positive.
Beside it stands the mean over items, with groups as clusters. Both are means of one number a group
that lies between -1 and 1 once it is divided by what the metric can differ by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.evaluation.metrics import METRICS, Floats, Items, Metric, find_metric


@dataclass(frozen=True, eq=False)
class Paired:
    """How much better the challenger is in each group, in the unit of the metric.

    `names` (n_groups,) ascend; `means` (n_groups,) are positive where the challenger is better;
    `sizes` (n_groups,) count items; no difference is larger than `width`.
    """

    names: npt.NDArray[np.str_]
    means: Floats
    sizes: npt.NDArray[np.int64]
    width: float
    is_binary: bool  # an item is right or wrong

    @property
    def by_groups(self) -> float:
        """The mean over groups: the gate's estimand."""
        return float(self.means.mean())

    @property
    def by_items(self) -> float:
        """The mean over items."""
        return float((self.means * self.sizes).sum() / self.sizes.sum())

    @property
    def is_ungrouped(self) -> bool:
        """Whether every group is one item, so that both means are one."""
        return bool((self.sizes == 1).all())

    @property
    def is_even(self) -> bool:
        """Whether every group has as many items as the others, so that both means are one."""
        return bool((self.sizes == self.sizes[0]).all())

    def stakes(self) -> Floats:
        """What is bet on, (2, n_groups), each in [-1, 1]: for the mean over groups, over items.

        The second is a group's sum over its items, by the largest group: its mean has the sign of
        the mean over items. No group may bring more items than the largest that was seen.
        """
        unit = np.clip(self.means / self.width, -1.0, 1.0)
        return np.stack([unit, unit * (self.sizes / self.sizes.max())])


def pair(challenger: Items, baseline: Items, metric: str, *, cap: float | None = None) -> Paired:
    """The paired differences of two arms; with a cap, scores from it on count alike.

    >>> ours = Items({"dice": [0.9, 0.7, 0.5]}, ["a", "a", "b"])
    >>> theirs = Items({"dice": [0.5, 0.5, 0.6]}, ["a", "a", "b"])
    >>> found = pair(ours, theirs, "dice")
    >>> found.names.tolist(), found.means.round(2).tolist(), found.sizes.tolist()
    (['a', 'b'], [0.3, -0.1], [2, 1])
    >>> round(found.by_groups, 3), round(found.by_items, 3)
    (0.1, 0.167)

    Raises:
        ShapeMismatch: the arms did not answer the same items in the same order.
        UnknownName: no such metric.
        InputError: a metric that is no mean of item scores, or not as `require_bounded` asks.
    """
    require_paired(challenger, baseline)
    metric_used = find_metric(metric)
    low, high = require_bounded(metric_used, cap)
    ours, theirs = (
        np.clip(metric_used.item_scores(items), low, high) for items in (challenger, baseline)
    )
    better = ours - theirs if metric_used.is_higher_better else theirs - ours
    sizes = np.bincount(challenger.group_codes)
    means = np.bincount(challenger.group_codes, better) / sizes
    names = np.unique(challenger.groups.astype(str))
    return Paired(names, means, sizes, high - low, metric_used.is_binary)


def require_bounded(metric: Metric, cap: float | None) -> tuple[float, float]:
    """The bounds of an item's score: the metric's own, or 0 and the cap of one that has none.

    Raises:
        InputError: no mean over items, no cap where one is needed, or one where none is.
    """
    if not metric.is_mean:
        raise InputError(
            f"a gate cannot decide by {metric.name}: it is no mean over items, and no bound on its"
            " chance errors holds for every distribution.",
            expected=_gated_in_words(),
            remedy=f"gate by one of them; {metric.name} is scored and shown all the same",
        )
    if metric.bounds is None and cap is None:
        raise InputError(
            f"{metric.name} has no upper bound, and a gate needs one.",
            expected="a cap in its unit, from which on all scores count alike",
            remedy=f"for example `gate: {{metric: {metric.name}, cap: {_CAPS[metric.name]}}}`",
        )
    if metric.bounds is not None and cap is not None:
        low, high = metric.bounds
        raise InputError(
            f"{metric.name} needs no cap: it lies between {low:g} and {high:g}.",
            remedy="leave `cap` out",
        )
    if cap is not None and not 0.0 < cap < np.inf:
        raise InputError("a cap must be a number above 0.", expected="for example 50")
    return metric.bounds or (0.0, float(cap or 0.0))


def gated_metrics() -> list[str]:
    """The metrics that a gate may decide by, with a cap or without."""
    return [name for name, metric in METRICS.items() if metric.is_mean]


def _gated_in_words() -> str:
    bounded = [name for name in gated_metrics() if METRICS[name].bounds]
    return f"{', '.join(bounded)}, or {' and '.join(_CAPS)} with a cap"


_CAPS = {"hd95": 50, "bert_f1": 1}  # examples, in the unit of the metric


def require_paired(challenger: Items, baseline: Items) -> None:
    """Raise ShapeMismatch unless both arms have the same targets and groups in the same order."""
    nobody = np.zeros(0)  # of an open answer there is no index of the truth to compare
    truth, other = (items.statistics.get("target", nobody) for items in (challenger, baseline))
    if not (
        np.array_equal(truth, other)
        and np.array_equal(challenger.groups.astype(str), baseline.groups.astype(str))
    ):
        raise ShapeMismatch(
            "the two arms did not answer the same items in the same order.",
            expected=f"{baseline.n_items} items with the baseline's targets and groups",
            remedy="score both arms on one split of one dataset version",
        )

"""Counted shares with exact intervals, and the lines and table of the gate's measurement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rpe_core.weighting.binomial import measured_rate


@dataclass(frozen=True)
class Share:
    """`k` of `n` and the Clopper-Pearson interval of the proportion at 95 %."""

    k: int
    n: int

    def interval(self) -> tuple[float, float]:
        """Lower and upper bound; 0 and 1 where nothing was counted.

        >>> [round(bound, 3) for bound in Share(300, 300).interval()]
        [0.988, 1.0]
        """
        rate = measured_rate(self.k, self.n)
        return rate.low, rate.high

    def __str__(self) -> str:
        if self.n == 0:
            return "-"
        low, high = self.interval()
        return f"{self.k}/{self.n} = {self.k / self.n:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True)
class Measured:
    """One line of a report: what was to be found, recall by its own rules and by any, precision."""

    kind: str
    recall: Share
    recall_by_any: Share
    precision: Share | None = None


@dataclass(frozen=True)
class Alarms:
    """Rows flagged in a folder of clinical rows, judged by the adjudicated list."""

    n_rows: int
    n_flagged: int
    n_true: int
    n_false: int
    n_unjudged: int
    n_false_pairs: int


def table(title: str, lines: Iterable[Measured]) -> str:
    """The lines as fixed-width text under a title."""
    head = f"{'kind':<30} {'recall [95 %]':<32} {'by any rule':<32} precision [95 %]"
    rows = [
        f"{line.kind:<30} {line.recall!s:<32} {line.recall_by_any!s:<32} {line.precision or ''!s}"
        for line in lines
    ]
    return "\n".join([f"\n{title}", head, *rows, ""])

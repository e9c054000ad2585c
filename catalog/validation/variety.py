"""Whether rows differ at all: rows that are alike teach nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variety:
    """Whether rows differ at all, in labels and in inputs; mergeable over sets of rows."""

    n_rows: int = 0
    n_labelled: int = 0
    labels: frozenset[str] = frozenset()  # at most two hashes of each: enough to tell one from many
    inputs: frozenset[str] = frozenset()

    def __add__(self, other: Variety) -> Variety:
        labels, inputs = self.labels | other.labels, self.inputs | other.inputs
        n_rows, n_labelled = self.n_rows + other.n_rows, self.n_labelled + other.n_labelled
        return Variety(n_rows, n_labelled, _two(labels), _two(inputs))

    @property
    def is_one_class(self) -> bool:
        """Whether there are labels, and all are the same."""
        return len(self.labels) == 1

    @property
    def is_one_input(self) -> bool:
        """Whether there are several rows, and all have the same input."""
        return self.n_rows > 1 and len(self.inputs) == 1


def _two(hashes: frozenset[str]) -> frozenset[str]:
    return frozenset(sorted(hashes)[:2])

"""What each source contributed: the ensemble as it would have been without it, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rpe_core.distance import Matrix, Vector
from rpe_core.errors import InputError, ShapeMismatch


@dataclass(frozen=True)
class Attribution:
    """How an ensemble changes when a source had never been in the library.

    Attributes:
        source: who is left out.
        weight: sum of the weights of its adapters in the ensemble as it is.
        weight_change: sum over all adapters of |w_i without - w_i|; who was retrieved in its place
            counts.
        delta_change_ratio: ||dW without - dW||_F / ||dW||_F over all modules, of the exact weighted
            sums; 0 where both are zero, -1 where only the ensemble's own is.
    """

    source: str
    weight: float
    weight_change: float
    delta_change_ratio: float


def attribute(
    weights: Mapping[str, float],
    without: Mapping[str, Mapping[str, float]],
    *,
    sources: Mapping[str, str],
    adapter_ids: Sequence[str],
    gram: Matrix,
) -> tuple[Attribution, ...]:
    """One attribution per source left out, sorted by source.

    Nothing is approximated: the weights without a source are solved for again, and the change of
    the merged delta is (v'Gv / w'Gw)^(1/2) with v the difference of the weights.

    Args:
        weights: adapter id -> weight in the ensemble as it is.
        without: source -> adapter id -> weight, solved for without that source; empty where
            nothing is left, which is the base model.
        sources: adapter id -> source, for the adapters of `weights`.
        adapter_ids: the order of the Gram matrix; holds every adapter that has a weight anywhere.
        gram: inner products of the adapters' deltas, (n, n).

    >>> attribute({"x": 1.0}, {"a": {}}, sources={"x": "a"}, adapter_ids=["x"], gram=np.eye(1))
    (Attribution(source='a', weight=1.0, weight_change=1.0, delta_change_ratio=1.0),)

    Raises:
        ShapeMismatch: the Gram matrix is not square over the adapters.
        InputError: a weight belongs to none of the adapters.
    """
    if gram.shape != (len(adapter_ids), len(adapter_ids)):
        raise ShapeMismatch("The Gram matrix does not fit the adapters.", expected="(n, n)")
    index_of = {adapter_id: i for i, adapter_id in enumerate(adapter_ids)}
    whole = _vector(weights, index_of)
    unit = _length(whole, gram)
    attributions = []
    for source in sorted(without):
        change = _vector(without[source], index_of) - whole
        distance = _length(change, gram)
        ratio = distance / unit if unit > 0 else (0.0 if distance == 0 else -1.0)
        own = sum(weight for name, weight in weights.items() if sources[name] == source)
        attributions.append(Attribution(source, float(own), float(np.abs(change).sum()), ratio))
    return tuple(attributions)


def _vector(weights: Mapping[str, float], index_of: Mapping[str, int]) -> Vector:
    if not set(weights) <= set(index_of):
        raise InputError("A weight belongs to no adapter of the Gram matrix.")
    vector = np.zeros(len(index_of))
    for name, weight in weights.items():
        vector[index_of[name]] = weight
    return vector


def _length(weights: Vector, gram: Matrix) -> float:
    return float(np.sqrt(max(0.0, np.einsum("i,ij,j->", weights, gram, weights))))

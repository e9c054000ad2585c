"""Refusals of an adapter whose tokens are not as many as the base's."""

from __future__ import annotations

from rpe_core.errors import ShapeMismatch, shown_name
from rpe_core.merging.ties import is_vocabulary


def check_rows(
    tensor: str, shape: tuple[int, ...], base: tuple[int, ...], *, is_copy: bool = False
) -> None:
    """Raise ShapeMismatch where a tensor with a row for each token has more or fewer than the base.

    What PEFT copies of a base is such a tensor, whatever its name.

    >>> check_rows("lm_head.weight", (103, 32), (103, 32))
    """
    is_resized = len(base) == 2 and shape[1:] == base[1:] and shape != base
    if is_resized and (is_copy or is_vocabulary(tensor)):
        raise ShapeMismatch(
            f"The adapter was trained with {shape[0]} tokens, the base has {base[0]}.",
            where=f"tensor {shown_name(tensor)}",
            expected="the base that the adapter was trained on, its vocabulary unchanged",
            remedy="resize the base's embeddings as the training did, and save it again",
        )

"""Inputs of a model as a consumer gives them, told by position and never by value. Nothing of ours.

The registry ships this source inside each model version. Faults are ValueError.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

SHOWN_ROWS = 8  # of many that are wrong in one way
UNREADABLE = (ValueError, MemoryError, BadZipFile)  # a .npy may claim any size, or be a .npz
UNPRINTED = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})  # control, format, line, paragraph, space


def is_blank(item: Any) -> bool:
    r"""Whether an item is a text without a printed character: nothing to answer to.

    >>> is_blank(" \n\u200b"), is_blank("0"), is_blank(b"")
    (True, False, False)
    """
    return isinstance(item, str) and all(
        unicodedata.category(letter) in UNPRINTED for letter in item
    )


def require_items(items: Sequence[Any], kind: type) -> list[Any]:
    """The items, each a text or, where kind is bytes, the bytes of a file; None is a missing one.

    >>> require_items(["a", 2, None], str)
    Traceback (most recent call last):
    ValueError: 1 inputs are missing, the first in row 2. 1 of 3 inputs is no text: ...
    """
    wanted = (bytes, bytearray) if kind is bytes else kind
    missing = [row for row, item in enumerate(items) if item is None]
    wrong = {
        row: f"is of type {type(item).__name__}"
        for row, item in enumerate(items)
        if item is not None and not isinstance(item, wanted)
    }
    refusals = []
    if missing:
        rows = f" ({_some(missing)})" if len(missing) > 1 else ""
        refusals = [f"{len(missing)} inputs are missing, the first in row {missing[0]}{rows}."]
    if wrong:
        what = "text" if kind is str else "bytes of a .npy file"
        refusals.append(_refusal(wrong, len(items), what))
    if refusals:
        raise ValueError(f"{' '.join(refusals)} {_END_OF_REFUSAL}")
    return list(items)


def answer_each(predict: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> Any:
    """What `predict` says of all items; those that it refuses alone are told by position."""
    try:
        return predict(items)
    except UNREADABLE:
        refused = {}
        for row, item in enumerate(items):
            try:
                predict([item])
            except UNREADABLE as error:
                # a family's own words hold no value; those of others may
                is_own = isinstance(error, ValueError)
                refused[row] = f"({error})" if is_own else "(it cannot be read)"
        if not refused:
            raise
    refusal = _refusal(refused, len(items), "input that the model can read")
    raise ValueError(f"{refusal} {_END_OF_REFUSAL}") from None


def spread(
    answers: Mapping[str, npt.NDArray[Any]], rows: Sequence[int], n: int
) -> dict[str, npt.NDArray[Any]]:
    """Columns of n rows with the answers in theirs; the others are null: None, or NaN of a number.

    >>> spread({"score": np.array([0.5])}, [1], 2)["score"].tolist()
    [nan, 0.5]
    """
    if len(rows) == n:
        return dict(answers)
    columns = {}
    for name, column in answers.items():
        is_number = column.dtype.kind == "f"
        whole = np.full(n, np.nan if is_number else None, dtype=float if is_number else object)
        whole[np.array(rows, dtype=np.int64)] = column
        columns[name] = whole
    return columns


_END_OF_REFUSAL = "Rows count from 0; nothing was answered."


def _refusal(wrong: Mapping[int, str], n: int, wanted: str) -> str:
    """How many inputs are not what is wanted, and of some of them which and why."""
    some = [f"row {row} {why}" for row, why in list(wrong.items())[:SHOWN_ROWS]]
    more = [f"{len(wrong) - SHOWN_ROWS} more"] if len(wrong) > SHOWN_ROWS else []
    verb = "is" if len(wrong) == 1 else "are"
    return f"{len(wrong)} of {n} inputs {verb} no {wanted}: {', '.join(some + more)}."


def _some(rows: Sequence[int]) -> str:
    more = f" and {len(rows) - SHOWN_ROWS} more" if len(rows) > SHOWN_ROWS else ""
    return f"rows {', '.join(map(str, rows[:SHOWN_ROWS]))}{more}"

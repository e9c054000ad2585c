"""Labels and the cells that say them: a label is always the text of its cell."""

from __future__ import annotations

import re
from collections.abc import Iterable

from catalog.contracts.contract import ColumnType

LABEL_TYPES: tuple[ColumnType, ...] = ("string", "integer", "boolean")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")


def is_label_of(label: str, column_type: ColumnType) -> bool:
    """Whether a cell of such a column can say the label.

    >>> is_label_of("1", "integer"), is_label_of("01", "integer"), is_label_of("true", "boolean")
    (True, False, True)
    """
    if column_type == "integer":
        return _WHOLE.fullmatch(label) is not None
    return label in ("true", "false") if column_type == "boolean" else True


def label_cells(labels: Iterable[str], column_type: ColumnType) -> list[str | int | bool]:
    """The labels as the cells of such a column.

    >>> label_cells(["0", "1"], "integer"), label_cells(["false"], "boolean")
    ([0, 1], [False])
    """
    if column_type == "integer":
        return [int(label) for label in labels]
    if column_type == "boolean":
        return [label == "true" for label in labels]
    return [*labels]


def label_of(cell: str | int | bool | None) -> str | None:
    """The label that a cell says, as a contract writes it.

    >>> label_of(0), label_of(True), label_of("benign"), label_of(None)
    ('0', 'true', 'benign', None)
    """
    if cell is None or isinstance(cell, str):
        return cell
    return str(cell).lower()

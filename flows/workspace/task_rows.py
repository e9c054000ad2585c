"""Task rows: the rows of a dataset version as arrays that a model is scored on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.contracts.contract import SourceContract
from catalog.readers.items import chosen_items, item_source
from flows.workspace.workspace import Workspace
from rpe_core.fingerprint import fingerprint


@dataclass(frozen=True)
class TaskRows:
    """Rows of a dataset version in the order of their hash; every array has shape (n,)."""

    inputs: Sequence[Any]  # images are loaded when they are indexed
    targets: Sequence[Any]  # None where there is no label
    is_labelled: np.ndarray
    item_sha256: np.ndarray
    groups: np.ndarray
    splits: np.ndarray
    slices: Mapping[str, np.ndarray]

    def labelled(self, split: str, limit: int | None) -> np.ndarray:
        """Indices of the labelled rows of a split, at most `limit` of them."""
        return np.flatnonzero((self.splits == split) & self.is_labelled)[:limit]

    def inputs_of(self, rows: np.ndarray) -> Sequence[Any]:
        """The inputs of these rows."""
        return chosen_items(self.inputs, rows)

    def targets_of(self, rows: np.ndarray) -> Sequence[Any]:
        """The targets of these rows."""
        return chosen_items(self.targets, rows)

    def first(self, limit: int) -> np.ndarray:
        """Indices of the first rows, whatever their split or label."""
        return np.arange(min(limit, len(self.inputs)))


def read_task_rows(
    workspace: Workspace, contract: SourceContract, dataset_version_id: str
) -> TaskRows:
    """Read the rows of a dataset version for scoring."""
    items = item_source(contract)
    sliced = [name for name, rule in contract.columns.items() if rule.slice]
    columns = list(dict.fromkeys([*items.columns, *sliced]))
    rows = workspace.rows(dataset_version_id, columns=columns)
    return TaskRows(
        items.inputs(rows),
        items.targets(rows),
        np.array(rows.column(items.target).is_valid().to_pylist(), dtype=bool),
        np.array(rows.column("_item_sha256").to_pylist(), dtype=str),
        np.array(rows.column("_group_sha256").to_pylist(), dtype=str),
        np.array(rows.column("_split").to_pylist(), dtype=str),
        {name: _slice_names(contract, name, rows.column(name).to_pylist()) for name in sliced},
    )


def _slice_names(contract: SourceContract, column: str, values: list[Any]) -> np.ndarray:
    """Values that the contract itself declares are shown; any other by its hash."""
    declared = set(contract.columns[column].values or ())
    names = ["" if v is None else v if v in declared else fingerprint(str(v))[:12] for v in values]
    return np.array(names, dtype=str)

"""Rows of the lake by a statement of a test's own; the house asks by name, in catalog/queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.workspace.lake_reads import open_lake_to_read
from flows.workspace.settings import Settings


def read_rows_of(
    settings: Settings, sql: str, parameters: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """Rows of a statement, on a read-only attachment of the workspace's lake."""
    with open_lake_to_read(settings) as lake:
        return lake.rows(sql, parameters)

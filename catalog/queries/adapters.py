"""Adapters on record: how many, of which representation, and what a bundle tells of one. Reads."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from catalog.stores.rows import Rows

Row = dict[str, Any]


def count_encoded_adapters(lake: Rows, adapter_ids: Collection[str], *, encoder_id: str) -> int:
    """How many of these adapters have a representation under an encoder."""
    rows = lake.rows(
        "SELECT count(*) AS n FROM core.adapters"
        " JOIN core.representations USING (representation_id)"
        " WHERE encoder_id = ? AND list_contains(?, adapter_id)",
        [encoder_id, list(adapter_ids)],
    )
    return int(rows[0]["n"])

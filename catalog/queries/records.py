"""One record by its id, whatever kind it is of, and whether a table has any. Reads only."""

from __future__ import annotations

from typing import Any

from catalog.errors import RecordNotFound
from catalog.stores.rows import Rows

Row = dict[str, Any]


def find_record(lake: Rows, record_id: str) -> Row | None:
    """The row of an adapter, a representation or an ensemble; None if there is none.

    An id begins with what it names, and so do its table and its key: `adapter:site_a@...` is a row
    of core.adapters by its adapter_id.
    """
    kind = record_id.partition(":")[0]
    rows = lake.rows(f"FROM core.{kind}s WHERE {kind}_id = ?", [record_id])
    return rows[0] if rows else None


def find_base(lake: Rows, base_id: str) -> Row | None:
    """The row of a base, whose id begins with its name and not with a kind."""
    rows = lake.rows("FROM core.bases WHERE base_id = ?", [base_id])
    return rows[0] if rows else None


def read_record(lake: Rows, record_id: str) -> Row:
    """The row of a record that must be there.

    Raises:
        RecordNotFound: there is none.
    """
    row = find_record(lake, record_id)
    if row is None:
        raise RecordNotFound("Nothing is on record under this id.", where=record_id)
    return row


def has_standing_rows(lake: Rows, table: str) -> bool:
    """Whether a table of schema core has a row that no retraction took back."""
    return bool(lake.rows(f"SELECT 1 FROM core.{table} WHERE retracted_at IS NULL LIMIT 1"))

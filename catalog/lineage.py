"""Lineage: edges from what was made to what made it, licences, and what may not be merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rpe_core.errors import InputError, UnknownName

Query = Callable[[str, Sequence[object]], list[dict[str, Any]]]

ROLES = ("batch", "dataset", "base", "representation", "member", "target")


_ANCESTORS = """
WITH RECURSIVE upward AS (
    SELECT child_id, parent_id, role, 1 AS depth FROM core.lineage WHERE child_id = ?
    UNION
    SELECT edge.child_id, edge.parent_id, edge.role, upward.depth + 1
    FROM core.lineage AS edge JOIN upward ON edge.child_id = upward.parent_id
    WHERE upward.depth < 32
)
SELECT child_id, parent_id, role, min(depth) AS depth FROM upward
GROUP BY ALL ORDER BY depth, child_id, role, parent_id
"""


def edges(child_id: str, parents: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Rows of core.lineage for one child; parents are (role, parent_id), repeats count once.

    >>> edges("adapter:a@1", [("base", "minilm@2"), ("base", "minilm@2")])
    [{'child_id': 'adapter:a@1', 'parent_id': 'minilm@2', 'role': 'base'}]

    Raises:
        UnknownName: a role that is none of ROLES.
    """
    for role, _ in parents:
        if role not in ROLES:
            raise UnknownName("lineage role", role, ROLES, where=child_id)
    return [
        {"child_id": child_id, "parent_id": parent_id, "role": role}
        for role, parent_id in dict.fromkeys(parents)
    ]


def ancestors(query: Query, record_id: str) -> list[dict[str, Any]]:
    """Every edge above a record with its depth from 1, nearest first; `query` is `lake.rows`."""
    return query(_ANCESTORS, [record_id])


def require_same_base(base_id: str, members: Mapping[str, str]) -> None:
    """Refuse to merge adapters of another base: members maps adapter_id to base_id.

    Raises:
        InputError: naming the adapters that do not belong.
    """
    others = sorted(name for name, value in members.items() if value != base_id)
    if others:
        raise InputError(
            f"{len(others)} of {len(members)} members belong to another base model.",
            where=", ".join(others),
            expected=base_id,
            remedy="train adapters of these sources under the target's base, or leave them out",
        )


def source_of(dataset_version_id: str) -> str:
    """`dataset:<source>@sha12` -> source.

    >>> source_of("dataset:site_a@0123456789ab")
    'site_a'
    """
    return dataset_version_id.removeprefix("dataset:").rpartition("@")[0]

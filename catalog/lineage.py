"""Lineage: edges from what was made to what made it, licences, and what may not be merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rpe_core.errors import InputError, UnknownName

Query = Callable[[str, Sequence[object]], list[dict[str, Any]]]

ROLES = ("batch", "dataset", "base", "representation", "member", "target")

# From the most open to the strictest. A licence of our own making ("internal", a contract's number)
# is unknown to us and stands above every public one, because nobody outside may rely on it.
LICENSE_ORDER: tuple[tuple[str, ...], ...] = (
    ("public-domain", "cc0-1.0", "unlicense", "0bsd"),
    ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "odc-by", "pddl-1.0"),
    ("cc-by-2.0", "cc-by-3.0", "cc-by-4.0"),
    ("cc-by-sa-3.0", "cc-by-sa-4.0", "odbl-1.0", "gpl-3.0", "lgpl-3.0", "mpl-2.0"),
    ("cc-by-nd-4.0",),
    ("cc-by-nc-3.0", "cc-by-nc-4.0"),
    ("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    ("cc-by-nc-nd-4.0",),
    ("research-only", "non-commercial"),
)
_RANKS = {name: rank for rank, names in enumerate(LICENSE_ORDER) for name in names}
_UNKNOWN_RANK = len(LICENSE_ORDER)
_CLOSED_RANKS = {"internal": _UNKNOWN_RANK + 1, "restricted": _UNKNOWN_RANK + 2}
UNSPECIFIED = "unspecified"

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


def license_rank(name: str) -> int:
    """How strict a licence is: larger is stricter, and a name that is not public is above those.

    >>> license_rank("CC0-1.0") < license_rank("cc-by-4.0") < license_rank("internal")
    True
    """
    key = name.strip().lower()
    return _CLOSED_RANKS.get(key, _RANKS.get(key, _UNKNOWN_RANK))


def strictest_license(licenses: Sequence[str]) -> str:
    """The licence that what is made of all of these must be held to.

    Different licences of one rank bind together, because neither covers the other.

    >>> strictest_license(["CC-BY-4.0", "cc0-1.0"])
    'CC-BY-4.0'
    >>> strictest_license(["agreement 7", "agreement 4", "MIT"])
    'agreement 4 AND agreement 7'
    >>> strictest_license([])
    'unspecified'
    """
    if not licenses:
        return UNSPECIFIED
    strictest = max(license_rank(name) for name in licenses)
    bound = {name.strip().lower(): name.strip() for name in sorted(licenses)}
    return " AND ".join(
        shown for key, shown in sorted(bound.items()) if license_rank(key) == strictest
    )


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

"""Damage of LoRA-VecDB: representations and adapters on record without their very vector."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from catalog.damaged import CHANGED, GONE, REPAIR, UNREADABLE, Damage
from catalog.errors import StoreError
from catalog.stores.lake import Lake
from catalog.stores.vector_rows import FiledRow
from catalog.stores.vectors import Vectors

Row = Mapping[str, Any]
Key = tuple[str, str | None]  # representation, and the adapter that is filed under it

_NAMED = 3
_SAME_NORM = 1e-12  # relative: of a vector whose hash is not on record
_COST = "What is served goes on; no target can be held against them, so no ensemble can be made"


def damage_of_vectors(lake: Lake, vectors: Vectors | None, *, is_deep: bool) -> list[Damage]:
    """Representations and filed adapters that LoRA-VecDB has not, or not as they were kept.

    With `is_deep` every vector is hashed; one from before hashes were on record is held against
    its length. None is a store that is gone.

    Raises:
        StoreError: the records of the lake cannot be read.
    """
    by_encoder: dict[str, dict[Key, Row]] = defaultdict(dict)
    filed = _filed_under(lake)
    for row in lake.rows("SELECT * FROM core.representations WHERE retracted_at IS NULL"):
        by_encoder[row["encoder_id"]][row["representation_id"], None] = row
        for adapter_id in filed.get(row["representation_id"], ()):
            by_encoder[row["encoder_id"]][row["representation_id"], adapter_id] = row
    return [
        damage
        for encoder_id, wanted in sorted(by_encoder.items())
        for damage in _of_encoder(encoder_id, wanted, vectors, is_deep=is_deep)
    ]


def count_unhashed(lake: Lake) -> int:
    """How many vectors were kept before their hash was."""
    rows = lake.rows("SELECT * FROM core.representations WHERE retracted_at IS NULL")
    return sum(row.get("vector_sha256") is None for row in rows)


def _filed_under(lake: Lake) -> dict[str, list[str]]:
    found = defaultdict(list)
    rows = lake.rows(
        "SELECT adapter_id, representation_id FROM core.adapters WHERE retracted_at IS NULL"
    )
    for row in rows:
        found[row["representation_id"]].append(row["adapter_id"])
    return found


def _of_encoder(
    encoder_id: str, wanted: Mapping[Key, Row], vectors: Vectors | None, *, is_deep: bool
) -> Iterator[Damage]:
    try:
        filed = vectors.filed(encoder_id, is_hashed=is_deep) if vectors else []
    except StoreError:
        yield _damage(encoder_id, wanted, UNREADABLE)
        return
    there = {(row.representation_id, row.adapter_id): row for row in filed}
    placed = {representation_id for representation_id, _ in there}
    # an imported one lies under its adapters alone
    if lost := [key for key in wanted if key not in there and (key[1] or key[0] not in placed)]:
        yield _damage(encoder_id, lost, GONE)
    if odd := [key for key, row in wanted.items() if key in there and not _is(row, there[key])]:
        yield _damage(encoder_id, odd, CHANGED)


def _is(row: Row, filed: FiledRow) -> bool:
    """Whether what is filed is what the record says; of a vector that was not read but the rest."""
    facts = ("dataset_version_id", "role", "n_items")
    if any(row[name] != getattr(filed, name) for name in facts):
        return False
    if not filed.vector_sha256:
        return True
    if row.get("vector_sha256") is not None:
        return bool(row["vector_sha256"] == filed.vector_sha256)
    return math.isclose(row["norm"], filed.norm, rel_tol=_SAME_NORM)


def _damage(encoder_id: str, keys: Mapping[Key, Row] | list[Key], what: str) -> Damage:
    ids = sorted({adapter_id or representation_id for representation_id, adapter_id in keys})
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    where = f"The vector of {', '.join(ids[:_NAMED])}{more} under {encoder_id}"
    return Damage("vectors", where, what, tuple(ids), _COST, REPAIR)

"""Damage of LoRA-VecDB: representations and adapters on record without their very vector."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from catalog.errors import StoreError
from catalog.integrity.damage import (
    CHANGED,
    GONE,
    REPAIR,
    UNREADABLE,
    Damage,
    difference,
    first_names,
)
from catalog.stores.lake.lake import Lake
from catalog.stores.places import PlacedFile
from catalog.stores.vectors.files import (
    KeptFile,
    KeptTable,
    is_cleaning,
    kept_tables,
    tables_there,
    versions_of,
)
from catalog.stores.vectors.rows import FiledRow
from catalog.stores.vectors.vectors import Vectors

Row = Mapping[str, Any]
Key = tuple[str, str | None]  # representation, and the adapter that is filed under it

_SAME_NORM = 1e-12  # relative: of a vector whose hash is not on record
_COST_OF_FILE = "A vector that is another for it is named by itself"
_COST = "What is served goes on; no target can be held against them, so no ensemble can be made"


def damage_of_vectors(lake: Lake, vectors: Vectors | None, *, is_deep: bool) -> list[Damage]:
    """Representations and filed adapters that LoRA-VecDB has not, or not as they were kept.

    With `is_deep` every vector is hashed, and every file; a vector from before hashes were on
    record is held against its length. None is a store that is gone.

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
    ] + (damage_of_tables(lake, vectors, is_deep=is_deep) if vectors else [])


def damage_of_tables(lake: Lake, vectors: Vectors, *, is_deep: bool) -> list[Damage]:
    """Files of Lance's tables that are gone, of another length or, by hash, others.

    `ids` is the table. One that cannot be opened is told by its vectors.
    """
    was_cleaning = is_cleaning(vectors.uri)
    kept, there, tokens = kept_tables(lake), tables_there(vectors.uri), vectors.tokens()
    is_busy = was_cleaning or is_cleaning(vectors.uri)
    return [
        Damage("vectors", f"vectors/{table}.lance/{name}", what, (table,), _COST_OF_FILE, REPAIR)
        for table, token in sorted(tokens.items())
        if table in kept and table in there
        for name, what in _odd_files(
            kept[table], token, there[table], is_deep=is_deep, is_busy=is_busy
        )
    ]


def count_unhashed_files(lake: Lake, vectors: Vectors) -> int:
    """How many files of tables no close has put on record yet."""
    kept = kept_tables(lake)
    none: dict[str, object] = {}
    return sum(
        name not in (kept[table].files if table in kept else none)
        for table, lying in tables_there(vectors.uri).items()
        for name in lying
    )


def _odd_files(
    kept: KeptTable, token: str, lying: Mapping[str, PlacedFile], *, is_deep: bool, is_busy: bool
) -> Iterator[tuple[str, str]]:
    if kept.is_made_anew(token, lying) or not (versions := versions_of(lying)):
        return
    if token != kept.token:
        yield "_versions", f"{CHANGED}: the newest version tells of another table"
    may_be_gone = is_busy or kept.is_cleaned(min(versions))
    for name, file in sorted(kept.files.items()):
        if name not in lying:
            if not may_be_gone:
                yield name, GONE
        elif what := _difference(file, lying[name], is_deep=is_deep):
            yield name, what


def _difference(kept: KeptFile, lying: PlacedFile, *, is_deep: bool) -> str:
    """What is wrong with a file that lies there, or nothing."""
    try:
        return difference(lying, kept.n_bytes, kept.sha256 if is_deep else None)
    except StoreError:
        # cleaned away since it was listed, or not to be read
        return UNREADABLE if lying.path is None or lying.path.exists() else ""


def count_unhashed(lake: Lake) -> int:
    """How many vectors were kept before their hash was."""
    rows = lake.rows("SELECT * FROM core.representations WHERE retracted_at IS NULL")
    return sum(row.get("vector_sha256") is None for row in rows)


def _filed_under(lake: Lake) -> dict[str, list[str]]:
    adapters = defaultdict(list)
    rows = lake.rows(
        "SELECT adapter_id, representation_id FROM core.adapters WHERE retracted_at IS NULL"
    )
    for row in rows:
        adapters[row["representation_id"]].append(row["adapter_id"])
    return adapters


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
    where = f"The vector of {first_names(ids)} under {encoder_id}"
    return Damage("vectors", where, what, tuple(ids), _COST, REPAIR)

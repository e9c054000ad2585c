"""The leaves of nested Parquet columns, told by the structure and never by a name with dots."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias

import pyarrow as pa

from catalog.contracts.paths import Name, Path, Where

Names: TypeAlias = tuple[str, ...]  # of a column and the fields below it; lists have none


def wanted_names(paths: Collection[Path]) -> list[Names]:
    """The fields that walking these paths reads.

    >>> from catalog.contracts.paths import path_steps
    >>> wanted_names([path_steps("code.coding[system=x].code")])
    [('code', 'coding', 'code'), ('code', 'coding', 'system')]
    """
    wanted: dict[Names, None] = {}
    for path in paths:
        inner: list[Names] = []
        names: Names = ()
        for step in path:
            if isinstance(step, Name):
                names = (*names, step.name)
            elif isinstance(step, Where):
                inner.append((*names, *step.fields))
        wanted.update(dict.fromkeys([names, *inner]))
    return list(wanted)


def leaf_names(schema: pa.Schema) -> list[Names]:
    """The fields above each leaf of a file, in the order of its leaves; of a map up to the map."""
    return [names for field in schema for names in _below(field.type, (field.name,))]


def leaf_places(schema: pa.Schema, wanted: Sequence[Names]) -> list[int]:
    """The places of the leaves that hold these fields, or anything of them."""
    places = []
    for index, leaf in enumerate(leaf_names(schema)):
        if any(leaf[: len(names)] == names[: len(leaf)] for names in wanted):
            places.append(index)
    return places


def _below(kind: pa.DataType, names: Names) -> Iterator[Names]:
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    types = pa.types
    if types.is_map(kind):
        for inner in (kind.key_type, kind.item_type):
            yield from (names for _ in _below(inner, names))
    elif types.is_struct(kind):
        for field in kind:
            yield from _below(field.type, (*names, field.name))
    elif is_list(kind):
        yield from _below(kind.value_type, names)
    else:
        yield names


def is_list(kind: pa.DataType) -> bool:
    """Whether cells of this type are lists, in whatever way they are stored."""
    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )

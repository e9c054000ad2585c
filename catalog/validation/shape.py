"""A contract against the one in force: what of its shape changed, by names of columns and keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from catalog.contracts.contract import SourceContract
from catalog.errors import Fault

_REMEDY = "data are there under the old shape: restore it, or give the changed data a new source"


def shape_faults(recorded_json: str, contract: SourceContract) -> list[Fault]:
    """One fault for each difference in columns, task and splits; old values are not shown.

    Args:
        recorded_json: the contract in force, as `core.sources.contract_json` holds it.
        contract: the one that shall replace it.
    """
    old, new = json.loads(recorded_json), contract.model_dump(mode="json")
    paths = [
        path
        for part in ("columns", "task", "splits")
        for path in _differences(part, old.get(part), new.get(part))
    ]
    return [Fault(path, what, _REMEDY) for path, what in paths]


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, str]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            inner = f"{path}.{key}"
            if key not in new:
                yield inner, "is gone"
            elif key not in old:
                yield inner, "is new"
            else:
                yield from _differences(inner, old[key], new[key])
    elif old != new:
        yield path, "has changed"

"""The sound parts of a contract that may have faults elsewhere, for the rules that join them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from catalog.contracts.contract import ColumnRule, DeclaredExpectation, Splits, Task
from catalog.contracts.files import Files
from catalog.contracts.images import with_facts


@dataclass(frozen=True)
class Parts:
    """What of a contract is sound by itself; a part that is not has its own fault already."""

    names: tuple[str, ...]
    columns: Mapping[str, ColumnRule]
    files: Files | None
    task: Task | None
    splits: BaseModel | None
    expectations: tuple[DeclaredExpectation, ...]


def sound_parts(data: Mapping[str, Any]) -> Parts:
    """The parts of a contract's plain mapping, with the facts among the columns of images."""
    raw = with_facts(data).get("columns")
    columns = raw if isinstance(raw, dict) else {}
    sound = {name: _sound(ColumnRule, rule) for name, rule in columns.items()}
    expectations = data.get("expectations")
    listed = expectations if isinstance(expectations, list) else []
    return Parts(
        names=tuple(columns),
        columns={name: rule for name, rule in sound.items() if rule is not None},
        files=_sound(Files, data.get("files")),
        task=_sound(Task, data.get("task")),
        splits=_sound(Splits, data["splits"]) if "splits" in data else None,
        expectations=tuple(e for e in (_sound(DeclaredExpectation, item) for item in listed) if e),
    )


def _sound(kind: Any, value: Any) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return None

"""Names of a base model: hub id, folder or snapshot of the hub's cache, and when they agree."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_MACHINE_PATH = re.compile(r"[/~.]|[A-Za-z]:|.*\\")
_CACHED = "models--"  # how the hub's cache calls the folder of a model: models--Qwen--X
_PLACES = {  # first parts that say where a folder lies, and not whose model it is
    "base", "base_model", "base_models", "builtin", "checkpoint", "checkpoints", "hf_models",
    "llm", "llms", "local", "local_models", "model", "model_zoo", "models", "output", "outputs",
    "pretrained", "pretrained_models", "weights",
}  # fmt: skip


class BaseName(NamedTuple):
    """Whose model it is, where the name says so, and how it is called."""

    owner: str
    model: str

    def agrees(self, other: BaseName) -> bool:
        """Whether both may name one model, whatever the case of the letters."""
        owners = {self.owner.casefold(), other.owner.casefold()} - {""}
        return self.model.casefold() == other.model.casefold() and len(owners) < 2


def is_machine_path(name: str) -> bool:
    """Whether a base name is a path of some machine and not a logical name.

    >>> is_machine_path("/home/jane/model"), is_machine_path("facebook/sam-vit-base")
    (True, False)
    """
    return _MACHINE_PATH.match(name) is not None


def read_base_name(name: str) -> BaseName:
    """What a name says of the model, without the place where it lies on some machine.

    >>> read_base_name("Qwen/X"), read_base_name("models/X/")
    (BaseName(owner='Qwen', model='X'), BaseName(owner='', model='X'))
    >>> read_base_name("/cache/models--Qwen--X/snapshots/0123456789abcdef")
    BaseName(owner='Qwen', model='X')
    """
    parts = [part for part in re.split(r"[/\\:]", name) if part not in ("", ".")]
    cached = [part for part in parts if part.startswith(_CACHED)]
    if cached:
        owner, _, model = cached[-1].removeprefix(_CACHED).rpartition("--")
        return BaseName(owner, model)
    is_owned = len(parts) == 2 and not is_machine_path(name) and parts[0].lower() not in _PLACES
    return BaseName(parts[0] if is_owned else "", parts[-1] if parts else "")


def common_name(names: Iterable[str]) -> str | None:
    """The logical name that all agree on, None where they do not, "" where none says one.

    Of a path it is the last part; of several spellings one with an owner.
    """
    by_name = {name: read_base_name(name) for name in sorted(set(names)) if name}
    base_names = list(by_name.values())
    if not all(base_name.agrees(other) for base_name in base_names for other in base_names):
        return None
    owned = sorted(
        {f"{base_name.owner}/{base_name.model}" for base_name in base_names if base_name.owner}
    )
    plain = {name for name in by_name if not is_machine_path(name) and _CACHED not in name}
    bare = sorted(
        plain | {base_name.model for name, base_name in by_name.items() if name not in plain}
    )
    return next(reversed([*bare, *owned]), "")

"""The table of adapter methods: name -> module. No method's own code belongs here."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from rpe_core.errors import UnknownName

ADAPTER_METHODS: dict[str, str] = {"lora": "rpe_core.adapters.lora"}


def load_method(name: str) -> ModuleType:
    """The module of a method (injection.AdapterMethod says what it holds), imported when asked for.

    Raises:
        UnknownName: if no method has this name.
    """
    if name not in ADAPTER_METHODS:
        raise UnknownName("adapter method", name, ADAPTER_METHODS)
    return import_module(ADAPTER_METHODS[name])

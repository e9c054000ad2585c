"""What numbers were made with: the versions of the libraries that their last digits depend on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import version

NUMERIC = ("torch", "peft", "transformers", "safetensors", "numpy")


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Installed version of each package."""
    return {name: _version(name) for name in packages}


@cache
def _version(name: str) -> str:
    return version(name)

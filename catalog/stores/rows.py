"""Whoever answers SQL with rows: all that the other stores know of the lake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol


class Rows(Protocol):
    """What answers statements with rows: the lake, or a transaction on it."""

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Rows of one statement as dictionaries."""


class NothingYet:
    """The lake before there is one: no statement finds a row."""

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """No row."""
        return []


def named_in(text: str | None, key: str = "") -> dict[str, str]:
    """Names and hashes in a text of JSON; none where somebody else wrote it."""
    try:
        content = json.loads(text or "{}")
        content = content[key] if key else content
        return {str(name): str(sha256) for name, sha256 in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}

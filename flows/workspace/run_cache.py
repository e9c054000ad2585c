"""Run cache: what units of one run share, in sections that each have a type of key and of value."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class CacheSection(Generic[K, V]):
    """One kind of what is shared, by the types of its keys and values.

    It is a constant beside the function that fills it. Each is equal to itself only, so that two of
    one name never see each other's values.
    """

    name: str


@dataclass(frozen=True)
class RunCache:
    """What was found in a run so far; a section states the types, and mypy holds callers to them.

    >>> squares = CacheSection[int, int]("squares")
    >>> cache = RunCache()
    >>> cache.get(squares, 3, lambda: 3 * 3), cache.get(squares, 3, lambda: 0)
    (9, 9)
    >>> cache.known(squares)
    {3: 9}
    """

    _sections: dict[CacheSection[Any, Any], dict[Any, Any]] = field(default_factory=dict)

    def known(self, section: CacheSection[K, V]) -> dict[K, V]:
        """The values of a section so far, by key; to be filled where many come at once."""
        return self._sections.setdefault(section, {})

    def get(self, section: CacheSection[K, V], key: K, find: Callable[[], V]) -> V:
        """The value of a key, found once a run; a `find` that fails leaves nothing."""
        known = self.known(section)
        if key not in known:
            known[key] = find()
        return known[key]

"""Path templates of image sources: `{name}` placeholders into a glob, a regex and column values."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from functools import cached_property

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_WILD = re.compile(r"[*?{]")


@dataclass(frozen=True)
class Template:
    """A path in which `{name}` stands for a part of a file's name, `*` and `?` for any letters.

    A placeholder takes at least one letter, never a slash, and of two in one part the first takes
    as little as it can; one that is repeated stands for the same letters everywhere.

    >>> Template("/data/{site}/{case}.png").match("/data/a/x.1.png")
    {'site': 'a', 'case': 'x.1'}
    >>> Template("/data/{case}/{case}.png").match("/data/x/y.png") is None
    True
    """

    text: str

    @property
    def names(self) -> tuple[str, ...]:
        """The placeholders in the order of their first place."""
        return tuple(dict.fromkeys(PLACEHOLDER.findall(self.text)))

    @property
    def glob(self) -> str:
        """A glob that finds at least every file that matches."""
        return PLACEHOLDER.sub("*", self.text)

    @property
    def root(self) -> str:
        """The folder that is the same for all files, with its slash.

        >>> Template("/data/{site}/{case}.png").root
        '/data/'
        """
        fixed = _WILD.split(self.text, maxsplit=1)[0]
        return fixed[: fixed.rfind("/") + 1]

    @property
    def folder(self) -> Template:
        """The template of the folders that hold the files: of a series each."""
        return Template(posixpath.dirname(self.text))

    def match(self, path: str) -> dict[str, str] | None:
        """What each placeholder stands for in a path, or None where it does not match."""
        match = self._pattern.fullmatch(path)
        return match.groupdict() if match else None

    def name_of(self, path: str) -> str:
        """The path without the root: a name that holds no place of a machine."""
        return path.removeprefix(self.root)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pieces, seen = [], set()
        for index, piece in enumerate(PLACEHOLDER.split(self.text)):
            if index % 2 == 0:
                escaped = re.escape(piece).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
                pieces.append(escaped)
            elif piece in seen:
                pieces.append(f"(?P={piece})")
            else:
                pieces.append(f"(?P<{piece}>[^/]+?)")
                seen.add(piece)
        return re.compile("".join(pieces), re.DOTALL)

"""What the columns of a file are called in the contract, and which of their names may be shown."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from catalog.contracts.column_names import is_column_name
from catalog.contracts.contract import ColumnRule
from catalog.contracts.paths import flat_name
from catalog.readers.files import FileUnreadable
from catalog.readers.headers import looks_like_value


class DraftName(NamedTuple):
    """What a draft calls a column, and `in_file` where the file calls it otherwise."""

    name: str
    in_file: str | int | None = None
    said: tuple[tuple[str, str], ...] = ()  # further keys of its rule: a path, how a list is joined

    @property
    def is_told(self) -> bool:
        """Whether the name says what the column is; else it is only a place."""
        return not isinstance(self.in_file, int)


def draft_names(names: Sequence[str], *, is_header: bool) -> list[DraftName]:
    """Names for the columns of a file that a contract takes, in the order of the file.

    A column without a name, or whose name may be somebody's data, is called by its place.

    >>> [n[:2] for n in draft_names(["id", "ID", "", "a;b", "Jane Doe"], is_header=True)]
    [('id', None), ('ID_2', 'ID'), ('column_3', 3), ('a_b', 'a;b'), ('column_5', 5)]
    """
    drafted: list[DraftName] = []
    taken: set[str] = set()
    for number, name in enumerate(names, start=1):
        is_told = is_header and bool(name.strip()) and not looks_like_value(name)
        wanted = name if is_told and is_column_name(name) else ""
        if not wanted or wanted.casefold() in taken:
            wanted = _free(_plain(name) if is_told else f"column_{number}", taken)
        taken.add(wanted.casefold())
        in_file = name if is_told else number
        drafted.append(DraftName(wanted, None if wanted == in_file else in_file))
    return drafted


def _plain(name: str) -> str:
    """The name in letters, digits and underscores, as every contract takes them."""
    folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9]+", "_", folded).strip("_")
    return plain if plain[:1].isalpha() and is_column_name(plain) else f"column_{plain}".rstrip("_")


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where another column has it."""
    number, free = 2, name
    while free.casefold() in taken:
        number, free = number + 1, f"{name}_{number}"
    return free


def contract_names(names: Sequence[str], columns: Mapping[str, ColumnRule]) -> list[str]:
    """The columns of a file by their names in the contract, in the order of the file.

    A column that no rule names keeps its own name; one that the contract gives to another column
    is marked, so that neither is taken for the other.

    >>> rules = {"id": ColumnRule(type="string", in_file="ID"), "n": ColumnRule(type="integer")}
    >>> contract_names(["id", "ID", "n"], rules)
    ['id (not declared)', 'id', 'n']
    """
    flat = {name: flat_name(name, rule) for name, rule in columns.items()}
    called: dict[str | int, str] = {
        header: name for name, header in flat.items() if header is not None
    }
    return [
        called.get(number) or called.get(name) or _undeclared(name, number, columns)
        for number, name in enumerate(names, start=1)
    ]


def _undeclared(name: str, number: int, columns: Mapping[str, ColumnRule]) -> str:
    shown = name or f"column {number}"
    return f"{shown} (not declared)" if shown in columns else shown


def check_distinct(names: Sequence[str], uri: str) -> None:
    """Refuse a file in which two columns have one name.

    Raises:
        FileUnreadable: if a name is there twice.
    """
    doubles = sum(count - 1 for count in Counter(names).values())
    if doubles:
        reason = f"{doubles} of its {len(names)} column names repeat another"
        raise FileUnreadable(uri, reason, remedy="export it with distinct column names")

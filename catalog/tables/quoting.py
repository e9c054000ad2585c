"""Quotes of SQL: a text as a literal, a name as an identifier. No statement belongs here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath


def quote_text(value: str | PurePath) -> str:
    """A string, or the path of a file, as a literal of SQL.

    >>> quote_text("it's")
    "'it''s'"
    """
    return "'" + str(value).replace("'", "''") + "'"


def quote_texts(values: Iterable[str | PurePath]) -> str:
    """Strings as literals of SQL, joined by commas.

    >>> quote_texts(["a", "b'c"])
    "'a', 'b''c'"
    """
    return ", ".join(map(quote_text, values))


def quote_identifier(identifier: str) -> str:
    """An identifier of SQL in quotes.

    >>> quote_identifier('a"b')
    '"a""b"'
    """
    return '"' + identifier.replace('"', '""') + '"'

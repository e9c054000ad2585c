"""The `mart` views as files: SQL below a head of comments that documents view and columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from catalog.errors import StoreError
from catalog.tables.spec import Column

_COLUMN = re.compile(r"-- (?P<name>[a-z][a-z0-9_]*)(?: \[(?P<unit>[^\]]+)\])?: (?P<doc>.+)")
CATALOGUE = "columns"  # the view that documents the others is filled from their heads


@dataclass(frozen=True)
class ViewSpec:
    """A view of schema `mart`: meaning, columns (their types are DuckDB's to tell) and SQL."""

    name: str
    doc: str
    columns: tuple[Column, ...]
    sql: str


def parse_view(name: str, text: str) -> ViewSpec:
    r"""The head: what the view is in the first line, then `-- column [unit]: meaning`, then SQL.

    >>> view = parse_view("v", "-- All rows\n-- a [rows]: how many\nSELECT 1 AS a\n")
    >>> view.doc, view.columns[0].unit, view.sql
    ('All rows', 'rows', 'SELECT 1 AS a')

    Raises:
        StoreError: the head is not of this form.
    """
    lines = text.splitlines()
    size = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    matches = [_COLUMN.fullmatch(line) for line in lines[1:size]]
    if size < 2 or not all(matches):
        raise StoreError(
            f"The head of view '{name}' is not understood.",
            where=f"catalog/views/{name}.sql",
            expected="a line that says what it is, then one line `-- column [unit]: meaning` each",
        )
    columns = tuple(
        Column(match["name"], "", match["doc"], match["unit"] or "") for match in matches if match
    )
    return ViewSpec(name, lines[0][3:], columns, "\n".join(lines[size:]).strip())


@cache
def read_view(name: str) -> ViewSpec:
    """The view of one file of catalog/views."""
    text = (files("catalog") / "views" / f"{name}.sql").read_text(encoding="utf-8")
    return parse_view(name, text)


def load_views() -> tuple[ViewSpec, ...]:
    """Every file of catalog/views in order of name, the catalogue of columns last."""
    views = [
        read_view(entry.name.removesuffix(".sql"))
        for entry in (files("catalog") / "views").iterdir()
        if entry.name.endswith(".sql")
    ]
    return tuple(sorted(views, key=lambda view: (view.name == CATALOGUE, view.name)))

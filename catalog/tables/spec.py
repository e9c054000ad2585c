"""How a table of the lake is declared: columns with type, meaning and unit, and the key."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column: its name, DuckDB type, meaning, and unit ('' where it has none)."""

    name: str
    type: str
    doc: str
    unit: str = ""


@dataclass(frozen=True)
class TableSpec:
    """A table of schema `core`: rows are new if their key is new."""

    name: str
    key: tuple[str, ...]
    doc: str
    columns: tuple[Column, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in the order of the table."""
        return tuple(column.name for column in self.columns)


def text(name: str, doc: str) -> Column:
    """A column of text."""
    return Column(name, "VARCHAR", doc)


def count(name: str, doc: str) -> Column:
    """A column of whole numbers: rows, where the name begins with `n_`."""
    return Column(name, "BIGINT", doc, "rows" if name.startswith("n_") else "")


def number(name: str, doc: str, unit: str = "") -> Column:
    """A column of fp64 numbers in this unit."""
    return Column(name, "DOUBLE", doc, unit)


def flag(name: str, doc: str) -> Column:
    """A column of truth values."""
    return Column(name, "BOOLEAN", doc)


RECORDED = Column("recorded_at", "TIMESTAMPTZ", "when the row was committed", "UTC")
HISTORY = (
    RECORDED,
    Column(
        "superseded_at",
        "TIMESTAMPTZ",
        "when a newer record took its place; null while current",
        "UTC",
    ),
    Column("retracted_at", "TIMESTAMPTZ", "when it was withdrawn; null while it stands", "UTC"),
)

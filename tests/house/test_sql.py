"""The house itself: each question to the lake has a name in the catalog; no flow spells SQL."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Prefect's own database, of which the catalog knows nothing
OTHERS = {"flows/runs/prefect_records.py"}
FLOWS = [
    path
    for path in sorted((ROOT / "flows").rglob("*.py"))
    if str(path.relative_to(ROOT)) not in OTHERS
]
STATEMENT = re.compile(
    r"\s*(SELECT|INSERT INTO|DELETE FROM|UPDATE|WITH|FROM|CREATE|DROP|PRAGMA|VACUUM|ATTACH) +\S"
    r"|.*\b(FROM|JOIN|INTO) +(core|mart|raw|quarantine|sqlite_master)\b"
    r"|.*\bSELECT\b.+\bFROM\b",
    re.DOTALL,
)
SHOWN = "rpe sql"  # a command that is shown to a person


def sql_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each statement of SQL among the strings, docstrings aside."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if id(node) in documentation | parts:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if STATEMENT.match(text) and SHOWN not in text:
            yield node.lineno, text


@pytest.mark.parametrize("path", FLOWS, ids=lambda p: str(p.relative_to(ROOT)))
def test_flows_ask_by_name(path: Path) -> None:
    assert list(sql_in(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "line",
    [
        'lake.rows("SELECT 1 FROM core.runs")',
        'lake.rows("FROM core.runs WHERE run_id = ?", [name])',
        'lake.rows(f"FROM core.{table} WHERE {column} = ?")',
        'lake.rows(f"SELECT {names} value FROM core.scores")',
        'asked = "WITH newest AS (SELECT 1) SELECT * FROM newest"',
        'database.execute("PRAGMA quick_check(1)")',
        'part = " JOIN mart.alerts USING (run_id)"',
    ],
)
def test_sql_is_seen(line: str) -> None:
    assert list(sql_in(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "say(f'rpe sql \"SELECT * FROM mart.{view}\"')",
        'Option(help="One SELECT, SHOW TABLES or DESCRIBE.")',
        'remedy="set as core.promotions says"',
        'def ask() -> None:\n    """SELECT 1 FROM core.runs says so."""',
    ],
)
def test_words_are_no_sql(line: str) -> None:
    assert not list(sql_in(ast.parse(line)))

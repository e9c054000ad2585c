"""The house itself: floors, imports, first lines, sizes, and the tables of the README."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.tables.schema import QUARANTINE_COLUMNS, RAW_COLUMNS, TABLES

ROOT = Path(__file__).parents[2]
MODULES = sorted(p for top in ("rpe_core", "catalog", "flows") for p in (ROOT / top).rglob("*.py"))
PLATFORM = ("prefect", "mlflow", "lancedb", "duckdb", "great_expectations", "pydantic_settings")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_says_what_belongs_there_and_is_short(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the first line says what belongs here"
    assert len(text.splitlines()) <= 450
    if path.name == "__init__.py":
        assert len(tree.body) == 1, "an __init__ holds one docstring and nothing else"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_are_short_and_typed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_told = ast.get_docstring(node) is not None
            start = node.body[0].end_lineno if is_told else node.lineno - 1  # code, not docstring
            head = node.body[0].lineno - node.lineno if is_told else 0
            lines = head + (node.end_lineno or 0) - (start or 0)
            assert lines <= 40, f"{node.name} has {lines} lines"
            assert node.returns is not None, f"{node.name} does not say what it returns"


def test_core_loads_no_platform_package() -> None:
    code = (
        "import sys, pkgutil, importlib, rpe_core\n"
        "for m in pkgutil.walk_packages(rpe_core.__path__, 'rpe_core.'):\n"
        "    importlib.import_module(m.name)\n"
        f"print([m for m in {PLATFORM!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_imports_run_one_way() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_every_column_is_documented(table) -> None:
    assert table.doc
    assert set(table.key) <= set(table.column_names)
    for column in table.columns:
        assert column.doc, column.name
        if column.name.startswith("n_") or column.name.endswith(("_seconds", "_bytes", "_ratio")):
            assert column.unit, column.name
        for unit in ("seconds", "bytes"):  # by it a record is known to be the same at other costs
            assert column.unit == unit or not column.name.endswith(f"_{unit}"), column.name


def test_system_columns_are_documented() -> None:
    assert all(column.doc for column in (*RAW_COLUMNS, *QUARANTINE_COLUMNS))


def test_help_answers_without_heavy_imports() -> None:
    code = (
        "import sys, flows.cli\n"
        "print([m for m in ('torch', 'prefect', 'mlflow', 'duckdb', 'pyarrow', 'numpy')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Said once: what each part of the house would otherwise write again in words of its own."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for top in ("rpe_core", "catalog", "flows")
    for path in sorted((ROOT / top).rglob("*.py"))
}
Sign = Callable[[ast.AST], bool]


def doubles_quotes(node: ast.AST) -> bool:
    """`text.replace("'", "''")`, or the same of double quotes."""
    told = [arg.value for arg in _arguments(node, "replace") if isinstance(arg, ast.Constant)]
    return told in (["'", "''"], ['"', '""'])


def renames(node: ast.AST) -> bool:
    """`path.replace(other)`: a text's takes two arguments."""
    return len(_arguments(node, "replace")) == 1


def asks_after_a_process(node: ast.AST) -> bool:
    """`os.kill(pid, 0)`."""
    given = _arguments(node, "kill")
    return len(given) == 2 and isinstance(given[1], ast.Constant) and given[1].value == 0


def sums_a_binomial(node: ast.AST) -> bool:
    """A quantile of the beta distribution, or the sum that it turns round."""
    return isinstance(node, ast.Attribute | ast.Name) and _name(node) in ("betaincinv", "lgamma")


SAID = {
    doubles_quotes: {
        "catalog/tables/quoting.py",
        "catalog/contracts/paths.py",  # a contract's path of fields, which is no SQL
    },
    renames: {
        "catalog/stores/disk.py",
        # whole folders, and a database that its driver writes
        "catalog/stores/artifacts/artifacts.py",
        "catalog/stores/artifacts/portable.py",
        "catalog/stores/registry/connection.py",
        "catalog/stores/registry/restoration.py",
        "catalog/stores/vectors/parts.py",
        "rpe_core/merging/files/writing.py",
    },
    asks_after_a_process: set(),  # psutil.pid_exists knows pids of other users, and zombies
    sums_a_binomial: {"rpe_core/weighting/binomial.py"},
}


@pytest.mark.parametrize("sign", SAID, ids=lambda sign: sign.__name__)
def test_it_stands_where_it_is_said_and_nowhere_else(sign: Sign) -> None:
    found = {
        name
        for name, source in MODULES.items()
        if any(sign(node) for node in ast.walk(ast.parse(source)))
    }
    assert found == SAID[sign]


def _arguments(node: ast.AST, method: str) -> list[ast.expr]:
    """The positional arguments of a call of a method of this name."""
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return node.args if is_call and node.func.attr == method and not node.keywords else []


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")

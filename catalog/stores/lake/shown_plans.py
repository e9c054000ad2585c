"""Plans of EXPLAIN as they are shown: without the files that ANALYZE lists, which tell places."""

from __future__ import annotations

import json
import re
from typing import Any

import duckdb
import pyarrow as pa

from rpe_core.errors import InputError

_FILES = "Filename(s)"
_PLAN = "explain_value"
_ANALYZE = (b"ANALYZE", b"ANALYSE")
_CELL = re.compile(r"[^\u2500-\u257f]+")  # what stands between lines of a drawn box


def is_explain(sql: str) -> bool:
    """Whether DuckDB takes a single statement for an EXPLAIN."""
    return bool(duckdb.extract_statements(sql)[0].type == duckdb.StatementType.EXPLAIN)


def statement_of_explain(sql: str) -> str:
    """The statement of an EXPLAIN, by DuckDB's own tokens: a comment may hold what looks like one.

    >>> statement_of_explain("EXPLAIN (ANALYZE /*) SELECT 1 --*/ ) FROM core.runs")
    'FROM core.runs'
    """
    text = sql.encode()
    tokens = duckdb.tokenize(sql)  # begin, and end somewhere before the next, in bytes
    words = [re.match(rb"\w+|.?", text[start:], re.DOTALL) for start, _ in tokens]
    names = [word[0].upper() if word else b"" for word in words]
    first = 1
    if names[1:2] == [b"("] and names[2:3] and names[2] in (*_ANALYZE, b"FORMAT"):
        first = names.index(b")") + 1  # no option has brackets of its own
    elif names[1:2] and names[1] in _ANALYZE:
        first = 2
    return text[tokens[first][0] :].decode() if first < len(tokens) else ""


def without_files(plans: pa.Table) -> pa.Table:
    """Plans whose lists of files are blank; as text a box keeps its size.

    Raises:
        InputError: the plan lists files in another form, in which they are not found.
    """
    shown = [_shown(str(plan)) for plan in plans[_PLAN].to_pylist()]
    column = plans.schema.get_field_index(_PLAN)
    return plans.set_column(column, _PLAN, pa.array(shown, pa.string()))


def _shown(plan: str) -> str:
    if _FILES not in plan:
        return plan
    if plan.lstrip()[:1] in "{[":
        return json.dumps(_dropped(json.loads(plan)), indent=4)
    if "\u2502" not in plan:
        raise InputError(
            "This form of EXPLAIN ANALYZE would tell where the files of the lake lie.",
            expected="EXPLAIN ANALYZE, or EXPLAIN (ANALYZE, FORMAT json)",
        )
    return _blanked(plan)


def _dropped(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _dropped(value) for name, value in tree.items() if name != _FILES}
    return [_dropped(node) for node in tree] if isinstance(tree, list) else tree


def _blanked(plan: str) -> str:
    r"""A drawn plan: from the heading down to the next empty line of its box all is blank.

    >>> print(_blanked("│ Filename(s): ││ b │\n│ /home/a.par- ││ c │\n│              ││ d │"))
    │              ││ b │
    │              ││ c │
    │              ││ d │
    """
    hidden: set[int] = set()  # where in a line the boxes begin that are inside a list of files
    lines = []
    for line in plan.split("\n"):
        cells = {cell.start(): cell for cell in _CELL.finditer(line)}
        listing = {start for start in hidden if start in cells and cells[start][0].strip()}
        hidden = listing | {
            start for start, cell in cells.items() if cell[0].strip() == f"{_FILES}:"
        }
        for start in hidden:
            width = len(cells[start][0])
            line = line[:start] + " " * width + line[start + width :]
        lines.append(line)
    return "\n".join(lines)

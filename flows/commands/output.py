"""What a command prints: results on stdout as a table or one JSON object, the rest on stderr."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any

import typer

from rpe_core.errors import DeclarationError, RpeError

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal would obey them
_SHA256 = re.compile("[0-9a-f]{64}")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")]
Row = Mapping[str, Any]


def show_rows(
    rows: Sequence[Row], *, as_json: bool, title: str = "", columns: str | Sequence[str] = ""
) -> None:
    """Print rows; `columns` names those that are shown, in order (JSON has all).

    A table where the terminal has room for its words, else each row as a record of its own; a pipe
    or a file has no width, so that nothing is folded there.
    """
    if as_json:
        write_json({"status": "ok", "rows": list(rows), "faults": []})
        return
    names = columns.split() if isinstance(columns, str) else list(columns)
    if not rows:
        sys.stdout.write(f"{title or 'rows'}: none\n")
        return
    from flows.commands.terminal_tables import (
        draw,  # rich takes a tenth of a second, which `--help` does not have
    )

    names = names or list(rows[0])
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    width = shutil.get_terminal_size(fallback=(0, 0)).columns
    sys.stdout.write(draw([name.replace("_", " ") for name in names], cells, title, width=width))


def show_ids(ids: Sequence[str], *, as_json: bool) -> None:
    """Print the ids of what was made, one a line."""
    if as_json:
        write_json({"status": "ok", "ids": list(ids), "faults": []})
    else:
        sys.stdout.write("".join(f"{i}\n" for i in ids))


def show_error(error: RpeError, *, as_json: bool) -> None:
    """Print an error: words on stderr, and the stable object on stdout where JSON was asked for."""
    if as_json:
        faults = (
            [{"path": f.path, "what": f.what, "expected": f.expected} for f in error.faults]
            if isinstance(error, DeclarationError)
            else [{"path": error.where, "what": error.what, "expected": error.expected}]
        )
        write_json({"status": "error", "kind": type(error).__name__, "faults": faults})
    say(f"{type(error).__name__}: {error}")


def say(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    sys.stderr.write(f"{text}\n")


def write_json(value: Any) -> None:
    """One JSON value on stdout."""
    sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False, indent=1) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    text = "" if value is None else _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value))
    return text[:12] if _SHA256.fullmatch(text) else text  # JSON has it whole

"""What a shell is offered after a command: names that plan and workspace have, read in a blink.

Nothing here may fail or print: whoever presses Tab has not asked for an error yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files

from flows.demos.table import DEMOS
from rpe_core.regular_files import read_regular

_STEP = re.compile(r'^    "([a-z_]+)": Step\(', re.MULTILINE)
_TARGET = re.compile(r"^\s*-\s*\{?\s*name:\s*['\"]?([a-z][a-z0-9_-]*)", re.MULTILINE)


def complete_target(incomplete: str) -> list[str]:
    """Targets of the plan, by a look at its text: to parse it takes too long."""
    try:
        from flows.workspace.settings import (
            Settings,  # a fifth of a second, which `--help` does not have
        )

        text = read_regular(Settings().plan_file).decode("utf-8")
    except Exception:
        return []
    return _beginning(_TARGET.findall(text.partition("\ntargets:")[2]), incomplete)


def complete_source(incomplete: str) -> list[str]:
    """Sources that the workspace has a contract of."""
    try:
        from flows.workspace.settings import Settings  # as above

        names = [path.stem for path in Settings().sources_folder.glob("*.yaml")]
    except Exception:
        return []
    return _beginning(names, incomplete)


def complete_steps(incomplete: str) -> list[str]:
    """Steps of the night, also after a comma."""
    before, comma, begun = incomplete.rpartition(",")
    given = before.split(",")
    return [
        f"{before}{comma}{step}" for step in _beginning(step_names(), begun) if step not in given
    ]


def step_names() -> list[str]:
    """The night's steps, by a look at the text of their table: to import it takes seconds."""
    return _STEP.findall((files("flows.steps") / "table.py").read_text(encoding="utf-8"))


def complete_demo(incomplete: str) -> list[str]:
    """The small worlds that `init` makes."""
    return _beginning(DEMOS, incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})

"""Exit codes: which error ends a command, or a step of a night, with which number."""

from __future__ import annotations

from catalog.errors import ContractViolated
from rpe_core.errors import InputError

BROKEN = 3  # exit code of what broke its contract


def exit_code_of(error: BaseException) -> int:
    """The exit code that this error alone would have: the same table for a night and a command."""
    if isinstance(error, ContractViolated):
        return BROKEN
    return 2 if isinstance(error, InputError) else 1

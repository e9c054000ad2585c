"""Errors of contracts and stores; the whole tree is drawn in rpe_core/errors.py."""

from __future__ import annotations

from collections.abc import Sequence

from rpe_core.errors import DeclarationError, Fault, RpeError, Transient

__all__ = [
    "ContractError",
    "ContractInvalid",
    "ContractViolated",
    "Fault",
    "PhiFound",
    "RecordConflict",
    "RecordNotFound",
    "StoreError",
    "StoreUnavailable",
]


class ContractError(RpeError):
    """A contract that is malformed, or data that do not keep it."""


class ContractInvalid(DeclarationError, ContractError):
    """The contract file itself has faults; all of them are listed."""


class ContractViolated(ContractError):
    """Data do not keep their contract: the batch was refused whole and nothing of it landed."""

    def __init__(
        self,
        what: str,
        *,
        source: str,
        where: str = "",
        expected: str = "",
        remedy: str = "",
        reasons: Sequence[str] = (),
    ) -> None:
        self.source, self.reasons = source, tuple(reasons)
        super().__init__(what, where=where, expected=expected, remedy=remedy)


class PhiFound(ContractViolated):
    """More rows than allowed look identifying."""


class StoreError(RpeError):
    """A store could not answer."""


class StoreUnavailable(StoreError, Transient):
    """A store could not be reached or was busy; the same call may succeed later."""


class RecordNotFound(StoreError):
    """No record has this id."""


class RecordConflict(StoreError):
    """A record with this id exists and its content differs."""

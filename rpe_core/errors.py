"""The tree of errors, and the helpers that keep cell values out of every message.

RpeError
├── InputError                  the caller passed something that cannot be used
│   ├── UnknownName             a name that is no key of one of our tables
│   ├── ShapeMismatch           arrays, tensors or adapters that do not fit each other
│   └── DeclarationError        a plan, recipe or contract with faults (all of them)
│       └── ContractInvalid     of a contract: a ContractError too
├── ContractError               a contract, or data that do not keep theirs
│   └── ContractViolated        the batch was refused whole
│       ├── PhiFound            more rows than allowed look identifying
│       └── FileUnreadable      a file is not what the contract says
├── StoreError                  a store could not answer
│   ├── StoreUnavailable        it may later: Transient
│   ├── RecordNotFound          no record has this id
│   ├── RecordConflict          a record has this id, and its content differs
│   ├── LakeFileDamaged         a file of the lake is gone, or not what was kept
│   ├── LakeLost                the lake's catalog is gone and other stores stand
│   ├── StoreGone               a store is gone and the lake knows what it held
│   └── RegistryLost            the model registry is gone and the lake names its versions
├── WriteFailed                 a file could not be written; nothing is left of it
├── BackupFailed                a copy is not what the workspace is
├── WorkspaceBusy               another run holds the workspace
├── ServerLost                  Prefect's server does not answer
├── NotMended                   a repair gives nothing that is equal to what was kept
├── NotRecomputed               what a replay needs is not there any more
├── PretrainingFailed           the pretraining process ended without a model
├── TrainingFailed              the training process ended without an adapter
├── StepFailed                  a unit failed with an error that is not ours
└── NightFailed                 some unit of the night failed; the others ran

Transient is a mark, not a branch: the one thing that a retry condition asks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@/ -]{0,63}")
_MODULE = re.compile(r"(?=.{1,256}$)[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+){2,}")  # or a tensor of one


class Transient:
    """Mark of an error that may pass if the same call is made again."""


class RpeError(Exception):
    """A message of four parts: what, where, what was expected, what to do next.

    Parts hold names, counts, row numbers and hashes, never a cell value.
    """

    def __init__(self, what: str, *, where: str = "", expected: str = "", remedy: str = "") -> None:
        self.what, self.where, self.expected, self.remedy = what, where, expected, remedy
        super().__init__(what, where, expected, remedy)

    def __str__(self) -> str:
        parts = [("in", self.where), ("expected", self.expected), ("next", self.remedy)]
        return "\n".join([self.what, *(f"  {name}: {text}" for name, text in parts if text)])

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by state, so that subclasses with other signatures survive a process border."""
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(kind: type[RpeError], args: tuple[object, ...], state: dict[str, object]) -> RpeError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class InputError(RpeError):
    """The caller passed something that cannot be used."""


class WriteFailed(RpeError):
    """A file could not be written; nothing is left of it."""


class ShapeMismatch(InputError):
    """Arrays, tensors or adapters that do not fit each other."""


class UnknownName(InputError):
    """A name that is no key of the table in question; the known ones are listed, nearest first."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        super().__init__(
            f"{kind} {shown_name(name)} is not known.",
            where=where,
            expected=known_names(name, self.known),
        )


@dataclass(frozen=True, order=True)
class Fault:
    """One fault of a declaration: where in the file, what is wrong, what would be right."""

    path: str
    what: str
    expected: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}" + (f" ({self.expected})" if self.expected else "")


class DeclarationError(InputError):
    """A declaration with faults, all of them told at once."""

    def __init__(self, file: str, faults: Sequence[Fault]) -> None:
        self.file, self.faults = file, tuple(faults)
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        super().__init__("\n".join([f"{file} has {count}:", *(f"  {f}" for f in self.faults)]))


def shown_name(name: str) -> str:
    """A received name in quotes, or its length where it does not look like a name.

    >>> shown_name("concatt")
    "'concatt'"
    >>> shown_name("Jane; DROP TABLE")
    '(16 characters, not shown)'
    """
    is_name = _NAME.fullmatch(name) or _MODULE.fullmatch(name)
    return f"'{name}'" if is_name else f"({len(name)} characters, not shown)"


def known_names(name: str, known: Iterable[str]) -> str:
    """The valid choices, with the nearest one as a question.

    >>> known_names("concatt", ["svd", "concat"])
    "concat, svd  (did you mean 'concat'?)"
    """
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1)
    return ", ".join(choices) + (f"  (did you mean '{near[0]}'?)" if near else "")


def require_positive(name: str, value: float) -> None:
    """Raise InputError unless 0 < value < infinity."""
    if not 0 < value < float("inf"):
        raise InputError(f"{name} must be positive and finite.", expected=f"{name} > 0")

"""Gram matrices of what a module is fed, added up by any thread in any order."""

from __future__ import annotations

from threading import Lock

from torch import Tensor

from rpe_core.errors import InputError, shown_name
from rpe_core.input_gram import InputGram


class InputGramSums:
    """The sums of a module's inputs; a row that is no number is told at the end, by `finish`."""

    is_settled = False  # every row counts

    def __init__(self, width: int) -> None:
        self.gram, self._fault, self._lock = InputGram.empty(width), "", Lock()

    def take(self, rows: Tensor, *, may_settle: bool) -> None:
        """Add rows (n, d)."""
        try:
            more = InputGram.of_rows(rows)
        except InputError as error:
            self._fault = error.what
            return
        with self._lock:
            self.gram += more

    def finish(self, name: str) -> None:
        """Look at what came.

        Raises:
            InputError: a row was not finite, or too large to be added up.
        """
        if self._fault:
            raise InputError(self._fault, where=shown_name(name))

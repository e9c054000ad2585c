"""The tables of recall as the measurement gives them: none is written by hand."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.deid.check import Finding, scan_text
from tests.experiments.deid import planted
from tests.experiments.deid.held_out import FORMS, HELD_OUT, plant_held_out
from tests.experiments.deid.proportions import Share
from tests.experiments.result_files import Cell, ResultTable

N_PLANTED = 400
N_HELD_OUT = 200


def recall_tables(*, seed: int = 0) -> dict[str, ResultTable]:
    """Recall on the planted text, and on the forms of the second generator."""
    planted_rows = [(kind, _planted(kind, seed=seed)) for kind in planted.KINDS]
    whole = [kind for kind, share in planted_rows if share.k == share.n]
    rows = [(kind, share_cell(share)) for kind, share in planted_rows if kind not in whole]
    if whole:
        rows.append((f"each of {', '.join(whole)}", share_cell(Share(N_PLANTED, N_PLANTED))))
    held_out = [
        (kind, *(share_cell(_held_out(kind, form, seed=seed)) for form in FORMS))
        for kind in HELD_OUT
    ]
    first = (f"planted in clinical text, n = {N_PLANTED} each", "recall [95 %]")
    second = (f"second generator, n = {N_HELD_OUT} each", *FORMS)
    return {
        "planted": ResultTable(first, tuple(rows)),
        "second_generator": ResultTable(second, tuple(held_out)),
    }


def share_cell(share: Share) -> Cell:
    """A proportion with its interval, to six digits.

    >>> share_cell(Share(398, 400))
    {'value': 0.995, 'low': 0.982056, 'high': 0.999394}
    """
    low, high = share.interval()
    value = share.k / share.n if share.n else 0.0
    return {"value": round(value, 6), "low": round(low, 6), "high": round(high, 6)}


def _planted(kind: str, *, seed: int) -> Share:
    return _share(planted.plant(kind, N_PLANTED, seed=seed))


def _held_out(kind: str, form: str, *, seed: int) -> Share:
    return _share(plant_held_out(kind, form, N_HELD_OUT, seed=seed))


def _share(rows: Sequence[planted.Planted]) -> Share:
    return Share(sum(_is_found(row, scan_text(row.text)) for row in rows), len(rows))


def _is_found(row: planted.Planted, findings: Sequence[Finding]) -> bool:
    """A rule of the row's identifier meets it; where none is named, a rule of any."""
    return any(
        found.start < row.end and found.end > row.start
        for found in findings
        if row.identifier in ("", found.identifier)
    )

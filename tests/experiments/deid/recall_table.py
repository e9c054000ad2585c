"""The tables of recall in the README, as the measurement gives them: none is written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from catalog.deid.check import Finding, scan_text
from rpe_core.errors import InputError
from tests.experiments.deid import planted
from tests.experiments.deid.held_out import FORMS, HELD_OUT, plant_held_out
from tests.experiments.deid.proportions import Share

BEGIN = "<!-- recall, written by: python -m tests.experiments.deid.measure --readme README.md -->"
END = "<!-- end of recall -->"
N_PLANTED = 400
N_HELD_OUT = 200


def recall_tables(*, seed: int = 0) -> str:
    """Two tables of Markdown: recall on the planted text, and on the second generator's forms."""
    planted_rows = [(kind, _planted(kind, seed=seed)) for kind in planted.KINDS]
    whole = [kind for kind, share in planted_rows if share.k == share.n]
    lines = [f"| planted in clinical text, n = {N_PLANTED} each | recall [95 %] |", "|---|---|"]
    lines += [f"| {kind} | {shown(share)} |" for kind, share in planted_rows if kind not in whole]
    lines += (
        [f"| {', '.join(whole)} | {shown(Share(N_PLANTED, N_PLANTED))} each |"] if whole else []
    )
    lines += ["", f"| second generator, n = {N_HELD_OUT} each | {' | '.join(FORMS)} |"]
    lines += ["|" + "---|" * (len(FORMS) + 1)]
    for kind in HELD_OUT:
        cells = [shown(_held_out(kind, form, seed=seed)) for form in FORMS]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join([BEGIN, "", *lines, "", END])


def write_tables(readme: Path) -> None:
    """Put the tables of today in the place of those between the two marks.

    Raises:
        InputError: the file has not both marks.
    """
    text = readme.read_text("utf-8")
    if BEGIN not in text or END not in text:
        raise InputError("the file has no place for the tables.", where=str(readme), expected=BEGIN)
    before, rest = text.split(BEGIN, 1)
    readme.write_text(before + recall_tables() + rest.split(END, 1)[1], "utf-8")


def shown(share: Share) -> str:
    """A proportion as the README writes it.

    >>> shown(Share(400, 400)), shown(Share(398, 400))
    ('1.000 [.991, 1.0]', '.995 [.982, .999]')
    """
    low, high = share.interval()
    ends = ", ".join("1.0" if end > 0.9995 else f"{end:.3f}".lstrip("0") for end in (low, high))
    whole = share.k / share.n if share.n else 0.0
    return f"{'1.000' if share.k == share.n else f'{whole:.3f}'.lstrip('0')} [{ends}]"


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

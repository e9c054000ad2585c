"""How a review of promotions is shown: one line each, then what may be done about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from textwrap import fill

from catalog.report.history import first_words, licences
from catalog.report.tables import count_of
from catalog.report.words import is_of_losses
from flows.commands.history_screen import date
from flows.commands.output import say, show_rows
from flows.experiments.gate_review import FALLS, STANDS, UNKNOWN, Reviewed

COLUMNS = "target version decided outcome why"
WHY = 40  # characters of a line, so that the table fits a terminal


def show_review(reviewed: Sequence[Reviewed], *, as_json: bool) -> None:
    """Print every promotion with what the gate says of it now; JSON has the whole reasons."""
    rows = [asdict(one) if as_json else _line(one) for one in reviewed]
    title = "promotions on record, asked about again; nothing was changed"
    show_rows(rows, as_json=as_json, title=title, columns=COLUMNS)
    if as_json:
        return
    n_asked = {name: sum(one.outcome == name for one in reviewed) for name in (STANDS, FALLS)}
    n_gone = sum(one.outcome == UNKNOWN for one in reviewed)
    say(
        f"{count_of(n_asked[STANDS], 'promotion')} stand{'s' if n_asked[STANDS] == 1 else ''},"
        f" {n_asked[FALLS]} would not have happened, {n_gone} cannot be reviewed"
    )
    for one in reviewed:
        if one.outcome == FALLS and one.is_serving:
            say(f"SERVES {one.target}: version {one.version} would not have been let in")
            if one.former_version:
                back = f"version {one.former_version} serves again"
                say(f"  rpe rollback {one.target} --actor NAME   # {back}")


def _line(one: Reviewed) -> dict[str, str]:
    serves = "serves now" if one.is_serving else one.action.replace("_", " ")
    told = [*licences(one.reasons), *first_words(one.reasons), *_losses(one)]
    why = "; ".join(told) if one.outcome != UNKNOWN else one.reasons
    return {
        "target": one.target,
        "version": f"{one.version}\n{serves}".strip(),
        "decided": date(one.decided_at),
        "outcome": one.outcome,
        "why": "\n".join(fill(line, WHY) for line in why.split("\n")),
    }


def _losses(one: Reviewed) -> list[str]:
    """The groups that lost much, as the reasons count them, against base first."""
    return [line.rstrip(".") for line in one.reasons.split("\n") if is_of_losses(line)]

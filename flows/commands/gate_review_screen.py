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
    rows = [asdict(promotion) if as_json else _line(promotion) for promotion in reviewed]
    title = "promotions on record, tested again by the gate as it is now; nothing was changed"
    show_rows(rows, as_json=as_json, title=title, columns=COLUMNS)
    if as_json:
        return
    n_asked = {
        name: sum(promotion.outcome == name for promotion in reviewed) for name in (STANDS, FALLS)
    }
    n_gone = sum(promotion.outcome == UNKNOWN for promotion in reviewed)
    say(
        f"{count_of(n_asked[STANDS], 'promotion')} stand{'s' if n_asked[STANDS] == 1 else ''},"
        f" {n_asked[FALLS]} would not have happened, {n_gone} cannot be reviewed"
    )
    for promotion in reviewed:
        if promotion.outcome == FALLS and promotion.is_serving:
            say(f"SERVES {promotion.target}: version {promotion.version} would not be promoted now")
            if promotion.former_version:
                back = f"version {promotion.former_version} serves again"
                say(f"  rpe rollback {promotion.target} --actor NAME   # {back}")


def _line(promotion: Reviewed) -> dict[str, str]:
    serves = "serves now" if promotion.is_serving else promotion.action.replace("_", " ")
    parts = [*licences(promotion.reasons), *first_words(promotion.reasons), *_losses(promotion)]
    why = "; ".join(parts) if promotion.outcome != UNKNOWN else promotion.reasons
    return {
        "target": promotion.target,
        "version": f"{promotion.version}\n{serves}".strip(),
        "decided": date(promotion.decided_at),
        "outcome": promotion.outcome,
        "why": "\n".join(fill(line, WHY) for line in why.split("\n")),
    }


def _losses(promotion: Reviewed) -> list[str]:
    """The groups that lost much, as the reasons count them, against base first."""
    return [line.rstrip(".") for line in promotion.reasons.split("\n") if is_of_losses(line)]

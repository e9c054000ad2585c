"""Champions: what serves a target by core.promotions, and what the aliases should be."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.queries.nights import has_run_of
from catalog.queries.serving import targets_ever_served
from catalog.records import intents
from catalog.stores.lake.lake import Lake
from catalog.stores.registry.registry import Registry

Row = dict[str, Any]

CHAMPION, CHALLENGER = "champion", "challenger"
WITHDRAWN = "withdrawn_damaged"  # the champion's files were damaged: another serves, or none
RESTORED = "restored"  # they are what was kept again
NEW_LAKE = "new-lake"  # flow of the run by which a lake was begun in the place of a lost one
# after these the named ensemble is champion; none is where '' is named: mart.champion_changes
SERVING = ("promoted", "approved", "rolled_back", WITHDRAWN, RESTORED)
_JUDGED = ("promoted", "approved", "kept", "refused", "abstained", "pending")


@dataclass(frozen=True)
class Serving:
    """What serves a target by core.promotions, what it stands on, and what damage took away."""

    champion: Row | None
    formers: tuple[Row, ...]  # champions before it, the newest first
    withdrawal: Row | None = None  # since which nothing else was decided
    withdrawn: Row | None = None  # the champion that it took away


def serving_by_target(lake: Lake, targets: Sequence[str] | None = None) -> dict[str, Serving]:
    """Target -> what serves it, of every target that something was decided about."""
    serving = {}
    for target, rows in histories(lake, targets).items():
        stack, newest = served_stack(rows), [row for row in rows if row["action"] in SERVING][-1:]
        withdrawal = newest[0] if newest and newest[0]["action"] == WITHDRAWN else None
        before = served_stack(rows[: rows.index(withdrawal)]) if withdrawal else []
        serving[target] = Serving(
            champion_of(rows),
            tuple(reversed(stack[:-1])),
            withdrawal,
            before[-1] if before else None,
        )
    return serving


def aliases_apart(
    lake: Lake, registry: Registry | None, targets: Sequence[str] | None = None
) -> list[tuple[str, str, str, str]]:
    """Aliases that are not what core.promotions says: model, alias, version wanted, and found.

    Those that a run is moving, or left behind, are no matter of it.
    """
    moving = {intent.record_id for intent in intents.open_intents(lake)}
    there, apart = registry.models() if registry else {}, []
    by_target = histories(lake, targets)
    left = chosen_before(lake, by_target)
    for target, rows in sorted(by_target.items()):
        wanted = wanted_aliases(rows)
        aliases = there[target].aliases if target in there else {}
        for alias in (CHALLENGER,) if target in left else (CHALLENGER, CHAMPION):
            versions = (wanted.get(alias, ""), aliases.get(alias, ""))
            if versions[0] != versions[1] and intents.aliases_of(target) not in moving:
                apart.append((target, alias, *versions))
    return apart


def chosen_before(lake: Lake, targets: Collection[str]) -> set[str]:
    """Targets whose champion a lake chose that was lost on purpose: none was chosen since.

    What serves them serves on until the next promotion.
    """
    if not has_run_of(lake, NEW_LAKE):
        return set()
    # a champion that was retracted was chosen too
    return set(targets) - targets_ever_served(lake)


def wanted_aliases(rows: Sequence[Row]) -> dict[str, str]:
    """Alias -> version: the newest judged challenger, and the champion."""
    wanted = {}
    judged = [row for row in rows if row["model_version"] and row["action"] in _JUDGED]
    champion = champion_of(rows)
    if judged:
        wanted[CHALLENGER] = judged[-1]["model_version"]
    if champion:
        wanted[CHAMPION] = champion["model_version"]
    return wanted


def served_stack(rows: Sequence[Row]) -> list[Row]:
    """The champions that stand on each other, the present one last; a roll-back takes one off."""
    stack: list[Row] = []
    before: list[Row] = []  # what stood when damage took a champion away
    for row in rows:
        if row["action"] == WITHDRAWN:
            before, stack = stack, _down_to(stack, row["ensemble_id"])
            # as of a roll-back; where none is sound there is none to go back to
            stack = [*stack[:-1], row] if row["ensemble_id"] else []
        elif row["action"] == RESTORED:
            stack, before = [*_down_to(before or stack, row["ensemble_id"])[:-1], row], []
        elif row["action"] == "rolled_back":
            stack = _down_to(stack, row["ensemble_id"])
            # the roll-back is what the next act answers, so it takes the place of what it restored
            stack = [*stack[:-1], row]
        elif row["action"] in SERVING:
            stack.append(row)
    return stack


def _down_to(stack: Sequence[Row], ensemble_id: str) -> list[Row]:
    """The champions up to the last time that this ensemble served; none where it never did."""
    places = [index for index, row in enumerate(stack) if row["ensemble_id"] == ensemble_id]
    return list(stack[: places[-1] + 1]) if places else []


def former_of(rows: Sequence[Row]) -> Row | None:
    """The row that a roll-back would let serve, of a target's champions with the oldest first."""
    served = served_stack(rows)
    return served[-2] if len(served) > 1 else None


def champion_of(rows: Sequence[Row]) -> Row | None:
    """The row by which an ensemble serves now; None where none does."""
    served = [row for row in rows if row["action"] in SERVING]
    return served[-1] if served and served[-1]["ensemble_id"] else None


def histories(lake: Lake, targets: Sequence[str] | None) -> dict[str, list[Row]]:
    """Standing verdicts per target, the oldest first; none where all of them were retracted."""
    chosen = "" if targets is None else " WHERE list_contains(?, target_name)"
    rows = lake.rows(
        f"SELECT * FROM core.promotions{chosen}"
        # the newest is what `current.champion` takes: ties by id, the other way round
        " ORDER BY recorded_at, promotion_id DESC",
        [] if targets is None else [list(targets)],
    )
    by_target: dict[str, list[Row]] = {}
    for row in rows:
        standing = by_target.setdefault(row["target_name"], [])
        if row["retracted_at"] is None:
            standing.append(row)
    return by_target

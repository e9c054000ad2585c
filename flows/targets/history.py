"""History for the operator: how a target has done over its nights, and who serves it and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.records.champions import former_of
from catalog.report import history
from catalog.report.queries import in_the_past, read_alerts, read_champions, read_verdicts
from catalog.stores.lake.lake import Lake
from flows.workspace.lake_reads import open_lake_to_read
from flows.workspace.plan import TargetSpec
from flows.workspace.settings import Settings
from flows.workspace.workspace import load_declarations
from rpe_core.errors import UnknownName

Row = dict[str, Any]


@dataclass(frozen=True)
class HistoryQuestion:
    """A target that is asked about; `spec` is None where the plan names it no more."""

    name: str
    spec: TargetSpec | None

    @property
    def source(self) -> str:
        """The source whose rows it serves, as far as the plan says."""
        return self.spec.source if self.spec else ""


def occasions_of(settings: Settings, target: str) -> list[Row]:
    """What happened to a target, oldest first, see `catalog.report.history.read_occasions`.

    Raises:
        UnknownName: neither the plan nor the lake knows it.
    """
    with open_lake_to_read(settings) as lake:
        asked = _asked(settings, lake, target)
        return history.read_occasions(lake, asked.name, source=asked.source)


def champion_of(settings: Settings, target: str) -> Row:
    """Who serves a target, since when and why, what it is made of, and how it does now.

    `newest` has the rows of mart.target_history of the newest evaluation, `now` that of what
    serves, `verdict` the newest verdict, `rollback_version` what a roll-back would let serve. Where
    no version serves, `serves` is "base" and `why` says what stands in the way.

    Raises:
        UnknownName: neither the plan nor the lake knows it.
    """
    with open_lake_to_read(settings) as lake:
        asked = _asked(settings, lake, target)
        champion = history.read_champion(lake, asked.name)
        verdict = read_verdicts(lake, targets=[asked.name])[0]
        newest = history.read_newest(lake, targets=[asked.name]).get(asked.name, [])
        occasions = history.read_occasions(lake, asked.name, source=asked.source)
        former = former_of(read_champions(lake, targets=[asked.name]))
    return {
        "target": asked.name,
        "is_planned": asked.spec is not None,
        "base": asked.spec.base if asked.spec else "",
        **(champion or {}),
        "serves": verdict["serves"],
        "why": in_the_past(champion["reasons"]) if champion else _why_not(verdict, occasions),
        "verdict": verdict,
        "verdict_in_short": _last_in_short(occasions),
        "alerts": history.standing_alerts(occasions),
        "newest": newest,
        "now": history.row_of(newest, verdict["serves_ensemble_id"]),
        "rollback_version": former["model_version"] if former else "",
    }


def overview(settings: Settings) -> list[Row]:
    """One row per target of the plan: who serves since when, how it does, what was decided last."""
    with open_lake_to_read(settings) as lake:
        plan = load_declarations(settings).plan
        names, alerts = plan.target_names, read_alerts(lake)
        newest = history.read_newest(lake, targets=names)
        verdicts = read_verdicts(lake, targets=names)
    asked = {spec.name: {("target", spec.name), ("source", spec.source)} for spec in plan.targets}
    return [
        row
        | _arms(newest.get(row["target"], []), row)
        | {"alerts": _kinds(alerts, asked[row["target"]])}
        for row in verdicts
    ]


def _kinds(alerts: Sequence[Row], asked: Collection[tuple[str, str]]) -> list[str]:
    """Kinds of the standing alerts about a target, or the source whose rows it serves."""
    return list(
        dict.fromkeys(
            alert["kind"]
            for alert in alerts
            if (history.subject_kind(alert["kind"]), alert["subject"]) in asked
        )
    )


def _arms(rows: Sequence[Row], verdict: Row) -> Row:
    champion = history.row_of(rows, verdict["serves_ensemble_id"])
    base = next((row for row in rows if row["arm"] == "base"), None)
    arms: Row = {"metric": rows[0]["metric"] if rows else ""}
    for name, row in (("champion", champion), ("base", base)):
        for column in ("value", "ci_low", "ci_high", "n_items"):
            arms[f"{name}_{column}"] = row[column] if row else None
    return arms


def _last_in_short(occasions: Sequence[Row]) -> str:
    decided = [decision for occasion in occasions for decision in occasion["decisions"]]
    return decided[-1]["in_short"] if decided else ""


def _why_not(verdict: Row, occasions: Sequence[Row]) -> str:
    """Why no version serves, in words."""
    failed = occasions[-1]["failed"] if occasions else []
    parts = [f"The newest night failed: {', '.join(failed)}."] if failed else []
    if any(occasion["withdrawn"] for occasion in occasions):
        parts.append("Data behind it were withdrawn, and what had been promoted with them.")
    known = {
        "pending": "A challenger won and waits for a person.",
        "refused": "The gate has refused every challenger so far.",
        "abstained": "The target lies outside of what the library spans.",
        "waiting": "No verdict has fallen yet: no data, or no library.",
    }
    parts += [known.get(verdict["verdict"], ""), *verdict["reason"].split("\n")]
    if verdict["verdict"] == "waiting":
        parts.pop()
    return "\n".join(part for part in parts if part)


def _asked(settings: Settings, lake: Lake, target: str) -> HistoryQuestion:
    specs = {spec.name: spec for spec in load_declarations(settings).plan.targets}
    known = {*specs, *history.read_names(lake)}
    if target not in known:
        raise UnknownName("target", target, known)
    return HistoryQuestion(target, specs.get(target))

"""Alerts: what no step can mend is raised once, stands while its cause does, and then is resolved.

What holds is found anew by each run from the lake alone, so a run that was killed loses nothing;
what was told before stands in the record of the run before. What a run cannot look at stays as it
was: the sources of a faulty contract, the targets that were not evaluated, the steps left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from catalog.intake.refusals import Refusal, standing_refusals
from catalog.queries import current, evaluations
from catalog.records import promotion
from catalog.stores.lake.lake import Lake
from flows.runs.ledger import REFUSED, Alert, Ledger
from flows.runs.run_record import NIGHT
from flows.steps import evaluate, ingest
from flows.upkeep import significant_changes
from flows.upkeep.freshness import SILENT, silent_sources
from flows.upkeep.machine_checks import CLOCK_SLACK_SECONDS
from flows.upkeep.renamed_bases import RENAMED, cut_off_targets
from flows.upkeep.significant_changes import BELOW, DRIFT, FALL, MOVED, WORSE
from flows.verification.champions import DAMAGED, verified_by
from flows.workspace.plan import Plan
from flows.workspace.workspace import Workspace
from rpe_core.fingerprint import SHORT, fingerprint

ABSTAINED = "abstained"
CLOCK, MACHINE = "clock", "machine"
OF_SOURCES = (SILENT, REFUSED, DRIFT)
OF_TARGETS = (BELOW, FALL, ABSTAINED, DAMAGED, RENAMED)
Row = dict[str, Any]


@dataclass
class AlertsSeen:
    """What a run looked at, as (kind, subject), and what it found there."""

    looked: set[tuple[str, str]] = field(default_factory=set)
    alerts: list[Alert] = field(default_factory=list)

    def look(self, kind: str, subjects: Collection[str], alerts: Sequence[Alert]) -> None:
        """Take in what was found of a kind."""
        self.looked |= {(kind, subject) for subject in subjects}
        self.alerts += alerts


def watch(workspace: Workspace, ledger: Ledger, steps: Collection[str], *, plan: Plan) -> None:
    """Look at what these steps have just renewed; alerts are raised, stand, or are resolved.

    `plan` is the workspace's own: what is not in it any more has no alerts.
    """
    seen = AlertsSeen()
    seen.look(CLOCK, [MACHINE], _behind(workspace))
    lookers: dict[str, Callable[[Workspace, Plan, AlertsSeen], list[str]]] = {
        "ingest": _look_at_sources,
        "embed": _look_at_moves,
        "ensemble": _look_at_libraries,
        "promote": _look_at_targets,
    }
    wanted = {"evaluate": "promote"}
    names = dict.fromkeys(wanted.get(name, name) for name in steps)
    if looks := [name for name in names if name in lookers]:
        with ledger.step("watch") as step:
            for name in looks:
                with ledger.unit(step, name, is_done=False):
                    step.done += lookers[name](workspace, plan, seen)
    verified = verified_by(workspace)
    seen.look(DAMAGED, verified.targets, verified.alerts)
    settle(workspace, ledger, seen, plan=plan)


def settle(workspace: Workspace, ledger: Ledger, seen: AlertsSeen, *, plan: Plan) -> None:
    """Tell what is new of what was found from what stands, and say what has ended."""
    lake, run = workspace.stores.lake, workspace.run
    is_night = run.flow == NIGHT
    before = {alert.key: alert for alert in alerts_before(lake)}
    known_before = (
        {alert.key: alert for alert in alerts_before(lake, flow=NIGHT)} if is_night else before
    )
    subjects = {
        **{kind: plan.sources for kind in OF_SOURCES},
        **{kind: plan.target_names for kind in OF_TARGETS},
        CLOCK: (MACHINE,),
    }
    left = [
        alert
        for alert in before.values()
        if (alert.kind, alert.subject) not in seen.looked
        and alert.subject in subjects.get(alert.kind, ())
    ]
    seen_alerts = [_known(alert, before) or _new(alert, workspace) for alert in seen.alerts]
    every = [replace(a, is_raised=_known(a, known_before) is None) for a in [*seen_alerts, *left]]
    now = sorted(every, key=lambda alert: alert.key)
    ledger.alerts = [a for a in now if is_night or (a.kind, a.subject) in seen.looked]
    ledger.others = [a for a in now if a not in ledger.alerts]
    names = {alert.alert_id for alert in now}
    ledger.resolved = [alert for alert in known_before.values() if alert.alert_id not in names]


def alerts_before(lake: Lake, *, flow: str = "") -> list[Alert]:
    """The alerts that held when the newest run ended, or the newest run of a flow."""
    known = {field_of.name for field_of in fields(Alert)}
    alerts = []
    for row in current.last_alerts(lake, flow=flow):
        values = {"subject": row.get("source", ""), **row}
        alert = Alert(**{name: value for name, value in values.items() if name in known})
        alerts.append(replace(alert, rests_on=tuple(alert.rests_on)))
    return alerts


def _known(alert: Alert, known_before: dict[tuple[str, str, str], Alert]) -> Alert | None:
    """The alert under the name that it had before; one of an older release had no cause."""
    former = known_before.get(alert.key) or known_before.get((alert.kind, alert.subject, ""))
    if former is None:
        return None
    if not former.alert_id:
        former = replace(former, alert_id=f"{former.kind} {former.subject}")
    return replace(alert, alert_id=former.alert_id, since=alert.since or former.since)


def _new(alert: Alert, workspace: Workspace) -> Alert:
    run = workspace.run
    name = fingerprint([*alert.key, run.run_id])[:SHORT]
    return replace(alert, alert_id=name, since=alert.since or run.started_at.isoformat())


def _look_at_sources(workspace: Workspace, plan: Plan, seen: AlertsSeen) -> list[str]:
    """Silence, and refused files that lie there."""
    sources = [name for name in workspace.plan.sources if name in workspace.contracts]
    seen.look(SILENT, sources, silent_sources(workspace))
    if workspace.cache.known(ingest.LYING):  # else the step could not even look
        seen.look(REFUSED, sources, refused_files(workspace))
    return []


def refused_files(workspace: Workspace) -> list[Alert]:
    """An alert for each refused file that lies there, as far as the step has looked."""
    names = [name for name in workspace.plan.sources if name in workspace.contracts]
    contracts = [workspace.contracts[name] for name in names]
    lying = workspace.cache.known(ingest.LYING)
    asked = {contract.source for contract in contracts if contract.files.query is not None}
    refusals = standing_refusals(workspace.stores.lake, contracts, lying)
    return [_refused(refusal, is_asked=refusal.source in asked) for refusal in refusals]


def _look_at_moves(workspace: Workspace, plan: Plan, seen: AlertsSeen) -> list[str]:
    """Whether the newest version of a source is like the ones before."""
    units = significant_changes.encoded_units(workspace)
    rows = significant_changes.look_at_moves(workspace, n_places=len(units))
    significant_changes.keep(workspace, rows)
    ids = [unit.representation_id for unit in units]
    moved: dict[str, Row] = {}
    for row in current.checks(workspace.stores.lake, DRIFT, ids):
        former = moved.get(row["subject"])
        if row["result"] == MOVED and (former is None or row["p_value"] < former["p_value"]):
            moved[row["subject"]] = row
    sources = {unit.source for unit in units}
    seen.look(DRIFT, sources, [_drifted(workspace, row) for row in moved.values()])
    return significant_changes.subjects(rows)


def _look_at_libraries(workspace: Workspace, plan: Plan, seen: AlertsSeen) -> list[str]:
    """Whether a renamed base cuts targets off from the adapters that were made for them."""
    seen.look(
        RENAMED, [target.name for target in workspace.plan.targets], cut_off_targets(workspace)
    )
    return []


def _look_at_targets(workspace: Workspace, plan: Plan, seen: AlertsSeen) -> list[str]:
    """Whether what serves has fallen, and whether a target that was served abstains."""
    lake, standing = workspace.stores.lake, workspace.standing
    rows = significant_changes.look_at_champions(workspace, n_targets=len(plan.target_names))
    significant_changes.keep(workspace, rows)
    units = {
        str(unit): unit
        for unit in evaluate.units_of(workspace)
        if unit.evaluation_id in standing.evaluation_ids
    }
    serving = {name: row["ensemble_id"] for name, row in standing.champions.items()}
    for kind in (BELOW, FALL):
        fallen = {
            row["subject"]: row
            for row in current.checks(lake, kind, [u.evaluation_id for u in units.values()])
            if row["result"] == WORSE and serving.get(row["subject"]) == row["ensemble_id"]
        }
        seen.look(kind, units, [_fallen(workspace, row) for row in fallen.values()])
    gone = [
        row
        for row in evaluations.abstaining_targets(lake, units)
        if not units[row["target_name"]].candidates
    ]
    seen.look(ABSTAINED, units, [_abstained(workspace, row) for row in gone])
    return significant_changes.subjects(rows)


def _behind(workspace: Workspace) -> list[Alert]:
    """An alert where the clock is before the newest record, after which this run's are dated."""
    behind = workspace.stores.lake.behind_seconds()
    if behind <= CLOCK_SLACK_SECONDS:
        return []
    return [
        Alert(
            CLOCK,
            MACHINE,
            f"the clock of this machine is {_long(behind)} behind the newest record: until it has"
            " caught up, new records are dated just after that one, in their order",
            "set the clock (NTP); if it is right now, it was ahead before, and this alert ends by"
            " itself; `rpe doctor` shows by how much it is behind",
        )
    ]


def _long(seconds: float) -> str:
    """A length of time in the unit that fits it.

    >>> _long(90.0), _long(7200.0), _long(864000.0)
    ('1.5 minutes', '2.0 hours', '10.0 days')
    """
    for unit, size in (("days", 86400.0), ("hours", 3600.0)):
        if seconds >= 2 * size or (unit == "hours" and seconds >= size):
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60.0:.1f} minutes"


def _refused(refusal: Refusal, *, is_asked: bool) -> Alert:
    replace_it = "deliver a correct file in its place, change the contract, or remove the file"
    mend_it = "correct the rows in the database, or change the contract; each run queries it again"
    codes = ", ".join(refusal.codes)
    since = refusal.since.isoformat() if refusal.since else ""
    since_text = f" since {refusal.since:%Y-%m-%d}" if refusal.since else ""
    return Alert(
        REFUSED,
        refusal.source,
        f"{refusal.source}: {refusal.file_name} is refused{since_text}: {codes}",
        f"`rpe source findings {refusal.source}` lists why; {mend_it if is_asked else replace_it}",
        source=refusal.source,
        cause=refusal.batch_id or f"unreadable {refusal.file_name}",
        since=since,
    )


def _drifted(workspace: Workspace, row: Row) -> Alert:
    source, version = row["subject"], row["dataset_version_id"]
    return Alert(
        DRIFT,
        source,
        f"{source} has drifted: z of {version} is {row['value']:.3g} away from z of"
        f" {row['former_dataset_version_id']}, {row['value'] / (row['noise'] or row['value']):.1f}"
        f" times what chance alone would give ({row['n_groups']} groups came or went)",
        f"`rpe source show {source}` and `rpe source findings {source}` show what was delivered;"
        f" if it is wrong, {_withdrawing(version)}",
        source=source,
        cause=version,
        rests_on=(version, row["former_dataset_version_id"]),
    )


def _fallen(workspace: Workspace, row: Row) -> Alert:
    target, version = row["subject"], row["dataset_version_id"]
    is_below = row["kind"] == BELOW
    then = "when it was promoted" if is_below else "in the evaluation before"
    what = "its champion scores" if is_below else "the score of what serves it has fallen: it has"
    return Alert(
        row["kind"],
        target,
        f"{target}: {what} {row['metric']} {row['value']:.3f} on {version} and scored"
        f" {row['former_value']:.3f} {then}, {row['difference']:+.3f} ({row['confidence']:.6g}"
        f" interval {row['ci_low']:+.3f} to {row['ci_high']:+.3f}; {row['n_items']} items in"
        f" {row['n_groups']} groups, {row['n_former_items']} in {row['n_former_groups']} then)",
        _remedy(workspace, target, version),
        source=_source_of(workspace, target),
        cause=row["ensemble_id"] if is_below else row["record_id"],
        rests_on=(version, row["record_id"], row["former_record_id"], row["ensemble_id"]),
    )


def _abstained(workspace: Workspace, row: Row) -> Alert:
    target, version = row["target_name"], row["dataset_version_id"]
    source = _source_of(workspace, target)
    return Alert(
        ABSTAINED,
        target,
        f"{target} was served and abstains on {version}: {row['reasons']}",
        f"`rpe source show {source}` shows how far it moved, `rpe source findings {source}` what"
        " was delivered last; add references that are like it; if the rows are wrong,"
        f" {_withdrawing(version)}",
        source=source,
        cause=row["promotion_id"],
        since=row["since"].isoformat(),
        rests_on=(version,),
    )


def _remedy(workspace: Workspace, target: str, version: str) -> str:
    """What to do about a model that has fallen; a roll-back where there is one to go back to."""
    source = _source_of(workspace, target)
    parts = [f"`rpe source findings {source}` shows what was delivered last"]
    if promotion.has_former(workspace.stores, target):
        parts.append(f"`rpe rollback {target} --actor YOU` lets the former champion serve")
    parts.append(f"if rows or labels are wrong, {_withdrawing(version)}")
    return "; ".join(parts)


def _withdrawing(version: str) -> str:
    """What to do about wrong rows; a version takes every file with it that it is made of."""
    return (
        "have them delivered corrected, or withdraw the version and every file that it is made of:"
        f" `rpe retract {version} --dry-run` shows what goes"
    )


def _source_of(workspace: Workspace, target: str) -> str:
    return next(
        target_spec.source for target_spec in workspace.plan.targets if target_spec.name == target
    )

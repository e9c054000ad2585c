"""The last screen of a run: one table of verdicts, what was set aside, and what to try next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from catalog.queries.deliveries import rows_set_aside
from catalog.queries.withdrawn import withdrawals_of_sources
from catalog.report.experiments import (
    ExperimentTables,
    MethodComparisonTable,
    heading_of,
    quantity_text,
    read_experiment,
    score_text,
)
from catalog.report.history import first_words, licences
from catalog.report.queries import read_decisions, read_standing_verdicts, read_verdicts
from flows.commands.history_screen import date
from flows.commands.output import say, show_rows, write_json
from flows.runs.exit_codes import BROKEN
from flows.runs.ledger import REFUSED, Alert, is_told
from flows.runs.run_record import NIGHT, Summary
from flows.workspace.lake_reads import open_lake_to_read
from flows.workspace.plan import Plan
from flows.workspace.settings import Settings
from flows.workspace.workspace import load_declarations

DECIDED = "target challenger against_base against_champion why"
STANDING = "target serves since last_verdict decided"


def show_summary(settings: Settings, summary: Summary) -> None:
    """Print what an operator needs in the morning; results on stdout, advice on stderr.

    What this run decided comes first, and apart from it what was decided before and stands.
    """
    plan = load_declarations(settings).plan
    decided, standing = _verdicts(settings, summary, plan)
    if any(step["name"] == "promote" for step in summary.steps):
        when = "tonight" if summary.flow == NIGHT else "now"
        rows = [_decided(row) for row in decided]
        show_rows(rows, as_json=False, title=f"decided {when}", columns=DECIDED)
    if standing:
        rows = [_standing(row) for row in standing]
        show_rows(rows, as_json=False, title="decisions still in force", columns=STANDING)
    quarantined = _quarantined(settings)
    if quarantined:
        show_rows(quarantined, as_json=False, title="quarantined so far")
    tell_end(summary)
    _tell_withdrawn(settings, plan)
    _tell_waiting([*decided, *standing])
    _advise([*decided, *standing])


def show_experiment(settings: Settings, summary: Summary, *, as_json: bool) -> None:
    """Print scores by target and arm, what came of what was stated, and where the rest is."""
    tables = None
    if summary.experiment_id:
        with open_lake_to_read(settings) as lake:
            tables = read_experiment(lake, summary.experiment_id)
    if as_json:
        write_json(
            {
                "status": summary.outcome,
                "rows": list(tables.rows) if tables else [],
                "findings": list(tables.findings) if tables else [],
                "faults": faults_of(summary),
            }
        )
    elif isinstance(tables, MethodComparisonTable):
        _show_comparison(tables)
    elif tables:
        _show_tables(tables)
    tell_end(summary)
    if tables:
        filed = f"WHERE experiment_id = '{summary.experiment_id}'"
        for view in tables.views:
            say(f'  rpe sql "SELECT * FROM mart.{view} {filed}"')


def faults_of(summary: Summary) -> list[dict[str, str]]:
    """The failed units of a run in the form that `--json` has everywhere."""
    return [
        {"path": f"{fault.step} {fault.unit}", "what": fault.message, "expected": ""}
        for fault in summary.faults
    ]


def alerts_of(summary: Summary) -> list[dict[str, str]]:
    """The alerts of a run in the form that `--json` has everywhere."""
    return [asdict(alert) for alert in summary.alerts]


def resolved_of(summary: Summary) -> list[dict[str, str]]:
    """The alerts that a run found ended, in the same form, each with how."""
    return [{**asdict(alert), "ending": alert.ending} for alert in summary.resolved]


def _show_tables(tables: ExperimentTables) -> None:
    metric = tables.metrics[0]
    rows = [
        {name: score_text(cell) if name in tables.arms else cell for name, cell in row.items()}
        for row in tables.score_table(metric)
    ]
    arms = " ".join(arm for arm in tables.arms if not arm.startswith("nearest:"))
    title = f"{metric} on test rows; + wins, - loses, = ties against base, then against average"
    show_rows(rows, as_json=False, title=title, columns=f"target n groups {arms}")
    _show_findings(tables)


def _show_comparison(tables: MethodComparisonTable) -> None:
    metric, yardstick = tables.experiment["metric"], tables.asked["yardstick"]
    rows = [
        {"method": row["method"], "r": row["r"]}
        | {heading_of(name): quantity_text(row[name]) for name in tables.columns}
        for row in tables.table()
    ]
    title = f"{metric} over all sources and seeds; + wins, - loses, = ties against {yardstick}"
    show_rows(rows, as_json=False, title=title)
    _show_findings(tables)


def _show_findings(tables: ExperimentTables | MethodComparisonTable) -> None:
    columns = "finding verdict value ci_low ci_high n n_clusters statement"
    show_rows(
        tables.findings,
        as_json=False,
        title="statements made before the measurement",
        columns=columns,
    )


def tell_end(summary: Summary) -> None:
    """Say what failed, what calls for attention, how the run ended and where its report is."""
    for fault in summary.faults:
        word = "REFUSED" if fault.exit_code == BROKEN else "FAILED"
        say(f"{word} {fault.step} {fault.unit}: {fault.kind}: {fault.message}")
    for alert in summary.alerts:
        if not is_told(alert, summary.faults):
            say(f"{_word_for(alert)} {alert.message}; {alert.remedy}")
    for alert in summary.resolved:
        say(f"RESOLVED {alert.ending}")
    say(f"{summary.run_id}: {summary.outcome} in {summary.wall_seconds:.0f} s")
    if summary.notice:
        say(f"NO NOTICE {summary.notice}")
    say(f"report: {summary.report}")


def _word_for(alert: Alert) -> str:
    """REFUSED for a refused file, ALERT for what this run raised, STILL for older alerts."""
    if alert.kind == REFUSED:
        return "REFUSED"
    return "ALERT" if alert.is_raised else "STILL"


def _tell_withdrawn(settings: Settings, plan: Plan) -> None:
    """Sources that the plan names and a retraction has withdrawn: the run went on without them."""
    with open_lake_to_read(settings) as lake:
        rows = withdrawals_of_sources(lake)
    for row in rows:
        if row["source"] in plan.sources:
            say(
                f"WITHDRAWN {row['source']} on {row['recorded_at']:%Y-%m-%d}: the run went on"
                " without it and refuses its files; take it out of plan.yaml and sources/"
            )


def read_standing(settings: Settings) -> list[dict[str, Any]]:
    """The newest verdict of every target of the plan."""
    with open_lake_to_read(settings) as lake:
        return read_verdicts(lake, targets=load_declarations(settings).plan.target_names)


def _tell_waiting(verdicts: Sequence[dict[str, Any]]) -> None:
    """Challengers that have won and wait for a person."""
    for row in verdicts:
        if row["verdict"] == "pending":
            since = date(row["decided_at"])
            say(f"WAITING {row['target']}: {row['challenger']} waits for a person since {since};")
            say(f"  rpe promote {row['target']} --actor NAME")


def _verdicts(
    settings: Settings, summary: Summary, plan: Plan
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the run decided, and the newest verdict of every other target of the plan."""
    names = plan.target_names
    with open_lake_to_read(settings) as lake:
        return (
            read_decisions(lake, targets=names, run_id=summary.run_id),
            read_standing_verdicts(lake, targets=names, run_id=summary.run_id),
        )


def _decided(row: dict[str, Any]) -> dict[str, Any]:
    """What the gate said, in cells of two lines; the whole reasons are in `rpe history`."""
    n_items = f", {row['n']} rows" if row["n"] else ""
    unlabelled = ["on left-out references"] if row["evidence"] == "leave_one_out" else []
    return {
        "target": f"{row['target']}\n{row['verdict']}{n_items}",
        "challenger": f"{row['challenger']}\n{row['score']}".rstrip(),
        "against_base": _lines(row, "base"),
        "against_champion": _lines(row, "champion"),
        "why": "; ".join([*unlabelled, *licences(row["reason"]), *first_words(row["reason"]),
                          *_shown_beside(row)]),
    }  # fmt: skip


def _shown_beside(row: dict[str, Any]) -> list[str]:
    """How many groups would decide, and how many lost much."""
    losses = {row["base_losses"]: " (base)", row["champion_losses"]: " (champion)"}
    is_alone = not row["champion_losses"]
    losses_text = [
        f"{text}{'' if is_alone else against}" for text, against in losses.items() if text
    ]
    return [*([row["hope"]] if row["hope"] else []), *losses_text]


def _lines(row: dict[str, Any], against: str) -> str:
    """The difference with its result, its interval, and the mean over items."""
    return f"{_two_lines(row[f'against_{against}'])}\n{row[f'{against}_items']}".strip()


def _two_lines(difference: str) -> str:
    """The difference with its result, and below it the interval.

    >>> _two_lines("+0.273 [+0.198, +0.347] win").splitlines()
    ['+0.273 win', '+0.198, +0.347']
    """
    value, _, rest = difference.partition(" [")
    interval, _, result = rest.partition("] ")
    return f"{value} {result}\n{interval}".strip()


def _standing(row: dict[str, Any]) -> dict[str, Any]:
    """A line about a target of which nothing was decided: who serves since when, and the last word.

    Why is left to `rpe champion`: the reasons are those of another night.
    """
    by, verdict = row.get("decided_by", "gate"), row["verdict"].replace("_", " ")
    said = f"{verdict}: {row['reason']}" if verdict == "waiting" else verdict
    return {
        "target": row["target"],
        "serves": row["serves"],
        "since": date(row["serves_since"]),
        "last_verdict": said if by == "gate" else f"{said} by {by}",
        "decided": date(row.get("decided_at")),
    }


def _quarantined(settings: Settings) -> list[dict[str, Any]]:
    with open_lake_to_read(settings) as lake:
        return rows_set_aside(lake)


def _advise(verdicts: Sequence[dict[str, Any]]) -> None:
    """Commands that answer what one asks next, about the target that was served last."""
    served = [row for row in verdicts if row["serves_version"]]
    newest = max(served, key=lambda row: row["serves_since"], default=None)
    subject = f"models:/{newest['target']}@champion" if newest else "ID"
    say("try next:")
    if newest:
        say(f"  rpe champion {newest['target']}")
    say(f"  rpe lineage {subject}")
    say(
        '  rpe sql "SELECT target_name, arm, value, ci_low, ci_high, n_items FROM mart.leaderboard"'
    )
    say("  rpe source draft YOUR_FILE")

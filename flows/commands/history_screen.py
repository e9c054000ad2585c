"""How the history and the champion of a target are shown at a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from textwrap import fill
from typing import Any

from catalog.report.history import standing_alerts
from catalog.report.tables import in_words
from catalog.report.words import of_losses, of_other_mean
from flows.commands.output import say, show_rows, write_json

Row = dict[str, Any]

TITLE = 78
WRAPPED, FACT = 17, 55  # characters of a cell, so that five columns, or two, fit 80


def show_history(target: str, occasions: Sequence[Row], *, nights: int, as_json: bool) -> None:
    """Print the newest occasions, the last one at the bottom, then why it ended so."""
    shown = occasions[-nights:]
    if as_json:
        write_json({"status": "ok", "rows": shown, "faults": []})
        return
    columns = "night champion challenger base what_happened"
    show_rows(
        [_line(occasion) for occasion in shown],
        as_json=False,
        title=_title(target, shown),
        columns=columns,
    )
    if len(occasions) > len(shown):
        say(f"{len(occasions) - len(shown)} earlier: `--nights {len(occasions)}` shows all")
    _tell_alerts(standing_alerts(occasions))
    decided = [decision for occasion in shown for decision in occasion["decisions"]]
    if decided:
        say(f"last decision ({minute(decided[-1]['at'])}, {decided[-1]['actor']}):")
        for line in decided[-1]["reasons"].split("\n"):
            say(fill(line, TITLE, initial_indent="  ", subsequent_indent="    "))


def show_overview(rows: Sequence[Row], *, as_json: bool) -> None:
    """Print one line per target of the plan."""
    is_told = any(row["alerts"] for row in rows)
    lines = [
        {
            "target": f"{row['target']}\n{row['serves']} {date(row['serves_since'])}".rstrip(),
            "champion": _arm("", row, "champion"),
            "base": _arm("", row, "base"),
            "n": row["base_n_items"],
            "last_verdict": f"{row['verdict']}\n{date(row.get('decided_at'))}".rstrip(),
            **({"alerts": "\n".join(map(in_words, row["alerts"]))} if is_told else {}),
        }
        for row in rows
    ]
    title = "targets of the plan: what serves and since when, newest scores, 95 % intervals"
    show_rows(list(rows) if as_json else lines, as_json=as_json, title=title)


def show_champion(champion: Row, *, as_json: bool) -> None:
    """Print who serves, since when, why and made of what; then what to try next."""
    if as_json:
        write_json({"status": "ok", "rows": [champion], "faults": []})
        return
    facts = _facts(champion)
    rows = [{"fact": name, "is": _wrapped(value)} for name, value in facts.items() if value]
    show_rows(rows, as_json=False, title=f"{champion['target']}: {_headline(champion)}")
    if champion.get("members"):
        members = [
            {**row, "adapter": f"{row['adapter_id']}\n{row['dataset_version_id']}"}
            for row in champion["members"]
        ]
        title = "members: each adapter with the dataset version that it was trained on"
        show_rows(members, as_json=False, title=title, columns="weight distance adapter")
    _tell_alerts(champion["alerts"])
    say("try next:")
    for command in _next(champion):
        say(f"  {command}")


def _wrapped(text: str) -> str:
    return "\n".join(
        fill(line, FACT, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


def minute(at: datetime | None) -> str:
    """A time to the minute, in UTC."""
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else ""


def date(at: datetime | None) -> str:
    """A day."""
    return f"{at:%Y-%m-%d}" if at else ""


def _title(target: str, shown: Sequence[Row]) -> str:
    scored = [occasion for occasion in shown if occasion["metric"]]
    if not scored:
        return f"{target}, times in UTC"
    last = scored[-1]
    better = "higher" if last["is_higher_better"] else "lower"
    rows = "test rows" if last["split"] == "test" else "left-out references"
    return fill(
        f"{target}: {last['metric']} ({better} is better) with 95 % intervals on {rows},"
        f" {last['n_items']} in the last night; times in UTC",
        TITLE,
        break_on_hyphens=False,
    )


def _line(occasion: Row) -> Row:
    is_promoted = any(decision["action"] == "promoted" for decision in occasion["decisions"])
    is_one = is_promoted and occasion["challenger_arm"] == occasion["champion_arm"]
    return {
        "night": f"{occasion['at']:%Y-%m-%d}\n{occasion['at']:%H:%M}",
        "champion": _arm(
            "" if occasion["serves"] == "base" else occasion["serves"], occasion, "champion"
        ),
        "challenger": "(promoted)"
        if is_one
        else _arm(occasion["challenger_arm"] or "", occasion, "challenger"),
        "base": _arm("", occasion, "base"),
        "what_happened": fill("; ".join(_events(occasion)) or "scored again", WRAPPED),
    }


def _arm(name: str, row: Row, role: str) -> str:
    return _score(name, *(row[f"{role}_{column}"] for column in ("value", "ci_low", "ci_high")))


def _score(name: str, value: float | None, low: float | None, high: float | None) -> str:
    r"""Name and value, and the interval on a line of its own.

    >>> _score("v3", 0.5, 0.25, 0.75)
    'v3 0.500\n0.250..0.750'
    """
    if value is None:
        return name
    line = f"{name} {_number(value)}".strip()
    lines = [line] if len(line) <= WRAPPED else [name, _number(value)]
    return "\n".join([*lines, *([] if low is None else [f"{_number(low)}..{_number(high)}"])])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def _events(occasion: Row) -> list[str]:
    events = [_event(decision, occasion) for decision in occasion["decisions"]]
    events += [f"ALERT {_kind(alert)}" for alert in occasion["alerts"]]
    events += [f"{_kind(alert)} resolved" for alert in occasion["resolved"]]
    events += [f"FAILED {', '.join(occasion['failed'])}"] if occasion["failed"] else []
    events += ["data behind it were withdrawn"] if occasion["withdrawn"] else []
    events += ["interrupted"] if occasion["outcome"] == "interrupted" else []
    n_quiet = occasion["n_quiet_after"]
    events += [f"then {n_quiet} quiet night{'s' if n_quiet > 1 else ''}"] if n_quiet else []
    return events


def _kind(alert: Row) -> str:
    return str(alert["kind"]).replace("_", " ")


def _tell_alerts(alerts: Sequence[Row]) -> None:
    for alert in alerts:
        say(f"ALERT since {minute(alert['raised_at'])}: {alert['message']}; {alert['remedy']}")


def _event(decision: Row, occasion: Row) -> str:
    named = f"v{decision['version']}" if decision["version"] else ""
    action, who = decision["action"], decision["actor"]
    if action == "approved":
        return f"{named} approved by {who}"
    if action == "rolled_back":
        return f"rolled back to {named} by {who}"
    if action == "withdrawn_damaged":
        return f"champion withdrawn, damaged: {named or 'the base'} serves"
    said = f"{named} {action}".strip()
    if action == "promoted" and occasion["former_version"]:
        return f"{said} over v{occasion['former_version']} ({_number(occasion['former_value'])})"
    return f"{said}: {decision['in_short']}" if decision["in_short"] else said


def _headline(champion: Row) -> str:
    if champion["serves"] != "base":
        return f"version {champion['model_version']} serves since {minute(champion['since_at'])}"
    if not champion["is_planned"]:
        return "nothing serves; plan.yaml no longer names it"
    return f"no champion; the base {champion['base']} answers"


def _facts(champion: Row) -> dict[str, str]:
    judged = {"newest verdict": _verdict(champion), "newest score": _now(champion)}
    if champion["serves"] == "base":
        return {**judged, "why": champion["why"]}
    how = champion["action"].replace("_", " ")
    return {
        "model": f"models:/{champion['model_name']}/{champion['model_version']}",
        "decided by": f"{champion['actor']} ({how}) in {champion['run_id']}",
        "why": champion["why"],
        "against base": _difference(champion, "base"),
        "against former": _difference(champion, "former"),
        "replaced": f"version {champion['former_version']}" if champion["former_version"]
        else "",
        "score when promoted": _then(champion),
        **judged,
        "evidence": "labels of its test rows" if champion["evidence"] == "labels"
        else "leave-one-out over the references: it has no labelled test rows",
        "ensemble": f"{champion['ensemble_id']}, {champion['strategy']}, merge {champion['merge']},"
        f" rank {champion['rank']}",
        "base": champion["base_id"],
        "dataset version": champion["dataset_version_id"],
        "license": champion["license"],
        "withdrawn": f"data behind it were withdrawn on {date(champion['withdrawn_at'])}; what"
        " served in between is no longer on record" if champion["withdrawn_at"] else "",
    }  # fmt: skip


def _verdict(champion: Row) -> str:
    """The newest verdict, where it is another one than that which made the champion."""
    verdict = champion["verdict"]
    if not verdict["id"] or verdict["id"] == champion.get("promotion_id"):
        return ""
    said = f"{verdict['verdict']} {minute(verdict['decided_at'])} by {verdict['decided_by']}"
    return f"{said}: {champion['verdict_in_short']}" if champion["verdict_in_short"] else said


def _difference(champion: Row, other: str) -> str:
    if champion[f"{other}_difference"] is None:
        return ""
    low, high = champion[f"{other}_ci_low"], champion[f"{other}_ci_high"]
    measured = (
        f"{champion['metric']} {champion[f'{other}_difference']:+.3f} [{low:+.3f}, {high:+.3f}]:"
        f" {champion[f'{other}_result']}"
    )
    beside = {
        name: champion[f"{other}_{name}"] for name in ("item_difference", "n_lost", "loss_upper")
    }
    beside |= {"n_groups": champion["n_groups"], "loss_size": champion["loss_size"]}
    return "; ".join(part for part in (measured, of_other_mean(beside), of_losses(beside)) if part)


def _then(champion: Row) -> str:
    if champion["value"] is None:
        return ""
    scored = _score("", champion["value"], champion["ci_low"], champion["ci_high"]).replace(
        "\n", ", "
    )
    return (
        f"{champion['metric']} {scored}, {champion['n_items']} rows of"
        f" {champion['n_groups']} groups ({date(champion['since_at'])})"
    )


def _now(champion: Row) -> str:
    """How it does on the newest data, beside base."""
    base = next((row for row in champion["newest"] if row["arm"] == "base"), None)
    parts = [
        f"{name}{row['metric']} "
        + _score("", row["value"], row["ci_low"], row["ci_high"]).replace("\n", ", ")
        for name, row in (("", champion["now"]), ("base ", base))
        if row
    ]
    if not parts:
        return ""
    first = champion["newest"][0]
    return (
        f"{'; '.join(parts)}; {first['n_items']} rows, {first['dataset_version_id']},"
        f" {date(first['evaluated_at'])}"
    )


def _next(champion: Row) -> list[str]:
    name, is_pending = champion["target"], champion["verdict"]["verdict"] == "pending"
    if champion["serves"] != "base":
        back = champion["rollback_version"]
        return [
            f"rpe lineage models:/{champion['model_name']}@champion   # every file behind it",
            f"rpe history {name}",
            *(
                [f"rpe rollback {name} --actor NAME   # version {back} serves again"]
                if back
                else []
            ),
            *(
                [f"rpe promote {name} --actor NAME   # let the challenger serve"]
                if is_pending
                else []
            ),
        ]
    if not champion["is_planned"]:
        return [f"rpe history {name}"]
    known = {
        "pending": [f"rpe promote {name} --actor NAME   # let the challenger serve"],
        "refused": [f"rpe history {name}", f"rpe ensemble {name} --explain"],
        "abstained": [f"rpe nearest {name}   # add sources that are nearer"],
    }
    return known.get(champion["verdict"]["verdict"], ["rpe nightly"])

"""Notices: after each night one JSON POST to a webhook, if the settings name one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx

from flows.runs.exit_codes import exit_code_of
from flows.runs.ledger import REFUSED
from flows.runs.run_record import NIGHT, Summary
from flows.workspace.settings import Settings

PATIENCE_SECONDS = 5.0
_BREACHES = ("ContractViolated", "PhiFound")  # kinds of faults that say a delivery was refused
SCHEDULED = (NIGHT, "maintain")
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every URL, and this one is a secret


def send_night_notice(settings: Settings, summary: Summary) -> Summary:
    """The summary of a night after its notice; `notice` says why it was not taken, if so."""
    if summary.flow != NIGHT:
        return summary
    notice = {
        "run_id": summary.run_id,
        "outcome": summary.outcome,
        "exit_code": summary.exit_code,
        "wall_seconds": round(summary.wall_seconds, 3),
        "faults": [{"step": f.step, "unit": f.unit, "kind": f.kind} for f in summary.faults],
        **_alerts_of(summary),
    }
    return replace(summary, notice=_send(settings, notice))


def _alerts_of(summary: Summary) -> dict[str, list[dict[str, str]]]:
    """`alerts` that this night raised, those `standing` from before, those that were `resolved`."""
    by_state = {
        "alerts": [alert for alert in summary.alerts if alert.is_raised],
        "standing": [alert for alert in summary.alerts if not alert.is_raised],
        "resolved": summary.resolved,
    }
    return {
        name: [{"kind": a.kind, "subject": a.subject, "source": a.source} for a in alerts]
        for name, alerts in by_state.items()
    }


def tell_stop(settings: Settings, flow: str, error: Exception) -> None:
    """Give notice of an error that ended a scheduled flow before it had a record of its run."""
    if flow not in SCHEDULED:
        return
    notice = {
        "run_id": "",
        "outcome": "failed",
        "exit_code": exit_code_of(error),
        "wall_seconds": 0.0,
        "faults": [{"step": flow, "unit": "all", "kind": type(error).__name__}],
        "alerts": [],
        "standing": [],
        "resolved": [],
    }
    _send(settings, notice)


def _send(settings: Settings, notice: Mapping[str, Any]) -> str:
    """Post a notice; '' if it was taken or nobody is to be told, else why not, without the URL."""
    if settings.webhook_url is None:
        return ""
    url = settings.webhook_url.get_secret_value()
    try:
        answer = httpx.post(url, json={**notice, "text": _text(notice)}, timeout=PATIENCE_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"the webhook of RPE_WEBHOOK_URL could not be reached: {type(error).__name__}"
    if answer.is_success:
        return ""
    return f"the webhook of RPE_WEBHOOK_URL did not take the notice: status {answer.status_code}"


def _text(notice: Mapping[str, Any]) -> str:
    """The notice in a line, which is what chat rooms show.

    >>> fault = {"step": "train", "unit": "a", "kind": "RpeError"}
    >>> alert = {"kind": "silent", "subject": "b"}
    >>> _text({"run_id": "run:night@1", "outcome": "failed", "exit_code": 1, "faults": [fault],
    ...     "alerts": [alert], "standing": [], "resolved": [{"kind": "fall", "subject": "c"}]})
    'run:night@1: failed (exit 1); failed: train a; silent: b; resolved: fall c'

    A refused file is told once, as what it is.

    >>> fault = {"step": "ingest", "unit": "a", "kind": "ContractViolated"}
    >>> refused = {"kind": "refused", "subject": "a"}
    >>> _text({"run_id": "run:night@2", "outcome": "refused", "exit_code": 3, "faults": [fault],
    ...     "alerts": [refused, refused], "standing": [], "resolved": []})
    'run:night@2: refused (exit 3); refused: a'
    """
    name = notice["run_id"] or notice["faults"][0]["step"]
    parts = [f"{name}: {notice['outcome']} (exit {notice['exit_code']})"]
    refused = {alert["subject"] for alert in notice["alerts"] if alert["kind"] == REFUSED}
    parts += [
        f"failed: {fault['step']} {fault['unit']}"
        for fault in notice["faults"]
        if fault["kind"] not in _BREACHES or fault["unit"] not in refused
    ]
    parts += [f"{alert['kind']}: {alert['subject']}" for alert in notice["alerts"]]
    for word in ("standing", "resolved"):
        parts += [f"{word}: {alert['kind']} {alert['subject']}" for alert in notice[word]]
    return "; ".join(dict.fromkeys(parts))

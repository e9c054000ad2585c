"""The history of a target: its occasions, which are nights and acts that changed something.

Everything is read from the lake; what a retraction erased is not there, and that there was one is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from catalog.report.queries import by_target, read_champions, read_history
from catalog.report.words import is_of_losses
from catalog.stores.lake.lake import Lake

Row = dict[str, Any]

_BREACH = 3  # exit code of a fault that says that a delivery was refused
PERSONS = {"approved": "promote", "rolled_back": "rollback"}  # what a person did: by which command
_UNASKED = (*PERSONS, "withdrawn_damaged", "restored")  # no verdict about an evaluation
_ARM = {"version": "model_version", "arm": "arm", "value": "value", "ci_low": "ci_low",
        "ci_high": "ci_high"}  # fmt: skip
_SHARED = (
    *("evaluated_at", "dataset_version_id", "split", "metric", "is_higher_better"),
    *("n_items", "n_groups", "evaluation_id"),
)
_ROLES = ("champion", "challenger", "base")
_COLUMNS = (
    *_SHARED,
    *(f"{role}_{name}" for role in _ROLES for name in _ARM),
    *("former_version", "former_value"),
)
_TOLD = ("Wins", "Ties", "Loses", "There is no champion", "Challenger", "A person must", "Licensed")
_WITHDRAWN = """
SELECT retraction_id, recorded_at FROM core.retractions
WHERE contains(certificate_json, '"ensemble:' || ? || '@') ORDER BY recorded_at
"""
_ALERTS = """
SELECT kind, subject, message, remedy, is_standing, raised_run_id, raised_at, resolved_run_id,
    resolved_at
FROM mart.alerts
WHERE CASE WHEN list_contains(?, kind) THEN subject = nullif(?, '') ELSE subject = ? END
ORDER BY raised_at, kind, alert_id
"""
_OF_SOURCES = ("silent", "refused", "drift")  # kinds of alerts whose subject is a source
_MEMBERS = """
SELECT a.source, m.weight, m.distance, m.adapter_id, a.dataset_version_id, a.recipe_id,
    a.model_name, a.model_version
FROM core.ensemble_members AS m JOIN core.adapters AS a USING (adapter_id)
WHERE m.ensemble_id = ? AND a.retracted_at IS NULL ORDER BY m.weight DESC, a.source, m.adapter_id
"""


def read_occasions(lake: Lake, target: str, *, source: str = "") -> list[Row]:
    """What happened to a target, oldest first: one row per night or act that changed something.

    at, run_id, flow, outcome; serves ("v3", or "base") once it was over; champion_*, challenger_*
    and base_* (version, arm, value, ci_low, ci_high); former_version and former_value of a
    champion that lost its place; decisions (action, version, arm, actor, reasons, in_short, at);
    failed (steps); alerts that were raised, and resolved (kind, subject, message, remedy,
    is_standing, raised_at, resolved_at); withdrawn; n_quiet_after: nights without anything until
    the next one.
    """
    runs = _runs(lake)
    by_run: dict[str, Row] = {}
    scored = _evaluations(read_history(lake, targets=[target]))
    for arms in scored:
        _occasion(by_run, runs, arms[0]["run_id"], arms[0]["evaluated_at"]).update(_scores(arms))
    for row in _decisions(lake, target):
        is_act = row["action"] in PERSONS
        name = row["promotion_id"] if is_act else row["run_id"]
        occasion = _occasion(
            by_run, runs, name, row["recorded_at"], flow=PERSONS.get(row["action"], "")
        )
        occasion["decisions"].append(_decision(row))
    alerts = lake.rows(_ALERTS, [list(_OF_SOURCES), source, target])
    refusing = {alert["raised_run_id"] for alert in alerts if alert["kind"] == "refused"}
    for run in runs.values():
        if failed := _failed(run, target, source, is_told=run["run_id"] in refusing):
            _occasion(by_run, runs, run["run_id"], run["started_at"])["failed"] = failed
    for alert in alerts:
        run_ids = {"alerts": alert.pop("raised_run_id"), "resolved": alert.pop("resolved_run_id")}
        for name, run_id in run_ids.items():
            if run_id:
                _occasion(by_run, runs, run_id, alert["raised_at"])[name].append(alert)
    for row in lake.rows(_WITHDRAWN, [target]):
        _occasion(by_run, runs, row["retraction_id"], row["recorded_at"], flow="retract")[
            "withdrawn"
        ] = True
    occasions = sorted(by_run.values(), key=lambda occasion: (occasion["at"], occasion["run_id"]))
    champions = read_champions(lake, targets=[target])
    _fill(occasions, scored, champions)
    _count_quiet(occasions, [run for run in runs.values() if run["flow"] == "night"])
    return occasions


def subject_kind(kind: str) -> str:
    """What an alert of this kind is about: a target, or a source."""
    return "source" if kind in _OF_SOURCES else "target"


def standing_alerts(occasions: Iterable[Row]) -> list[Row]:
    """The alerts among them that stand, in the order in which they were raised."""
    return [alert for occasion in occasions for alert in occasion["alerts"] if alert["is_standing"]]


def read_champion(lake: Lake, target: str) -> Row | None:
    """The row of mart.champion_history of the version that serves, with what it is made of."""
    rows = [row for row in read_champions(lake, targets=[target]) if row["is_champion"]]
    if not rows:
        return None
    made = lake.rows(
        "SELECT strategy, merge, rank, base_id, license FROM core.ensembles WHERE ensemble_id = ?",
        [rows[-1]["ensemble_id"]],
    )
    return rows[-1] | made[0] | {"members": lake.rows(_MEMBERS, [rows[-1]["ensemble_id"]])}


def read_newest(lake: Lake, *, targets: Sequence[str]) -> dict[str, list[Row]]:
    """Target -> rows of mart.target_history of its newest evaluation."""
    rows = by_target(read_history(lake, targets=targets))
    return {name: _evaluations(of_target)[-1] for name, of_target in rows.items()}


def row_of(rows: Iterable[Row], ensemble_id: str) -> Row | None:
    """What an ensemble scores in an evaluation, whoever served then; None where it was not scored.

    Without labels an arm answers for its strategy: that of the champion then counts.
    """
    scores = [
        row for row in rows if row["arm"] != "auto" and row["ensemble_id"] == ensemble_id != ""
    ]
    scores += [row for row in rows if row["split"] != "test" and row["is_champion"] and ensemble_id]
    return scores[0] if scores else None


def read_names(lake: Lake) -> list[str]:
    """Every target that anything is on record of, those of former plans included."""
    rows = lake.rows(
        "SELECT DISTINCT target_name FROM mart.target_history UNION"
        " SELECT target_name FROM core.promotions WHERE retracted_at IS NULL ORDER BY target_name"
    )
    return [row["target_name"] for row in rows]


def _runs(lake: Lake) -> dict[str, Row]:
    rows = lake.rows(
        "SELECT run_id, flow, outcome, started_at, ended_at, recorded_at, faults_json"
        " FROM core.runs ORDER BY recorded_at, run_id"
    )
    return {row["run_id"]: row for row in rows}


def _evaluations(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of one target, evaluation by evaluation, in their order."""
    by_evaluation: dict[str, list[Row]] = {}
    for row in rows:
        by_evaluation.setdefault(row["evaluation_id"], []).append(row)
    return list(by_evaluation.values())


def _occasion(
    by_run: dict[str, Row], runs: Mapping[str, Row], name: str, at: datetime, *, flow: str = ""
) -> Row:
    """The occasion of this run or act, made where it is the first to be told of it."""
    run = runs.get(name)
    if name not in by_run:
        by_run[name] = {
            "at": run["started_at"] if run else at,
            "run_id": "" if flow else name,
            "flow": run["flow"] if run else flow or name.partition("@")[0].removeprefix("run:"),
            "outcome": run["outcome"] if run else "" if flow else "interrupted",
            **dict.fromkeys(_COLUMNS),
            "decisions": [],
            "alerts": [],
            "resolved": [],
            "failed": [],
            "withdrawn": False,
            "until": run["recorded_at"] if run else at,
        }
    by_run[name]["until"] = max(by_run[name]["until"], at)
    return by_run[name]


def _scores(arms: Sequence[Row]) -> Row:
    """The arms that count, beside each other."""
    former = next((row for row in arms if row["role"] == "former champion"), None)
    facts = {name: arms[0][name] for name in _SHARED}
    if former:
        facts |= {"former_version": former["model_version"], "former_value": former["value"]}
    chosen = {
        "champion": next((row for row in arms if row["is_champion"]), None),
        "challenger": next((row for row in arms if _is_challenger(row)), None),
        "base": next((row for row in arms if row["arm"] == "base"), None),
    }
    for role, row in chosen.items():
        facts |= {f"{role}_{name}": row[column] if row else None for name, column in _ARM.items()}
    return facts


def _is_challenger(row: Row) -> bool:
    return row["role"] == "challenger" or row["verdict"] in ("promoted", "refused", "pending")


def _decisions(lake: Lake, target: str) -> list[Row]:
    """Verdicts and acts, each with the results of the comparisons behind it."""
    rows = lake.rows(
        "FROM core.promotions WHERE target_name = ? AND retracted_at IS NULL"
        " ORDER BY recorded_at, promotion_id DESC",
        [target],
    )
    compared = lake.rows(
        "SELECT run_id, ensemble_id, baseline_ensemble_id, result FROM core.comparisons"
        " WHERE target_name = ? AND retracted_at IS NULL ORDER BY recorded_at, comparison_id",
        [target],
    )
    results: dict[tuple[str, str], dict[str, str]] = {}
    for row in compared:
        against = "champion" if row["baseline_ensemble_id"] else "base"
        results.setdefault((row["run_id"], row["ensemble_id"]), {})[against] = row["result"]
    return [row | {"results": results.get((row["run_id"], row["ensemble_id"]), {})} for row in rows]


def _decision(row: Row) -> Row:
    return {
        "action": row["action"],
        "version": row["model_version"],
        "arm": row["arm"],
        "actor": row["actor"],
        "reasons": row["reasons"],
        "in_short": "; ".join([*_results(row["results"]), *first_words(row["reasons"])]),
        "at": row["recorded_at"],
    }


def _results(results: Mapping[str, str]) -> list[str]:
    return [f"{result} against {against}" for against, result in results.items()]


def first_words(reasons: str) -> list[str]:
    r"""What the reasons say beside results and accounts, each cut where its first part ends.

    >>> first_words("Wins against base: 1.\nRefused unseen: 9 test items are too few; ask more.")
    ['refused unseen']
    >>> first_words("3 of 60 groups lost more than 0.3: up to 12.4% may.\nRefused: it is so; not.")
    ['refused: it is so']
    """
    lines = [line for line in reasons.split("\n") if line and not line.startswith(_TOLD)]
    lines = [line for line in lines if not is_of_losses(line)]
    cut = [re.split(r"(?<!^Refused)[.:;](?: |$)", line, maxsplit=1)[0] for line in lines]
    return [words[:1].lower() + words[1:] for words in cut]


def licences(reasons: str) -> list[str]:
    r"""Which guards licensed a win, each once, without their numbers.

    >>> licences("Wins against base: 1.\nLicensed by McNemar's exact test: p 0.001 of 0.0125.")
    ["licensed by McNemar's exact test"]
    """
    lines = [line for line in reasons.split("\n") if line.startswith("Licensed")]
    return list(dict.fromkeys(line.partition(":")[0].replace("Lic", "lic", 1) for line in lines))


def _failed(run: Row, target: str, source: str, *, is_told: bool) -> list[str]:
    """Steps of a run that failed for the target or its source; a refused file once, as an alert."""
    units = {target, source} - {""}
    faults = json.loads(run["faults_json"] or "[]")
    mine = [fault for fault in faults if fault["unit"].split(" ")[0] in units]
    return sorted({f["step"] for f in mine if not (is_told and f.get("exit_code") == _BREACH)})


def _fill(occasions: Sequence[Row], scored: Sequence[list[Row]], champions: Sequence[Row]) -> None:
    """Say who served after each occasion, and give a verdict without scores those that it saw."""
    for occasion in occasions:
        is_judged = any(decision["action"] not in _UNASKED for decision in occasion["decisions"])
        seen = [arms for arms in scored if arms[0]["evaluated_at"] <= occasion["until"]]
        if is_judged and seen and occasion["metric"] is None:
            occasion.update(_scores(seen[-1]))
        served = [row for row in champions if row["since_at"] <= occasion["until"]]
        # damage may have taken the last one away
        until = served[-1]["until_at"] if served else None
        is_served = bool(served) and (until is None or until > occasion["until"])
        occasion["serves"] = f"v{served[-1]['model_version']}" if is_served else "base"


def _count_quiet(occasions: Sequence[Row], nights: Sequence[Row]) -> None:
    run_ids = {occasion["run_id"] for occasion in occasions}
    quiet = [night["started_at"] for night in nights if night["run_id"] not in run_ids]
    for occasion, following in zip(
        occasions, [*occasions[1:], None][: len(occasions)], strict=True
    ):
        until = following["at"] if following else None
        occasion["n_quiet_after"] = sum(
            at > occasion["at"] and (until is None or at < until) for at in quiet
        )
        del occasion["until"]

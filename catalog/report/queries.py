"""Named reads behind the report and the last screen of a night."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from catalog.lineage import source_of
from catalog.queries.serving import CHANGES, champions_now
from catalog.report import words
from catalog.stores.lake.lake import Lake

Row = dict[str, Any]

_NEWEST = """
QUALIFY row_number() OVER (PARTITION BY target_name ORDER BY recorded_at DESC, promotion_id) = 1
"""
_VERDICTS = f"""
SELECT * FROM core.promotions WHERE list_contains(?, target_name) AND retracted_at IS NULL {_NEWEST}
"""
# What the gate said since the run before that asked it: a run that was killed has no row, and the
# next one ends what it began.
_DECIDED = f"""
WITH asking AS (SELECT * FROM core.runs WHERE contains(steps_json, '"name":"promote"')),
this AS (SELECT recorded_at AS until_at FROM asking WHERE run_id = ?),
former AS (SELECT max(recorded_at) AS since_at FROM asking, this WHERE recorded_at < until_at)
SELECT p.* FROM core.promotions AS p, this, former
WHERE list_contains(?, p.target_name) AND p.retracted_at IS NULL
    AND p.action NOT IN ('approved', 'rolled_back', 'withdrawn_damaged', 'restored')
    AND p.recorded_at <= until_at AND (since_at IS NULL OR p.recorded_at > since_at) {_NEWEST}
"""
_COMPARED = """
SELECT * FROM core.comparisons WHERE list_contains(?, target_name)
    AND list_contains(?, ensemble_id) AND retracted_at IS NULL
ORDER BY recorded_at DESC, comparison_id
"""
_SCORED = """
SELECT *, rank() OVER (PARTITION BY target_name ORDER BY recorded_at DESC) = 1 AS is_newest
FROM core.scores WHERE slice = '' AND split IN ('test', 'leave_one_out')
    AND list_contains(?, target_name)
QUALIFY is_newest OR list_contains(?, evaluation_id)
ORDER BY target_name, metric, arm
"""
_STANDING = """
SELECT target_name, arm, split, value, ci_low, ci_high, n_items, metric, is_higher_better,
    ensemble_id
FROM core.scores WHERE slice = '' AND list_contains(?, target_name)
QUALIFY rank() OVER (PARTITION BY target_name ORDER BY recorded_at DESC) = 1
ORDER BY target_name, metric, arm
"""
_MEMBERS = """
SELECT e.target_name, e.strategy, a.source, m.weight, m.distance, e.abstained, e.reason,
    e.distance_ratio, e.l1_norm, e.residual_ratio, c.weight_change AS weight_change_without,
    c.delta_change_ratio AS delta_change_ratio_without
FROM core.ensembles e JOIN core.ensemble_members m USING (ensemble_id)
JOIN core.adapters a USING (adapter_id)
LEFT JOIN core.attributions c ON c.ensemble_id = e.ensemble_id AND c.source = a.source
WHERE list_contains(?, e.target_name) AND e.retracted_at IS NULL
QUALIFY rank() OVER (PARTITION BY e.target_name, e.strategy ORDER BY e.recorded_at DESC) = 1
ORDER BY e.target_name, e.strategy, a.source
"""
_SERVED = f"""
SELECT DISTINCT l.model_name, l.model_version, l.source, l.weight, l.dataset_version_id, l.file_uri,
    l.file_sha256, l.n_rows
FROM mart.adapter_lineage l JOIN {CHANGES} AS c USING (model_name, model_version)
WHERE c.is_champion AND list_contains(?, c.target_name)
ORDER BY l.model_name, l.weight DESC, l.source, l.file_uri
"""

_NEWS = """
WITH ended AS (SELECT DISTINCT resolved_run_id AS run_id FROM mart.alerts)
SELECT r.* FROM core.runs AS r LEFT JOIN ended AS e USING (run_id)
ORDER BY
    len(json_extract(steps_json, '$[*].done[*]')) > 0
    OR len(json_extract(steps_json, '$[*].failed[*]')) > 0
    OR json_array_length(faults_json) > 0
    OR len(list_filter(json_extract(coalesce(alerts_json, '[]'), '$[*]'),
        lambda a: coalesce(a ->> '$.is_raised', 'true') = 'true')) > 0
    OR e.run_id IS NOT NULL DESC,
    r.recorded_at DESC, run_id
LIMIT 1
"""


def read_verdicts(lake: Lake, *, targets: Sequence[str]) -> list[Row]:
    """The newest verdict of each target, whenever it fell: one row each, in their order.

    target, evidence, challenger, score, against_base, against_champion, n, verdict, reason,
    in_short, decided_at, decided_by, id; base_items and base_losses (the mean over items, and the
    groups that lost much), the same of champion, hope (how many groups would decide); and who
    serves: serves ("v3", or "base"), serves_version, serves_since, serves_by, serves_ensemble_id.
    Of a target without a verdict only target, verdict ("waiting"), reason and who serves.
    """
    return _verdicts(lake, lake.rows(_VERDICTS, [list(targets)]), targets)


def read_decisions(lake: Lake, *, targets: Sequence[str], run_id: str) -> list[Row]:
    """What the gate decided in a run: rows like those of `read_verdicts`, of no other target."""
    decided = lake.rows(_DECIDED, [run_id, list(targets)])
    decided_targets = {row["target_name"] for row in decided}
    return _verdicts(lake, decided, [name for name in targets if name in decided_targets])


def read_standing_verdicts(lake: Lake, *, targets: Sequence[str], run_id: str) -> list[Row]:
    """What was decided before a run, or by a person since, and stands: the other `read_verdicts`.

    `decided_at` says since when, `reason` is told of the past; a target without a verdict is
    "waiting".
    """
    decided = {row["promotion_id"] for row in lake.rows(_DECIDED, [run_id, list(targets)])}
    return [
        row | {"reason": in_the_past(row["reason"])}
        for row in read_verdicts(lake, targets=targets)
        if row["id"] not in decided
    ]


def in_the_past(reasons: str) -> str:
    r"""Reasons of a verdict as they are told later: what was true of that night is not true of now.

    >>> in_the_past("Wins against base: 1.\nThere is no champion yet.")
    'Wins against base: 1.\nThere was no champion before.'
    """
    later = {
        "There is no champion yet.": "There was no champion before.",
        "A person must approve before the champion moves.": "A person had to approve it.",
    }
    return "\n".join(later.get(line, line) for line in reasons.split("\n"))


def read_history(lake: Lake, *, targets: Sequence[str]) -> list[Row]:
    """Rows of mart.target_history of these targets: one per evaluation and arm, oldest first."""
    return lake.rows(
        f"FROM mart.target_history WHERE {_named(targets)}"
        " ORDER BY target_name, evaluated_at, evaluation_id, is_champion DESC, arm",
        [*targets],
    )


def read_champions(lake: Lake, *, targets: Sequence[str]) -> list[Row]:
    """Rows of mart.champion_history: each time a version began to serve, oldest first."""
    return lake.rows(
        f"FROM mart.champion_history WHERE {_named(targets)}"
        " ORDER BY target_name, since_at, promotion_id DESC",
        [*targets],
    )


def _named(targets: Sequence[str]) -> str:
    """The condition on names that DuckDB takes into a view, where it leaves out the others."""
    if len(targets) == 1:
        return "target_name = ?"
    return f"target_name IN ({', '.join('?' for _ in targets)})" if targets else "false"


def _verdicts(lake: Lake, decided: Sequence[Row], targets: Sequence[str]) -> list[Row]:
    by_name = {row["target_name"]: row for row in decided}
    judged = sorted({row["ensemble_id"] for row in decided})
    comparisons = by_target(lake.rows(_COMPARED, [list(by_name), judged]))
    evaluations = {row["evaluation_id"] for rows in comparisons.values() for row in rows}
    scores = by_target(lake.rows(_SCORED, [list(by_name), sorted(evaluations)]))
    serving = champions_now(lake, targets=targets)
    return [
        _verdict(name, by_name.get(name), comparisons.get(name, []), scores.get(name, []))
        | _serves(serving.get(name))
        for name in targets
    ]


def by_target(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Target -> its rows, in their order."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["target_name"], []).append(row)
    return grouped


def read_arms(lake: Lake, *, targets: Sequence[str]) -> list[Row]:
    """Scores of every arm by the newest evaluation of each target, by the gate's evidence."""
    rows = lake.rows(_STANDING, [list(targets)])
    return [row for row in rows if row["split"] in ("test", "leave_one_out")]


def read_members(lake: Lake, *, targets: Sequence[str]) -> list[Row]:
    """Weights and guards of the newest ensemble of each target and strategy."""
    return lake.rows(_MEMBERS, [list(targets)])


def read_served(lake: Lake, *, targets: Sequence[str]) -> list[Row]:
    """What is behind each champion: members, dataset versions, files with hash and row count."""
    return lake.rows(_SERVED, [list(targets)])


def read_sources(lake: Lake) -> list[Row]:
    """Health of every source."""
    return lake.rows("SELECT * FROM mart.source_health ORDER BY source")


def read_drifts(lake: Lake) -> list[Row]:
    """How far z of each source moved when its newest version came."""
    return lake.rows("FROM mart.source_drift WHERE is_newest ORDER BY source, role, encoder_id")


def read_spending(lake: Lake, *, targets: Sequence[str]) -> list[Row]:
    """What each target's gate has spent on challengers, and what bets on new groups are worth."""
    return lake.rows(
        "FROM mart.gate_spending WHERE list_contains(?, target_name) ORDER BY ALL",
        [list(targets)],
    )


def read_runs(lake: Lake, *, runs: Sequence[str]) -> list[Row]:
    """Runs by id, with what `read_nights` tells of a night."""
    return lake.rows(
        "SELECT *, json_array_length(faults_json)::BIGINT AS n_faults,"
        " json_array_length(coalesce(alerts_json, '[]'))::BIGINT AS n_alerts FROM core.runs"
        " WHERE list_contains(?, run_id) ORDER BY recorded_at DESC, run_id",
        [list(runs)],
    )


def read_nights(lake: Lake) -> list[Row]:
    """Every night with its costs, the newest first."""
    return lake.rows("FROM mart.nights")


def read_alerts(lake: Lake) -> list[Row]:
    """The alerts that stand, the newest first."""
    return lake.rows("FROM mart.alerts WHERE is_standing ORDER BY raised_at DESC, kind, subject")


def read_ended(lake: Lake, *, run_id: str) -> list[Row]:
    """The alerts whose cause this run found gone."""
    return lake.rows(
        "FROM mart.alerts WHERE resolved_run_id = ? ORDER BY raised_at, kind, subject", [run_id]
    )


def count_champions(lake: Lake) -> int:
    """How many targets an ensemble serves."""
    return len(champions_now(lake))


def read_last_run(lake: Lake) -> Row | None:
    """The newest run with news: work, a fault, an alert raised or ended; else the newest of all."""
    rows = lake.rows(_NEWS)
    return rows[0] if rows else None


def read_order(lake: Lake) -> list[str]:
    """Every source on record, in the order in which they came."""
    rows = lake.rows(
        "SELECT source FROM core.sources WHERE retracted_at IS NULL GROUP BY source"
        " ORDER BY min(recorded_at), source"
    )
    return [row["source"] for row in rows]


def read_owners(lake: Lake, *, targets: Sequence[str]) -> dict[str, str]:
    """Target -> the source whose rows it is asked about."""
    rows = lake.rows(
        "SELECT target_name, max_by(dataset_version_id, recorded_at) AS id FROM core.promotions"
        " WHERE list_contains(?, target_name) AND dataset_version_id IS NOT NULL"
        " GROUP BY target_name",
        [list(targets)],
    )
    return {row["target_name"]: source_of(row["id"]) for row in rows}


def read_places(lake: Lake, *, min_groups: int) -> list[Row]:
    """Representations that stand and are of enough groups to be shown, for the map."""
    return lake.rows(
        "SELECT r.representation_id, r.role, r.encoder_id, d.source FROM core.representations r"
        " JOIN core.dataset_versions d USING (dataset_version_id)"
        " WHERE d.superseded_at IS NULL AND d.retracted_at IS NULL"
        " AND coalesce(r.n_groups, r.n_items) >= ? ORDER BY r.role, d.source",
        [min_groups],
    )


def _verdict(name: str, row: Row | None, comparisons: list[Row], scores: list[Row]) -> Row:
    if row is None:
        reason = "no data, or no library yet"
        return {"target": name, "verdict": "waiting", "reason": reason, "id": ""}
    mine = [
        c
        for c in comparisons
        if c["ensemble_id"] == row["ensemble_id"] and c["recorded_at"] <= row["recorded_at"]
    ]
    base = next((c for c in mine if c["baseline_arm"] == "base"), None)
    champion = next(
        (c for c in mine if c["baseline_ensemble_id"] == row["champion_ensemble_id"] != ""), None
    )
    score = _score_of(row, base, scores)
    return {
        "target": name,
        "evidence": row["evidence"],
        "challenger": row["arm"],
        "score": f"{score['metric']} {score['value']:.3f}" if score else "",
        "against_base": _difference(base),
        "against_champion": _difference(champion),
        "n": base["n_items"] if base else None,
        "verdict": row["action"],
        "reason": row["reasons"],
        "in_short": _in_short(row, base, champion),
        "decided_at": row["recorded_at"],
        "decided_by": row["actor"],
        "run_id": row["run_id"],
        "base_result": base["result"] if base else "",
        "champion_result": champion["result"] if champion else "",
        "base_items": words.of_other_mean(base),
        "base_losses": words.of_losses(base),
        "champion_items": words.of_other_mean(champion),
        "champion_losses": words.of_losses(champion),
        "hope": words.of_hope([base, champion]) if row["action"] == "refused" else "",
        "id": row["promotion_id"],
    }


def _serves(champion: Row | None) -> Row:
    """Which version serves, since when and by whose word; the base where there is no champion."""
    if champion is None:
        nobody = {"serves_version": "", "serves_since": None, "serves_by": ""}
        return {"serves": "base", **nobody, "serves_ensemble_id": ""}
    return {
        "serves": f"v{champion['model_version']}",
        "serves_version": champion["model_version"],
        "serves_since": champion["since_at"],
        "serves_by": champion["actor"],
        "serves_ensemble_id": champion["ensemble_id"],
    }


def _score_of(row: Row, compared: Row | None, scores: Sequence[Row]) -> Row | None:
    """What the judged arm scored in the evaluation that the gate looked at, not in a later one."""
    is_labelled = row["evidence"] == "labels"
    split, arm = ("test", row["arm"]) if is_labelled else ("leave_one_out", "auto")
    for score in scores:
        is_meant = score["is_newest"] and score["recorded_at"] <= row["recorded_at"]
        if compared:
            wanted = (compared["evaluation_id"], compared["metric"])
            is_meant = (score["evaluation_id"], score["metric"]) == wanted
        if is_meant and (score["split"], score["arm"]) == (split, arm):
            return score
    return None


def _in_short(row: Row, base: Row | None, champion: Row | None) -> str:
    """The reasons without the numbers that stand beside them."""
    parts = [f"{base['result']} against base"] if base else []
    parts += [f"{champion['result']} against champion"] if champion else []
    elsewhere = ("Wins", "Ties", "Loses", "There is no champion")
    parts += [r for r in row["reasons"].split("\n") if not r.startswith(elsewhere)]
    return "; ".join(parts)


def _difference(comparison: Row | None) -> str:
    if comparison is None:
        return ""
    return (
        f"{comparison['difference']:+.3f} "
        f"[{comparison['ci_low']:+.3f}, {comparison['ci_high']:+.3f}] {comparison['result']}"
    )

"""Watched: which evaluations tell how what serves now did then. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from catalog.queries.serving import CHANGES
from catalog.stores.lake.lake import Lake

Row = dict[str, Any]

_PROMOTING = """
SELECT p.target_name, p.ensemble_id, c.evaluation_id
FROM core.promotions AS p JOIN core.comparisons AS c
    ON c.run_id = p.run_id AND c.target_name = p.target_name AND c.ensemble_id = p.ensemble_id
WHERE p.action IN ('promoted', 'pending') AND list_contains(?, p.ensemble_id)
    AND c.baseline_ensemble_id = '' AND p.retracted_at IS NULL AND c.retracted_at IS NULL
QUALIFY row_number() OVER (PARTITION BY p.target_name, p.ensemble_id
    ORDER BY p.recorded_at DESC, c.recorded_at DESC, c.comparison_id) = 1
"""
_BEFORE = f"""
WITH newest AS (
    SELECT target_name, evaluation_id, min(recorded_at) AS made_at FROM core.scores
    WHERE list_contains(?, evaluation_id) GROUP BY ALL
), serving AS (
    SELECT n.target_name, n.made_at, p.ensemble_id, e.strategy
    FROM newest AS n JOIN {CHANGES} AS p
        ON p.target_name = n.target_name AND p.since_at < n.made_at
    LEFT JOIN core.ensembles AS e ON e.ensemble_id = p.ensemble_id
    WHERE p.retracted_at IS NULL
    QUALIFY row_number() OVER (PARTITION BY n.target_name ORDER BY p.place DESC) = 1
)
SELECT s.target_name, s.ensemble_id, o.evaluation_id
FROM serving AS s JOIN core.scores AS o
    ON o.target_name = s.target_name AND o.recorded_at < s.made_at AND (
        o.ensemble_id = s.ensemble_id OR o.split = 'leave_one_out' AND o.arm = s.strategy
    )
WHERE s.ensemble_id <> '' AND o.slice = '' AND o.retracted_at IS NULL
    AND NOT list_contains(?, o.evaluation_id)
QUALIFY row_number() OVER (PARTITION BY s.target_name
    ORDER BY o.recorded_at DESC, o.evaluation_id) = 1
"""


def promoting_evaluations(lake: Lake, ensemble_ids: Collection[str]) -> dict[tuple[str, str], str]:
    """(target, ensemble) -> the evaluation by which the gate let it serve, the newest time."""
    rows = lake.rows(_PROMOTING, [sorted(ensemble_ids)])
    return {(row["target_name"], row["ensemble_id"]): row["evaluation_id"] for row in rows}


def served_before(lake: Lake, evaluations: Mapping[str, str]) -> dict[str, Row]:
    """Target -> what served it when this evaluation was made, and the last one that had scored it.

    Nothing of a target that no ensemble served then.
    """
    ids = sorted(evaluations.values())
    rows = lake.rows(_BEFORE, [ids, ids])
    return {row["target_name"]: row for row in rows}


def last_looked_at(lake: Lake, kind: str, targets: Collection[str]) -> dict[str, Row]:
    """Target -> the ensemble and the evaluation that the newest look of a kind was at."""
    rows = lake.rows(
        "SELECT subject, ensemble_id, record_id FROM core.checks"
        " WHERE kind = ? AND list_contains(?, subject) AND retracted_at IS NULL"
        " QUALIFY row_number() OVER (PARTITION BY subject ORDER BY recorded_at DESC, check_id) = 1",
        [kind, sorted(targets)],
    )
    return {row["subject"]: row for row in rows}


def version_of(lake: Lake, target: str, evaluation_ids: Collection[str]) -> dict[str, str]:
    """Evaluation -> the dataset version of the target that it scored."""
    rows = lake.rows(
        "SELECT evaluation_id, min(dataset_version_id) AS version FROM core.scores"
        " WHERE target_name = ? AND list_contains(?, evaluation_id) AND dataset_version_id <> ''"
        " AND split <> 'leave_one_out' GROUP BY evaluation_id",
        [target, sorted(evaluation_ids)],
    )
    return {row["evaluation_id"]: row["version"] for row in rows}


def scores_on_test_rows(lake: Lake, evaluation_id: str) -> list[Row]:
    """Scores of an evaluation over all test rows, by arm and metric, with their intervals."""
    return lake.rows(
        "SELECT arm, metric, metric_version, is_higher_better, evaluation_id, ensemble_id, value,"
        " ci_low, ci_high, n_items, n_groups FROM core.scores"
        " WHERE evaluation_id = ? AND split = 'test' AND slice = '' ORDER BY arm, metric",
        [evaluation_id],
    )


def has_experiment(lake: Lake, experiment_id: str) -> bool:
    """Whether an experiment has been concluded."""
    return bool(
        lake.rows("SELECT 1 FROM core.experiments WHERE experiment_id = ?", [experiment_id])
    )


def abstaining_targets(lake: Lake, targets: Collection[str]) -> list[Row]:
    """Targets whose gate abstains since an ensemble served them: the first such verdict of each.

    With `since`, when that was, and the reason and the dataset version of the newest.
    """
    return lake.rows(
        "WITH verdict AS (SELECT * FROM core.promotions"
        " WHERE list_contains(?, target_name) AND retracted_at IS NULL"
        "), gate AS (SELECT *, max(recorded_at) FILTER (action <> 'abstained')"
        " OVER (PARTITION BY target_name) AS last_other FROM verdict WHERE question_id <> '')"
        " SELECT target_name, min_by(promotion_id, (recorded_at, promotion_id)) AS promotion_id,"
        " min(recorded_at) AS since, max_by(reasons, (recorded_at, promotion_id)) AS reasons,"
        " max_by(dataset_version_id, (recorded_at, promotion_id)) AS dataset_version_id"
        " FROM gate WHERE action = 'abstained' AND recorded_at > last_other"
        f" AND target_name IN (SELECT target_name FROM {CHANGES} WHERE retracted_at IS NULL)"
        " GROUP BY target_name ORDER BY target_name",
        [sorted(targets)],
    )

-- One row per target, arm and metric: the newest evaluation of the target's current dataset version
-- target_name: target of the plan
-- arm: base, a strategy's name, auto, sft or champion
-- metric: metric
-- rank: place of the arm among the arms of the target by this metric, 1 is best
-- value: score
-- ci_low: lower end of the 95 % interval
-- ci_high: upper end of the 95 % interval
-- n_items [rows]: items scored
-- n_groups [rows]: groups among them
-- split: test; leave_one_out over the references where the target has no labels
-- is_higher_better: direction of the metric
-- metric_version: version of the metric's definition
-- ensemble_id: ensemble or adapter behind the arm; '' for base
-- dataset_version_id: dataset version that was scored
-- is_current: whether it still is the current dataset version of its source
-- evaluation_id: evaluation that the score belongs to
-- run_id: run that computed the score
-- recorded_at [UTC]: when the score was committed
-- slice: always null, which is all rows; see mart.scores for the slices
WITH standing AS (
    SELECT s.*, d.recorded_at AS landed_at,
        d.recorded_at IS NOT NULL AND d.superseded_at IS NULL AS is_current
    FROM core.scores AS s
    LEFT JOIN core.dataset_versions AS d USING (dataset_version_id)
    WHERE s.split IN ('test', 'leave_one_out') AND s.slice = ''
        AND s.superseded_at IS NULL AND s.retracted_at IS NULL AND d.retracted_at IS NULL
), newest AS (
    SELECT * FROM standing
    QUALIFY rank() OVER (
        PARTITION BY target_name
        ORDER BY is_current DESC, landed_at DESC NULLS LAST, split = 'test' DESC,
            recorded_at DESC, evaluation_id
    ) = 1
)
SELECT
    target_name, arm, metric,
    rank() OVER (
        PARTITION BY target_name, metric
        ORDER BY CASE WHEN is_higher_better THEN -value ELSE value END
    ) AS rank,
    value, ci_low, ci_high, n_items, n_groups, split, is_higher_better, metric_version,
    ensemble_id, dataset_version_id, is_current, evaluation_id, run_id, recorded_at,
    NULL::VARCHAR AS slice
FROM newest
ORDER BY target_name, metric, rank, arm

-- One row per target, arm and metric: scores on the test split of the newest dataset version that was evaluated
-- target_name: target of the plan
-- arm: base, a strategy's name, auto or sft
-- metric: metric
-- rank: place of the arm among the arms of the target by this metric, 1 is best
-- value: score
-- ci_low: lower end of the 95 % interval
-- ci_high: upper end of the 95 % interval
-- n_items [rows]: items scored
-- n_groups [rows]: groups among them
-- is_higher_better: direction of the metric
-- metric_version: version of the metric's definition
-- ensemble_id: ensemble or adapter behind the arm; '' for base
-- dataset_version_id: dataset version that was scored
-- is_current: whether no newer dataset version of the source has landed since
-- evaluation_id: evaluation that the score belongs to
-- run_id: run that computed the score
-- recorded_at [UTC]: when the score was committed
WITH standing AS (
    SELECT s.*, d.recorded_at AS landed_at, d.superseded_at IS NULL AS is_current
    FROM core.scores AS s
    LEFT JOIN core.dataset_versions AS d USING (dataset_version_id)
    WHERE s.split = 'test' AND s.slice = ''
        AND s.superseded_at IS NULL AND s.retracted_at IS NULL AND d.retracted_at IS NULL
    QUALIFY rank() OVER (
        PARTITION BY target_name ORDER BY landed_at DESC NULLS LAST, s.dataset_version_id
    ) = 1
), newest AS (
    SELECT * FROM standing
    QUALIFY row_number() OVER (
        PARTITION BY target_name, arm, metric
        ORDER BY recorded_at DESC, metric_version DESC, ensemble_id
    ) = 1
)
SELECT
    target_name, arm, metric,
    rank() OVER (
        PARTITION BY target_name, metric
        ORDER BY CASE WHEN is_higher_better THEN -value ELSE value END
    ) AS rank,
    value, ci_low, ci_high, n_items, n_groups, is_higher_better, metric_version,
    ensemble_id, dataset_version_id, is_current, evaluation_id, run_id, recorded_at
FROM newest
ORDER BY target_name, metric, rank, arm

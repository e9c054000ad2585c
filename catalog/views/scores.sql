-- Every score that stands: per evaluation, split, arm and metric, over all rows and by slice
-- target_name: target of the plan, or of an experiment
-- arm: base, a strategy's name, auto, sft, sft_ensemble, reference:<source> or champion
-- split: validation, test, or leave_one_out over the references
-- slice: null for all rows; <column>=sha12 of the value, or class=<name> of a mask
-- metric: metric
-- metric_version: version of the metric's definition
-- is_higher_better: direction of the metric
-- value: score
-- ci_low: lower end of the 95 % interval
-- ci_high: upper end of the 95 % interval
-- n_items [rows]: items scored
-- n_groups [rows]: groups among them
-- ensemble_id: ensemble or adapter behind the arm; '' for base
-- dataset_version_id: dataset version that was scored
-- evaluation_id: evaluation that the score belongs to
-- run_id: run that computed the score
-- recorded_at [UTC]: when the score was committed
WITH withdrawn AS (
    SELECT ensemble_id AS record_id FROM core.ensembles WHERE retracted_at IS NOT NULL
    UNION ALL
    SELECT adapter_id FROM core.adapters WHERE retracted_at IS NOT NULL
)
SELECT
    target_name, arm, split, nullif(slice, '') AS slice, metric, metric_version, is_higher_better,
    value, ci_low, ci_high, n_items, n_groups, ensemble_id, dataset_version_id, evaluation_id,
    run_id, recorded_at
FROM core.scores
WHERE retracted_at IS NULL
    AND evaluation_id NOT IN (
        SELECT evaluation_id FROM core.scores WHERE ensemble_id IN (FROM withdrawn)
    )
    AND dataset_version_id NOT IN (
        SELECT dataset_version_id FROM core.dataset_versions WHERE retracted_at IS NOT NULL
    )
ORDER BY target_name, recorded_at, evaluation_id, split, slice NULLS FIRST, metric, arm

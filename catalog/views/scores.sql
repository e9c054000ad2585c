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
    SELECT DISTINCT s.evaluation_id
    FROM core.scores AS s
    LEFT JOIN core.ensembles AS e ON e.ensemble_id = s.ensemble_id
    LEFT JOIN core.adapters AS a ON a.adapter_id = s.ensemble_id
    LEFT JOIN core.dataset_versions AS d ON d.dataset_version_id = s.dataset_version_id
    WHERE s.retracted_at IS NOT NULL OR e.retracted_at IS NOT NULL OR a.retracted_at IS NOT NULL
        OR d.retracted_at IS NOT NULL
)
SELECT
    target_name, arm, split, nullif(slice, '') AS slice, metric, metric_version, is_higher_better,
    value, ci_low, ci_high, n_items, n_groups, ensemble_id, dataset_version_id, evaluation_id,
    run_id, recorded_at
FROM core.scores
WHERE evaluation_id NOT IN (SELECT evaluation_id FROM withdrawn WHERE evaluation_id IS NOT NULL)
ORDER BY target_name, recorded_at, evaluation_id, split, slice NULLS FIRST, metric, arm

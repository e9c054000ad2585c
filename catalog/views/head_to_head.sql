-- One row per paired comparison: challenger against what it had to beat, newest first
-- target_name: target of the plan
-- metric: metric
-- arm: arm of the challenger
-- baseline_arm: what it was held against
-- difference: challenger minus baseline
-- ci_low: lower end of the paired bootstrap interval
-- ci_high: upper end of the paired bootstrap interval
-- confidence [ratio]: confidence of the interval
-- n_items [rows]: items compared
-- n_groups [rows]: groups among them
-- result: win, tie or loss
-- evidence: labels, or leave_one_out over the references
-- is_newest: whether this is the last word on this pair of arms
-- ensemble_id: challenger
-- baseline_ensemble_id: ensemble of the baseline; '' for base
-- dataset_version_id: target dataset version
-- comparison_id: the comparison
-- run_id: run that computed it
-- recorded_at [UTC]: when it was committed
SELECT
    target_name, metric, arm, baseline_arm, difference, ci_low, ci_high, confidence,
    n_items, n_groups, result, evidence,
    row_number() OVER (
        PARTITION BY target_name, metric, arm, baseline_arm
        ORDER BY recorded_at DESC, comparison_id
    ) = 1 AS is_newest,
    ensemble_id, baseline_ensemble_id, dataset_version_id, comparison_id, run_id, recorded_at
FROM core.comparisons
WHERE retracted_at IS NULL
ORDER BY target_name, recorded_at DESC, metric, arm, baseline_arm

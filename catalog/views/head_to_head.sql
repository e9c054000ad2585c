-- One row per paired comparison: challenger against what it had to beat, newest first
-- target_name: target of the plan
-- metric: metric
-- arm: arm of the challenger
-- baseline_arm: what it was held against
-- difference: challenger minus baseline, the mean that mean_over names
-- mean_over: groups (a patient counts once), which the gate decides by; items of comparisons before it did
-- item_difference: the mean over items, shown beside that over groups; null before it was told
-- ci_low: lower end of the paired bootstrap interval, which describes and licenses nothing
-- ci_high: upper end of the paired bootstrap interval
-- confidence [ratio]: confidence of the interval
-- n_items [rows]: items compared
-- n_groups [rows]: groups among them
-- result: win, tie or loss
-- test: what p_value is of: mcnemar or betting; null before it was told
-- p_value: one-sided chance of so large a difference by that test; null where too few items were looked at
-- n_lost [groups]: groups whose mean fell by more than loss_size; this and what follows is null before it was told
-- loss_size [unit of the metric]: how much a group loses to be counted
-- loss_upper [ratio]: exact upper bound of the share of groups that lose so much, at the confidence
-- loss_share [ratio]: share that may lose so much; null where the gate sets none
-- n_groups_needed [groups]: how many groups like these would decide; null where the difference is not above zero
-- evidence: labels, or leave_one_out over the references
-- is_newest: whether this is the last word on this pair of arms
-- ensemble_id: challenger
-- baseline_ensemble_id: ensemble of the baseline; '' for base
-- dataset_version_id: target dataset version
-- comparison_id: the comparison
-- run_id: run that computed it
-- recorded_at [UTC]: when it was committed
SELECT
    target_name, metric, arm, baseline_arm, difference, coalesce(mean_over, 'items') AS mean_over,
    item_difference, ci_low, ci_high, confidence, n_items, n_groups, result, test, p_value,
    n_lost, loss_size, loss_upper, loss_share, n_groups_needed, evidence,
    row_number() OVER (
        PARTITION BY target_name, metric, arm, baseline_arm
        ORDER BY recorded_at DESC, comparison_id
    ) = 1 AS is_newest,
    ensemble_id, baseline_ensemble_id, dataset_version_id, comparison_id, run_id, recorded_at
FROM core.comparisons
WHERE retracted_at IS NULL
ORDER BY target_name, recorded_at DESC, metric, arm, baseline_arm

-- Scores of every experiment by target and arm with verdicts; is_newest marks the last one of a kind
-- experiment_id: experiment
-- kind: leave_one_out
-- source: source as target; '' for all targets pooled
-- arm: base, sft, a strategy, sft_ensemble, reference:<source> or nearest:<distance>
-- metric: metric
-- value: score
-- ci_low: lower end of the 95 % interval
-- ci_high: upper end of the 95 % interval
-- n_items [rows]: items scored
-- n_groups [rows]: groups among them
-- base_difference: arm minus base on the same items
-- base_ci_low: lower end of its paired interval
-- base_ci_high: upper end of its paired interval
-- base_result: win, tie or loss against base
-- average_difference: arm minus average on the same items
-- average_ci_low: lower end of its paired interval
-- average_ci_high: upper end of its paired interval
-- average_result: win, tie or loss against average
-- is_higher_better: direction of the metric
-- abstained: whether the ensemble would not be served: out of domain or extrapolating; null of others
-- ensemble_id: ensemble or adapter behind the arm
-- evaluation_id: evaluation whose item scores these are
-- base_id: base model
-- recipe_id: recipe of every adapter
-- is_newest: whether this is the last experiment of its kind
-- recorded_at [UTC]: when it was committed
WITH newest AS (
    SELECT kind, max_by(experiment_id, (recorded_at, experiment_id)) AS experiment_id
    FROM core.experiments
    WHERE retracted_at IS NULL
    GROUP BY kind
)
SELECT
    s.experiment_id, x.kind, s.source, s.arm, s.metric, s.value, s.ci_low, s.ci_high,
    s.n_items, s.n_groups, s.base_difference, s.base_ci_low, s.base_ci_high, s.base_result,
    s.average_difference, s.average_ci_low, s.average_ci_high, s.average_result,
    s.is_higher_better, e.abstained, s.ensemble_id, s.evaluation_id, x.base_id, x.recipe_id,
    n.experiment_id IS NOT NULL AS is_newest, x.recorded_at
FROM core.experiment_scores AS s
JOIN core.experiments AS x ON x.experiment_id = s.experiment_id AND x.retracted_at IS NULL
LEFT JOIN newest AS n ON n.experiment_id = s.experiment_id
LEFT JOIN core.ensembles AS e ON e.ensemble_id = s.ensemble_id
ORDER BY x.recorded_at DESC, s.experiment_id, s.metric, s.source, s.arm

-- Adapter methods of every comparison, quantity by quantity; is_newest marks the last comparison
-- experiment_id: experiment
-- method: adapter method
-- source: source that its adapters were trained on; '' for all
-- quantity: own, elsewhere, a strategy, <strategy>_gap, n_parameters, rank, train_seconds or peak_memory_bytes
-- value: mean over seeds; elsewhere is minus the base's score, a gap minus the own score
-- ci_low: lower end of the 95 % interval over groups; null of what is no score
-- ci_high: upper end of it
-- seed_low: lowest value of a seed
-- seed_high: highest value of a seed
-- n_items [rows]: items, each once for each seed; of what is no score adapters
-- n_groups [rows]: groups among them
-- n_seeds: seeds
-- difference: value minus that of the method compared with, on the same items
-- difference_ci_low: lower end of its paired interval
-- difference_ci_high: upper end of it
-- result: win, tie or loss against the method compared with; '' where none is
-- metric: metric of all scores
-- base_id: base model
-- is_newest: whether this is the last comparison
-- recorded_at [UTC]: when it was committed
WITH newest AS (
    SELECT max_by(experiment_id, (recorded_at, experiment_id)) AS experiment_id
    FROM core.experiments
    WHERE retracted_at IS NULL AND kind = 'adapter_methods'
)
SELECT
    m.experiment_id, m.method, m.source, m.quantity, m.value, m.ci_low, m.ci_high,
    m.seed_low, m.seed_high, m.n_items, m.n_groups, m.n_seeds, m.difference,
    m.difference_ci_low, m.difference_ci_high, m.result, x.metric, x.base_id,
    n.experiment_id IS NOT NULL AS is_newest, x.recorded_at
FROM core.experiment_methods AS m
JOIN core.experiments AS x ON x.experiment_id = m.experiment_id AND x.retracted_at IS NULL
LEFT JOIN newest AS n ON n.experiment_id = m.experiment_id
ORDER BY x.recorded_at DESC, m.experiment_id, m.source, m.method, m.quantity

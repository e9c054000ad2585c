-- Weights of every ensemble of an experiment: who entered for which target, and from how far
-- experiment_id: experiment
-- source: source as target
-- arm: strategy, or sft_ensemble
-- reference: source whose adapter entered
-- weight: its weight, may be negative; weights of a target and arm sum to one
-- distance: Euclidean distance of the reference's z to the target's z
-- ensemble_id: ensemble
-- adapter_id: adapter that entered
SELECT DISTINCT
    s.experiment_id, s.source, s.arm, a.source AS reference, m.weight, m.distance,
    s.ensemble_id, m.adapter_id
FROM core.experiment_scores AS s
JOIN core.ensemble_members AS m ON m.ensemble_id = s.ensemble_id
JOIN core.adapters AS a ON a.adapter_id = m.adapter_id
WHERE s.source <> '' AND s.retracted_at IS NULL
ORDER BY s.experiment_id, s.source, s.arm, a.source

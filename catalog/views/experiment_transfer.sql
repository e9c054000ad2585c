-- How well each single reference serves each target, beside how far away it is by each distance
-- experiment_id: experiment
-- source: source as target
-- reference: source whose adapter serves by itself
-- metric: metric of the experiment
-- value: score on the target's test rows
-- ci_low: lower end of the 95 % interval
-- ci_high: upper end of the 95 % interval
-- n_items [rows]: items scored
-- kind: mean, nearest_neighbour or chamfer
-- distance: distance of the two datasets
-- is_nearest: whether this distance would pick this reference for the target
SELECT
    s.experiment_id, s.source, d.reference, s.metric, s.value, s.ci_low, s.ci_high, s.n_items,
    d.kind, d.distance,
    row_number() OVER (
        PARTITION BY s.experiment_id, s.source, d.kind ORDER BY d.distance, d.reference
    ) = 1 AS is_nearest
FROM core.experiment_scores AS s
JOIN core.experiments AS x ON x.experiment_id = s.experiment_id AND x.metric = s.metric
JOIN core.experiment_distances AS d
    ON d.experiment_id = s.experiment_id AND d.source = s.source
    AND s.arm = 'reference:' || d.reference
WHERE s.retracted_at IS NULL
ORDER BY s.experiment_id, s.source, d.kind, d.distance, d.reference

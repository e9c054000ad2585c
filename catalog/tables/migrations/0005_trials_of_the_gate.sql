-- a comparison says what it cost to ask; of earlier ones the place among all challengers is known
ALTER TABLE core.comparisons ADD COLUMN evaluation_id VARCHAR;
ALTER TABLE core.comparisons ADD COLUMN n_tried BIGINT;
ALTER TABLE core.comparisons ADD COLUMN level DOUBLE;
ALTER TABLE core.comparisons ADD COLUMN p_value DOUBLE;
ALTER TABLE core.comparisons ADD COLUMN n_new_groups BIGINT;
ALTER TABLE core.comparisons ADD COLUMN wealth DOUBLE;
ALTER TABLE core.comparisons ADD COLUMN wealth_asked DOUBLE;
ALTER TABLE core.comparisons ADD COLUMN log_gains_json VARCHAR;
UPDATE core.comparisons AS c SET evaluation_id = e.evaluation_id, n_tried = e.n_tried,
    n_new_groups = 0, wealth = 1, log_gains_json = '[0,0,0,0,0,0,0,0,0]'
FROM (
    SELECT c.comparison_id, max_by(s.evaluation_id, s.recorded_at) AS evaluation_id,
        dense_rank() OVER (
            PARTITION BY c.target_name, c.evidence ORDER BY min(c.recorded_at), c.ensemble_id
        ) AS n_tried
    FROM core.comparisons AS c
    LEFT JOIN core.scores AS s ON s.target_name = c.target_name
        AND s.dataset_version_id = c.dataset_version_id AND s.ensemble_id = c.ensemble_id
        AND s.recorded_at <= c.recorded_at
    GROUP BY c.comparison_id, c.target_name, c.evidence, c.ensemble_id
) AS e
WHERE c.comparison_id = e.comparison_id;

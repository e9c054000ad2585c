-- One row per target and kind of evidence: what its gate has spent on challengers, and what bets on new groups are worth
-- target_name: target of the plan
-- evidence: labels, or leave_one_out over the references
-- n_tried [challengers]: challengers that were tried on this test set
-- spent [ratio]: chance of a false promotion that they have used up
-- unspent [ratio]: what all challengers to come share
-- next_level [ratio]: what the next one may be wrong by
-- wealth: what bets against base on groups new to the gate are worth; 1 at first
-- wealth_asked: what would vouch for a win
-- n_groups [groups]: groups that the newest trial was scored on
-- n_new_groups [groups]: groups among them that were new
-- recorded_at [UTC]: when the newest trial was committed
WITH tried AS (
    SELECT target_name, evidence, max(n_tried) AS n_tried,
        max_by(wealth, (recorded_at, n_tried)) AS wealth,
        max_by(wealth_asked, (recorded_at, n_tried)) AS wealth_asked,
        max_by(n_groups, (recorded_at, n_tried)) AS n_groups,
        max_by(n_new_groups, (recorded_at, n_tried)) AS n_new_groups,
        max(recorded_at) AS recorded_at
    FROM core.comparisons
    WHERE n_tried > 0 AND baseline_ensemble_id = '' AND retracted_at IS NULL
    GROUP BY target_name, evidence
)
SELECT
    target_name, evidence, n_tried,
    n_tried / (n_tried + 1) / wealth_asked AS spent,
    1 / (n_tried + 1) / wealth_asked AS unspent,
    1 / ((n_tried + 1) * (n_tried + 2)) / wealth_asked AS next_level,
    wealth, wealth_asked, n_groups, n_new_groups, recorded_at
FROM tried
ORDER BY target_name, evidence

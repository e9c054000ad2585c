-- One row per target and kind of evidence: what its gate has spent on challengers, what bets on new groups are worth, and how many groups would decide
-- target_name: target of the plan
-- evidence: labels, or leave_one_out over the references
-- n_tried [challengers]: challengers that were tried on this test set
-- spent [ratio]: chance of a false promotion that they have used up
-- unspent [ratio]: what all challengers to come share
-- next_level [ratio]: what the next one may be wrong by
-- wealth: what bets against base on groups new to the gate are worth, on the mean that earned less; 1 at first, and after a release whose bets no longer count
-- wealth_asked: what would vouch for a win
-- n_groups [groups]: groups that the newest trial was scored on
-- n_new_groups [groups]: groups among them that were new
-- n_lost [groups]: groups that lost more than loss_size in it, against base; this and what follows is null before the gate told it
-- loss_size [unit of the metric]: how much a group loses to be counted
-- loss_upper [ratio]: upper bound of the share of groups that lose so much
-- loss_share [ratio]: share that may lose so much; null where the gate sets none
-- n_groups_needed [groups]: how many groups like those of the newest trial would decide; null where it was not better
-- recorded_at [UTC]: when the newest trial was committed
WITH tried AS (
    SELECT *,
        max(n_tried) OVER lineage AS n_challengers,
        row_number() OVER (lineage ORDER BY recorded_at DESC, n_tried DESC, comparison_id) AS place
    FROM core.comparisons
    WHERE n_tried > 0 AND baseline_ensemble_id = '' AND retracted_at IS NULL
    WINDOW lineage AS (PARTITION BY target_name, evidence)
)
SELECT
    target_name, evidence, n_challengers AS n_tried,
    n_challengers / (n_challengers + 1) / wealth_asked AS spent,
    1 / (n_challengers + 1) / wealth_asked AS unspent,
    1 / ((n_challengers + 1) * (n_challengers + 2)) / wealth_asked AS next_level,
    CASE WHEN mean_over IS NULL THEN 1 ELSE wealth END AS wealth, wealth_asked,
    n_groups, n_new_groups, n_lost, loss_size, loss_upper, loss_share, n_groups_needed, recorded_at
FROM tried
WHERE place = 1
ORDER BY target_name, evidence

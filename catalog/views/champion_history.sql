-- One row each time that a version began to serve a target: since when, until when, who decided, how good it was
-- target_name: target of the plan, or of a former one
-- model_name: registered model
-- model_version: its version
-- is_champion: whether it serves now
-- since_at [UTC]: when it began to serve
-- until_at [UTC]: when another took its place, or damage its files; null while it serves
-- action: promoted by the gate, approved by a person after the gate, rolled_back to by a person, withdrawn_damaged: it took the place of one whose files were damaged, or restored: its own files are sound again
-- actor: who decided: gate, night where damage did, or a person's name
-- reasons: why, in words
-- arm: arm that it was: a strategy's name
-- ensemble_id: ensemble behind it
-- former_version: version whose place it took; null where none served
-- former_ensemble_id: ensemble whose place it took; '' where none served
-- evidence: labels, or leave_one_out over the references
-- dataset_version_id: target dataset version that it was made for
-- metric: metric that the gate compared by; this and what follows is null where nothing was compared
-- is_higher_better: direction of the metric
-- value: its score when the gate tried it; of leave_one_out that of the rule which chose it
-- ci_low: lower end of the 95 % interval
-- ci_high: upper end of the 95 % interval
-- n_items [rows]: items scored
-- n_groups [rows]: groups among them
-- base_difference: it minus base on the same items, mean over groups; over items before the gate decided by groups
-- base_ci_low: lower end of the paired interval
-- base_ci_high: upper end of the paired interval
-- base_result: win, tie or loss against base
-- base_item_difference: the mean over items beside it; null before the gate told it, when the difference itself was that
-- base_n_lost [groups]: groups that lost more than loss_size against base; null before it was told
-- base_loss_upper [ratio]: exact upper bound of the share of groups that lose so much; null before it was told
-- former_difference: it minus the champion whose place it took, on the same items; null if not compared
-- former_ci_low: lower end of the paired interval
-- former_ci_high: upper end of the paired interval
-- former_result: win, tie or loss against the former champion
-- former_item_difference: the mean over items beside it; null before the gate told it, when the difference itself was that
-- former_n_lost [groups]: groups that lost more than loss_size against the former champion; null before it was told
-- former_loss_upper [ratio]: exact upper bound of the share of groups that lose so much; null before it was told
-- loss_size [unit of the metric]: how much a group loses to be counted; null before it was told
-- evaluation_id: evaluation that was compared on
-- withdrawn_at [UTC]: when data behind the target were withdrawn since then: what served in between is no longer on record; null if never
-- run_id: run that decided
-- promotion_id: the promotion
WITH served AS (
    SELECT * FROM mart.champion_changes WHERE retracted_at IS NULL
), versions AS (
    SELECT record_id, max_by(model_version, recorded_at) AS model_version
    FROM core.model_versions
    WHERE kind = 'ensemble' AND retracted_at IS NULL
    GROUP BY record_id
), compared AS (
    SELECT p.promotion_id, c.*,
        CASE WHEN c.evidence = 'labels' THEN 'test' ELSE 'leave_one_out' END AS split,
        CASE WHEN c.evidence = 'labels' THEN c.arm ELSE 'auto' END AS tried_arm,
        row_number() OVER (
            PARTITION BY p.promotion_id, c.baseline_ensemble_id
            ORDER BY c.recorded_at DESC, c.comparison_id
        ) AS newest
    FROM served AS p
    JOIN core.comparisons AS c
        ON c.target_name = p.target_name AND c.ensemble_id = p.ensemble_id
        AND c.recorded_at <= p.since_at AND c.retracted_at IS NULL
), against AS (
    SELECT * FROM compared WHERE newest = 1
), withdrawn AS (
    SELECT p.promotion_id, max(r.recorded_at) AS withdrawn_at
    FROM served AS p
    JOIN core.retractions AS r
        ON contains(r.certificate_json, '"ensemble:' || p.target_name || '@')
        AND r.recorded_at >= p.since_at
        AND (p.until_at IS NULL OR r.recorded_at < p.until_at)
    GROUP BY p.promotion_id
)
SELECT
    p.target_name, p.model_name, p.model_version,
    p.is_champion, p.since_at, p.until_at,
    p.action, p.actor, p.reasons, p.arm, p.ensemble_id,
    v.model_version AS former_version, p.former_ensemble_id,
    p.evidence, p.dataset_version_id, b.metric, s.is_higher_better,
    s.value, s.ci_low, s.ci_high, s.n_items, s.n_groups,
    b.difference AS base_difference, b.ci_low AS base_ci_low, b.ci_high AS base_ci_high,
    b.result AS base_result, b.item_difference AS base_item_difference, b.n_lost AS base_n_lost,
    b.loss_upper AS base_loss_upper,
    f.difference AS former_difference, f.ci_low AS former_ci_low, f.ci_high AS former_ci_high,
    f.result AS former_result, f.item_difference AS former_item_difference,
    f.n_lost AS former_n_lost, f.loss_upper AS former_loss_upper, b.loss_size,
    b.evaluation_id, w.withdrawn_at, p.run_id, p.promotion_id
FROM served AS p
LEFT JOIN versions AS v ON v.record_id = p.former_ensemble_id
LEFT JOIN against AS b
    ON b.promotion_id = p.promotion_id AND b.baseline_ensemble_id = ''
LEFT JOIN against AS f
    ON f.promotion_id = p.promotion_id
    AND f.baseline_ensemble_id = nullif(p.former_ensemble_id, '')
LEFT JOIN core.scores AS s
    ON s.evaluation_id = b.evaluation_id AND s.target_name = p.target_name
    AND s.metric = b.metric AND s.slice = '' AND s.split = b.split AND s.arm = b.tried_arm
    AND s.retracted_at IS NULL
LEFT JOIN withdrawn AS w ON w.promotion_id = p.promotion_id
WHERE p.ensemble_id <> ''
ORDER BY p.target_name, p.place

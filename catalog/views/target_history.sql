-- One row per evaluation of a target and arm, by the gate's metric over all rows: how good, which arm served then, what was decided
-- target_name: target of the plan, or of a former one
-- evaluated_at [UTC]: when the evaluation was committed
-- run_id: run that computed it
-- arm: base, a strategy's name, auto, sft, or champion where the champion is none of these
-- role: champion (served once the verdict fell), former champion (lost its place by it), challenger, base or other
-- is_champion: whether this arm served once the verdict fell
-- model_version: version of the registered model behind the arm; null where it has none
-- verdict: what the gate said: promoted, refused or pending of the challenger, abstained of base; null of others, and where it was not asked
-- metric: the metric of the newest gate; of an evaluation without it that which it has
-- value: score
-- ci_low: lower end of the 95 % interval
-- ci_high: upper end of the 95 % interval
-- is_higher_better: direction of the metric
-- n_items [rows]: items scored
-- n_groups [rows]: groups among them
-- split: test; leave_one_out over the references where the target has no labels
-- slice: always null, which is all rows; see mart.scores for the slices
-- dataset_version_id: target dataset version that was scored
-- champion_version: version that served once the verdict fell; null where none did
-- champion_ensemble_id: ensemble that served then; null where none did
-- ensemble_id: ensemble or adapter behind the arm; '' for base
-- evaluation_id: evaluation that the score belongs to
WITH standing AS (
    SELECT s.*
    FROM mart.scores AS s
    WHERE s.slice IS NULL AND s.split IN ('test', 'leave_one_out')
        AND s.evaluation_id NOT IN (
            SELECT evaluation_id FROM core.experiment_scores WHERE evaluation_id IS NOT NULL
        )
), newest_gate AS (
    SELECT target_name, max_by(metric, (recorded_at, comparison_id)) AS metric
    FROM core.comparisons
    WHERE retracted_at IS NULL
    GROUP BY target_name
), chosen AS (
    -- of each evaluation one split and one metric
    SELECT s.target_name, s.evaluation_id, s.split, s.metric, min(s.recorded_at) AS evaluated_at
    FROM standing AS s
    LEFT JOIN newest_gate AS g USING (target_name)
    GROUP BY s.target_name, s.evaluation_id, s.split, s.metric, g.metric
    QUALIFY row_number() OVER (
        PARTITION BY s.target_name, s.evaluation_id
        ORDER BY s.split = 'test' DESC, s.metric = g.metric DESC NULLS LAST,
            s.metric IN ('accuracy', 'dice', 'rouge_l') DESC, s.metric
    ) = 1
), compared AS (
    SELECT DISTINCT run_id, target_name, ensemble_id, evaluation_id
    FROM core.comparisons
    WHERE retracted_at IS NULL
), asked AS (
    SELECT * FROM core.promotions
    WHERE retracted_at IS NULL AND action NOT IN ('approved', 'rolled_back', 'withdrawn_damaged', 'restored')
), verdicts AS (
    -- the first verdict about an evaluation is that of its night
    SELECT p.*, coalesce(c.evaluation_id, e.evaluation_id) AS evaluation_id
    FROM asked AS p
    ASOF LEFT JOIN chosen AS e
        ON p.target_name = e.target_name AND p.recorded_at >= e.evaluated_at
    LEFT JOIN compared AS c
        ON c.run_id = p.run_id AND c.target_name = p.target_name AND c.ensemble_id = p.ensemble_id
    QUALIFY row_number() OVER (
        PARTITION BY p.target_name, coalesce(c.evaluation_id, e.evaluation_id)
        ORDER BY p.recorded_at, p.promotion_id
    ) = 1
), evaluated AS (
    SELECT e.*, v.action, v.arm AS asked_arm, v.ensemble_id AS asked_id,
        coalesce(v.recorded_at, e.evaluated_at) AS decided_at
    FROM chosen AS e
    LEFT JOIN verdicts AS v
        ON v.target_name = e.target_name AND v.evaluation_id = e.evaluation_id
), moves AS (
    -- one without an ensemble takes a damaged champion away, and none serves
    SELECT target_name, nullif(ensemble_id, '') AS ensemble_id,
        CASE WHEN ensemble_id <> '' THEN arm END AS arm,
        nullif(model_version, '') AS model_version, since_at
    FROM mart.champion_changes
    WHERE retracted_at IS NULL
), served AS (
    SELECT e.*, h.ensemble_id AS champion_id, h.arm AS champion_arm,
        h.model_version AS champion_version
    FROM evaluated AS e
    ASOF LEFT JOIN moves AS h
        ON e.target_name = h.target_name AND e.decided_at >= h.since_at
), placed AS (
    SELECT e.*, h.ensemble_id AS former_id, h.arm AS former_arm
    FROM served AS e
    ASOF LEFT JOIN moves AS h
        ON e.target_name = h.target_name AND e.evaluated_at > h.since_at
), choices AS (
    SELECT target_name, choice_id, candidate AS arm, ensemble_id FROM core.choices
    UNION ALL
    SELECT target_name, choice_id, 'auto', ensemble_id FROM core.choices WHERE is_chosen
), scored AS (
    SELECT p.*, s.run_id, s.arm, s.value, s.ci_low, s.ci_high, s.is_higher_better, s.n_items,
        s.n_groups, s.dataset_version_id,
        p.split = 'test' AS is_labelled,
        coalesce(nullif(s.ensemble_id, ''), c.ensemble_id, '') AS ensemble_id
    FROM standing AS s
    JOIN placed AS p USING (target_name, evaluation_id, split, metric)
    LEFT JOIN choices AS c
        ON c.choice_id = s.evaluation_id AND c.target_name = s.target_name AND c.arm = s.arm
), marked AS (
    -- without labels an arm answers for its strategy, and auto for the rule that the gate tries
    SELECT *,
        coalesce(arm <> 'auto' AND CASE WHEN is_labelled THEN ensemble_id = champion_id
            ELSE arm = champion_arm END, false) AS is_champion,
        coalesce(arm <> 'auto' AND CASE WHEN is_labelled THEN ensemble_id = former_id
            ELSE arm = former_arm END, false) AS is_former,
        coalesce(asked_id <> '' AND CASE WHEN is_labelled THEN ensemble_id = asked_id
            AND arm = asked_arm ELSE arm = 'auto' END, false) AS is_challenger
    FROM scored
)
SELECT
    m.target_name, m.evaluated_at, m.run_id, m.arm,
    CASE WHEN m.is_champion THEN 'champion' WHEN m.is_challenger THEN 'challenger'
        WHEN m.is_former THEN 'former champion' WHEN m.arm = 'base' THEN 'base'
        ELSE 'other' END AS role,
    m.is_champion, v.model_version,
    CASE WHEN m.is_challenger OR (m.action = 'abstained' AND m.arm = 'base') THEN m.action END
        AS verdict,
    m.metric, m.value, m.ci_low, m.ci_high, m.is_higher_better, m.n_items, m.n_groups, m.split,
    NULL::VARCHAR AS slice, m.dataset_version_id, m.champion_version,
    m.champion_id AS champion_ensemble_id, m.ensemble_id, m.evaluation_id
FROM marked AS m
LEFT JOIN core.model_versions AS v
    ON v.kind = 'ensemble' AND v.record_id = m.ensemble_id AND v.retracted_at IS NULL
ORDER BY m.target_name, m.evaluated_at, m.evaluation_id,
    m.is_champion DESC, m.is_challenger DESC, m.arm = 'base' DESC, m.arm

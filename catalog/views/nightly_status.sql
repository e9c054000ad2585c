-- The newest night beside the newest verdict of every target; one row with an empty target before the first verdict
-- run_id: the newest night
-- outcome: ok, unchanged, alert, refused or failed
-- started_at [UTC]: when it began
-- ended_at [UTC]: when it ended
-- wall_seconds [seconds]: how long it took
-- alerts: what it found that no step can mend, and still holds, one a line; '' if nothing
-- refusals: refused files that lie there, one a line: source, file, codes, since when; '' if none
-- target_name: target of the plan
-- action: promoted, refused, abstained, pending, approved, rolled_back, withdrawn_damaged, restored or kept (the challenger is the champion's very model)
-- arm: arm of the challenger
-- evidence: labels or leave_one_out
-- reasons: why, in words
-- actor: who decided: gate, night where damage did, or a person's name
-- ensemble_id: challenger
-- champion_ensemble_id: champion at that time; '' if there was none
-- model_name: registered model
-- model_version: version of the challenger
-- decided_at [UTC]: when the verdict was committed
-- is_new: whether this night decided it, or one that was killed and that it ended
WITH night AS (
    SELECT run_id, outcome, started_at, ended_at, wall_seconds, recorded_at,
        array_to_string(list_transform(
            list_filter(json_extract(coalesce(alerts_json, '[]'), '$[*]'),
                lambda a: a ->> '$.kind' <> 'refused'),
            lambda a: a ->> '$.message'), chr(10)) AS alerts,
        array_to_string(list_transform(
            list_filter(json_extract(coalesce(alerts_json, '[]'), '$[*]'),
                lambda a: a ->> '$.kind' = 'refused'),
            lambda a: a ->> '$.message'), chr(10)) AS refusals
    FROM core.runs
    WHERE flow LIKE 'night%'
    ORDER BY recorded_at DESC, run_id
    LIMIT 1
), former AS (
    SELECT max(r.recorded_at) AS asked_at
    FROM core.runs AS r, night AS n
    WHERE contains(r.steps_json, '"name":"promote"') AND r.recorded_at < n.recorded_at
), verdict AS (
    SELECT * FROM core.promotions
    WHERE retracted_at IS NULL
    QUALIFY row_number() OVER (
        PARTITION BY target_name ORDER BY recorded_at DESC, promotion_id
    ) = 1
)
SELECT
    n.run_id, n.outcome, n.started_at, n.ended_at, n.wall_seconds, n.alerts, n.refusals,
    v.target_name, v.action, v.arm, v.evidence, v.reasons, v.actor,
    v.ensemble_id, v.champion_ensemble_id, v.model_name, v.model_version,
    v.recorded_at AS decided_at, coalesce(
        v.run_id = n.run_id
        OR v.action NOT IN ('approved', 'rolled_back', 'withdrawn_damaged', 'restored') AND v.recorded_at <= n.recorded_at
            AND (f.asked_at IS NULL OR v.recorded_at > f.asked_at),
        false) AS is_new
FROM night AS n
CROSS JOIN former AS f
FULL JOIN verdict AS v ON true
ORDER BY v.target_name

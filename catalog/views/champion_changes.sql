-- One row each time that what serves a target changed: from when, until when, and whether it serves now
-- target_name: target of the plan, or of a former one
-- place: 1 for the first that served the target, and so on; those that were withdrawn count apart
-- is_champion: whether it serves now: nothing took its place, and its ensemble stands
-- since_at [UTC]: when it began to serve
-- until_at [UTC]: when the next change took its place, or its data were withdrawn; null while it lasts
-- retracted_at [UTC]: when its data were withdrawn; null if never
-- ensemble_id: ensemble that serves; '' where damage took the champion away and none serves
-- former_ensemble_id: ensemble whose place it took; '' where none served
-- model_name: registered model
-- model_version: its version
-- arm: arm that it was: a strategy's name
-- action: promoted by the gate, approved by a person after the gate, rolled_back to by a person, withdrawn_damaged: it took the place of one whose files were damaged, or restored: its own files are sound again
-- actor: who decided: gate, night where damage did, or a person's name
-- reasons: why, in words
-- evidence: labels, or leave_one_out over the references
-- dataset_version_id: target dataset version that it was made for
-- run_id: run that decided
-- promotion_id: the promotion
WITH changes AS (
    SELECT *,
        lead(recorded_at) OVER following AS followed_at,
        row_number() OVER following AS place
    FROM core.promotions
    WHERE action IN ('promoted', 'approved', 'rolled_back', 'withdrawn_damaged', 'restored')
    WINDOW following AS (
        PARTITION BY target_name, retracted_at IS NULL ORDER BY recorded_at, promotion_id DESC
    )
), lasting AS (
    SELECT *, CASE WHEN retracted_at IS NULL THEN followed_at ELSE retracted_at END AS until_at
    FROM changes
)
SELECT
    l.target_name, l.place,
    l.until_at IS NULL AND e.ensemble_id IS NOT NULL AND e.retracted_at IS NULL AS is_champion,
    l.recorded_at AS since_at, l.until_at, l.retracted_at,
    l.ensemble_id, l.champion_ensemble_id AS former_ensemble_id, l.model_name, l.model_version,
    l.arm, l.action, l.actor, l.reasons, l.evidence, l.dataset_version_id, l.run_id, l.promotion_id
FROM lasting AS l
LEFT JOIN core.ensembles AS e ON e.ensemble_id = l.ensemble_id
ORDER BY l.target_name, l.retracted_at IS NOT NULL, l.place

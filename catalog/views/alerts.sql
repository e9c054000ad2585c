-- One row per alert, those that stand first: what no step of a night can mend, from the run that raised it to the last that held it
-- kind: below_promotion, fall, drift, abstained, damaged, renamed_base, silent, refused or clock
-- subject: target of the plan, source, or machine
-- is_standing: whether it held when the newest run ended
-- message: what was found, in words; as of the last run that held it
-- remedy: what to do
-- since [UTC]: when it was raised, or when its cause came about, where that is known
-- raised_run_id: run that first raised it
-- raised_at [UTC]: when that run ended
-- last_run_id: last run at whose end it held
-- last_at [UTC]: when that run ended
-- resolved_run_id: run that found its cause gone; null while it stands
-- resolved_at [UTC]: when that run ended
-- n_runs [runs]: runs at whose end it held
-- source: source that it is about, or whose rows its target serves
-- cause: what it is about, by id: the same cause is not raised twice in a row
-- alert_id: sha12 over kind, subject, cause and the run that raised it
WITH run AS (
    SELECT run_id, ended_at, alerts_json, recorded_at,
        lead(run_id) OVER (ORDER BY recorded_at, run_id) AS next_run_id,
        lead(ended_at) OVER (ORDER BY recorded_at, run_id) AS next_ended_at
    FROM core.runs
    WHERE alerts_json IS NOT NULL
), held AS (
    SELECT run.*, unnest(json_extract(alerts_json, '$[*]')) AS alert FROM run
), told AS (
    SELECT run_id, ended_at, recorded_at, next_run_id, next_ended_at,
        alert ->> '$.kind' AS kind,
        coalesce(alert ->> '$.subject', alert ->> '$.source') AS subject,
        alert ->> '$.source' AS source, alert ->> '$.message' AS message,
        alert ->> '$.remedy' AS remedy, coalesce(alert ->> '$.cause', '') AS cause,
        try_cast(alert ->> '$.since' AS TIMESTAMPTZ) AS since,
        coalesce(alert ->> '$.alert_id', (alert ->> '$.kind') || ' ' || (alert ->> '$.source'))
            AS alert_id
    FROM held
), alert AS (
    SELECT alert_id, kind, subject, count(*) AS n_runs,
        min_by(run_id, (recorded_at, run_id)) AS raised_run_id, min_by(ended_at, (recorded_at, run_id)) AS raised_at,
        max_by(run_id, (recorded_at, run_id)) AS last_run_id, max_by(ended_at, (recorded_at, run_id)) AS last_at,
        max_by(message, (recorded_at, run_id)) AS message,
        max_by(remedy, (recorded_at, run_id)) AS remedy,
        max_by(source, (recorded_at, run_id)) AS source,
        max_by(cause, (recorded_at, run_id)) AS cause,
        min(since) AS since
    FROM told
    GROUP BY alert_id, kind, subject
)
SELECT
    a.kind, a.subject, r.next_run_id IS NULL AS is_standing, a.message, a.remedy,
    coalesce(a.since, a.raised_at) AS since, a.raised_run_id, a.raised_at, a.last_run_id,
    a.last_at, r.next_run_id AS resolved_run_id, r.next_ended_at AS resolved_at, a.n_runs,
    a.source, a.cause, a.alert_id
FROM alert AS a
JOIN run AS r ON r.run_id = a.last_run_id
ORDER BY is_standing DESC, raised_at DESC, kind, subject, alert_id

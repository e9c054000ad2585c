-- One row per source: its last delivery, its age, what was refused or set aside, and whether it has gone silent
-- source: name of the source
-- title: what the source is
-- owner: whom to ask
-- license: licence of the rows
-- dataset_version_id: current dataset version; null before the first
-- n_rows [rows]: rows of the current dataset version
-- n_labelled [rows]: rows of it with a label
-- last_batch_id: newest batch, accepted or refused
-- last_outcome: accepted or refused
-- last_reason: why the newest batch was refused: codes and counts
-- last_batch_at [UTC]: when the newest batch was committed
-- last_accepted_at [UTC]: when a file was last accepted for the first time; the same bytes again are no news
-- age_days [days]: time since then
-- max_age_days [days]: how old it may be by the contract; null where the contract sets no limit
-- is_stale: whether it is older than that, or has a limit and never delivered
-- n_batches [batches]: batches so far
-- n_refused_batches [batches]: batches refused whole
-- n_quarantined [rows]: rows set aside so far, those of the PHI gate included
-- n_phi [rows]: rows set aside by the PHI gate so far
WITH contract AS (
    SELECT source, title, owner, license, recorded_at,
        try_cast(json_extract_string(contract_json, '$.freshness.max_age_days') AS BIGINT)
            AS max_age_days
    FROM core.sources
    WHERE retracted_at IS NULL
    QUALIFY row_number() OVER (
        PARTITION BY source ORDER BY superseded_at IS NULL DESC, recorded_at DESC, contract_sha256
    ) = 1
), delivered AS (
    SELECT source,
        max_by(batch_id, (recorded_at, batch_id)) AS last_batch_id,
        max_by(outcome, (recorded_at, batch_id)) AS last_outcome,
        max_by(reason, (recorded_at, batch_id)) AS last_reason,
        max(recorded_at) AS last_batch_at,
        count(*) AS n_batches,
        count(*) FILTER (WHERE outcome = 'refused') AS n_refused_batches,
        coalesce(sum(n_quarantined), 0)::BIGINT AS n_quarantined,
        coalesce(sum(n_phi), 0)::BIGINT AS n_phi
    FROM core.batches
    WHERE retracted_at IS NULL
    GROUP BY source
), arrived AS (
    SELECT source, max(arrived_at) AS last_accepted_at
    FROM (
        SELECT source, min(recorded_at) AS arrived_at
        FROM core.batches
        WHERE retracted_at IS NULL AND outcome = 'accepted'
        GROUP BY source, file_sha256
    )
    GROUP BY source
), held AS (
    SELECT source, dataset_version_id, n_rows, n_labelled
    FROM core.dataset_versions
    WHERE retracted_at IS NULL
    QUALIFY row_number() OVER (
        PARTITION BY source
        ORDER BY superseded_at IS NULL DESC, recorded_at DESC, dataset_version_id
    ) = 1
), aged AS (
    SELECT *, date_diff('second', last_accepted_at, now()) / 86400.0 AS age_days
    FROM contract LEFT JOIN delivered USING (source) LEFT JOIN arrived USING (source)
        LEFT JOIN held USING (source)
)
SELECT
    source, title, owner, license, dataset_version_id, n_rows, n_labelled,
    last_batch_id, last_outcome, last_reason, last_batch_at, last_accepted_at,
    age_days, max_age_days,
    max_age_days IS NOT NULL AND coalesce(age_days > max_age_days, true) AS is_stale,
    coalesce(n_batches, 0) AS n_batches,
    coalesce(n_refused_batches, 0) AS n_refused_batches,
    coalesce(n_quarantined, 0) AS n_quarantined,
    coalesce(n_phi, 0) AS n_phi
FROM aged
ORDER BY source

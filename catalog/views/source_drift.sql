-- One row per source, role and move of z from one dataset version to the next
-- source: name of the source
-- role: reference (training rows) or target (all rows)
-- dataset_version_id: newer dataset version
-- former_dataset_version_id: dataset version before it
-- distance: Euclidean distance of the two z
-- standard_error: standard error of the distance, by the variance of both means
-- noise: distance that chance alone would make
-- noise_ratio [ratio]: distance / noise; null where the features do not vary
-- n_items [rows]: rows of the newer version that were encoded
-- n_former_items [rows]: rows of the one before
-- is_newest: whether it is the last move of the source in this role under this encoder
-- encoder_id: encoder of both
-- recorded_at [UTC]: when the newer one was encoded
SELECT
    d.source, r.role, r.dataset_version_id, f.dataset_version_id AS former_dataset_version_id,
    m.distance, m.standard_error, m.noise, m.distance / nullif(m.noise, 0) AS noise_ratio,
    r.n_items, f.n_items AS n_former_items,
    row_number() OVER (
        PARTITION BY d.source, r.role, r.encoder_id
        ORDER BY m.recorded_at DESC, m.representation_id
    ) = 1 AS is_newest,
    r.encoder_id, m.recorded_at
FROM core.drifts AS m
JOIN core.representations AS r ON r.representation_id = m.representation_id
JOIN core.representations AS f ON f.representation_id = m.former_id
JOIN core.dataset_versions AS d ON d.dataset_version_id = r.dataset_version_id
WHERE m.retracted_at IS NULL AND r.retracted_at IS NULL
ORDER BY d.source, m.recorded_at DESC, r.role

-- From a registered model version to every adapter, dataset version, batch and file behind it
-- model_name: registered model
-- model_version: its version
-- served_name: what a server is to call its adapter: model name and hash of what it answers by; null of versions made before
-- kind: ensemble or adapter
-- target_name: target that the ensemble serves; null for an adapter's own version
-- ensemble_id: ensemble behind the version; null for an adapter's own version
-- strategy: strategy that weighed the members; null for an adapter's own version
-- adapter_id: adapter that the version is made of
-- weight: its weight in the merge, may be negative; 1 for an adapter's own version
-- source: source that the adapter was trained on
-- dataset_version_id: dataset version that the adapter was trained on
-- batch_id: batch that the dataset version holds
-- file_uri: file that the batch was read from
-- file_sha256: sha256 of that file's bytes
-- n_rows [rows]: rows read from the file
-- n_accepted [rows]: rows of the file that landed
-- license: licence of the adapter's training rows
WITH made_of AS (
    SELECT v.model_name, v.model_version, v.served_sha256, v.kind, e.target_name, e.ensemble_id, e.strategy,
        m.adapter_id, m.weight
    FROM core.model_versions AS v
    JOIN core.ensembles AS e ON v.kind = 'ensemble' AND v.record_id = e.ensemble_id
    JOIN core.ensemble_members AS m ON m.ensemble_id = e.ensemble_id
    UNION ALL
    SELECT model_name, model_version, served_sha256, kind, NULL, NULL, NULL, record_id, 1.0
    FROM core.model_versions
    WHERE kind = 'adapter'
)
SELECT
    o.model_name, o.model_version, o.model_name || '-' || left(o.served_sha256, 12) AS served_name,
    o.kind, o.target_name, o.ensemble_id, o.strategy,
    o.adapter_id, o.weight, a.source, a.dataset_version_id,
    b.batch_id, b.file_uri, b.file_sha256, b.n_rows, b.n_accepted, a.license
FROM made_of AS o
JOIN core.adapters AS a ON a.adapter_id = o.adapter_id
LEFT JOIN core.lineage AS l ON l.child_id = a.dataset_version_id AND l.role = 'batch'
LEFT JOIN core.batches AS b ON b.batch_id = l.parent_id
ORDER BY o.model_name, try_cast(o.model_version AS BIGINT), o.adapter_id, b.batch_id

-- An adapter says what task it answers and whether it was trained here or imported
ALTER TABLE core.adapters ADD COLUMN task_json VARCHAR;
ALTER TABLE core.adapters ADD COLUMN origin VARCHAR;
UPDATE core.adapters SET origin = 'trained';
UPDATE core.adapters AS a SET task_json = s.task_json FROM (
    SELECT source, json_extract(contract_json, '$.task')::VARCHAR AS task_json FROM core.sources
    QUALIFY row_number() OVER (
        PARTITION BY source ORDER BY superseded_at IS NULL DESC, recorded_at DESC, contract_sha256
    ) = 1
) AS s WHERE a.source = s.source;

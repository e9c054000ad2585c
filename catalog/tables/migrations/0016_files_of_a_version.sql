-- a version tells by hash what its files were when they were kept; earlier ones are filed by a night
ALTER TABLE core.model_versions ADD COLUMN sums_sha256 VARCHAR;
ALTER TABLE core.model_versions ADD COLUMN n_files BIGINT;
ALTER TABLE core.model_versions ADD COLUMN n_bytes BIGINT;

-- a version tells by hash what it serves; of earlier ones its files in the registry tell
ALTER TABLE core.model_versions ADD COLUMN served_sha256 VARCHAR;

-- every run seals what was recorded since the one before: see core.links
ALTER TABLE core.runs ADD COLUMN link_sha256 VARCHAR;

-- a run's close keeps the hashes of the lake's files, and a representation that of its vector;
-- the next close takes in the files that are there, and an older vector is held against its norm
ALTER TABLE core.runs ADD COLUMN files_json VARCHAR;
ALTER TABLE core.representations ADD COLUMN vector_sha256 VARCHAR;

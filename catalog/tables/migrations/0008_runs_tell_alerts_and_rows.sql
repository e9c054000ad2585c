-- a run tells what silence it found, how many rows came, and what it read; older ones did not count
ALTER TABLE core.runs ADD COLUMN alerts_json VARCHAR;
ALTER TABLE core.runs ADD COLUMN read_bytes BIGINT;
ALTER TABLE core.runs ADD COLUMN n_rows BIGINT;

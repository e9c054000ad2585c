-- what an ensemble was asked for, on how many threads and with which libraries it was made
ALTER TABLE core.ensembles ADD COLUMN asked_json VARCHAR;
ALTER TABLE core.ensembles ADD COLUMN threads BIGINT;
ALTER TABLE core.ensembles ADD COLUMN versions_json VARCHAR;

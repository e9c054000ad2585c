-- a batch says when its file was modified, where that orders files, and how many rows came too late
ALTER TABLE core.batches ADD COLUMN file_modified_at TIMESTAMPTZ;
ALTER TABLE core.batches ADD COLUMN n_outdated BIGINT;

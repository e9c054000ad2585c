-- a representation says of how many groups it is; of all rows the dataset version knew it before
ALTER TABLE core.representations ADD COLUMN n_groups BIGINT;
UPDATE core.representations AS r SET n_groups = d.n_groups
FROM core.dataset_versions AS d
WHERE r.dataset_version_id = d.dataset_version_id AND r.role = 'target';

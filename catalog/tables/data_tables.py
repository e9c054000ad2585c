"""Tables about data: sources, batches, validations, dataset versions, representations."""

from __future__ import annotations

from catalog.tables.spec import (
    HISTORY,
    RECORDED,
    Column,
    TableSpec,
    count,
    flag,
    number,
    text,
)

SOURCES = TableSpec(
    "sources",
    ("source", "contract_sha256"),
    "Contracts as they were accepted, one row per version of a contract",
    (
        text("source", "name of the source"),
        text("contract_sha256", "sha256 of the whole contract"),
        text(
            "shape_sha256", "sha256 of the part that decides what rows mean: columns, task, splits"
        ),
        text("title", "what the source is"),
        text("owner", "whom to ask"),
        text("license", "licence of the rows"),
        text("task_type", "task, such as text-classification"),
        text("contract_json", "the contract as canonical JSON"),
        *HISTORY,
    ),
)
BATCHES = TableSpec(
    "batches",
    ("batch_id",),
    "One row per delivered file and contract: what was accepted, refused or quarantined",
    (
        text("batch_id", "batch:<source>@sha12"),
        text("source", "name of the source"),
        text("file_uri", "where the file was read from"),
        text("file_sha256", "sha256 of the file's bytes"),
        text("contract_sha256", "contract that it was held against"),
        text("split", "split that the file name decides, or null"),
        Column(
            "file_modified_at",
            "TIMESTAMPTZ",
            "when the file was modified, where the contract orders files by it; else null",
            "UTC",
        ),
        text("outcome", "accepted or refused"),
        text("reason", "why it was refused: codes and counts"),
        count("n_rows", "rows read"),
        count("n_accepted", "rows that landed"),
        count("n_unchanged", "rows that were already there with the same content"),
        count("n_superseding", "rows that replaced a row of the same key"),
        count("n_outdated", "rows that did not land: a later file of the source says otherwise"),
        count("n_quarantined", "rows set aside, those of the PHI gate included"),
        count("n_phi", "rows set aside by the PHI gate"),
        text("attested_method", "de-identification method that the owner attests"),
        text("attested_by", "who attests it"),
        Column("attested_on", "DATE", "when it was attested", "date"),
        *HISTORY,
    ),
)
# Comes and goes with what stands, and is no record: so it has no time, and no link seals it
CONFIRMATIONS = TableSpec(
    "confirmations",
    ("source", "item_sha256"),
    "Standing rows that a later file said again: only a file after that one may replace them",
    (
        text("source", "name of the source"),
        text("item_sha256", "sha256 over source and key of the row"),
        text("batch_id", "batch of the last file that said it"),
    ),
)
DATASET_VERSIONS = TableSpec(
    "dataset_versions",
    ("dataset_version_id",),
    "Immutable accepted content of a source",
    (
        text("dataset_version_id", "dataset:<source>@sha12"),
        text("sha256", "sha256 over shape and sorted row hashes"),
        text("source", "name of the source"),
        text("contract_sha256", "contract in force"),
        text("license", "licence of the rows"),
        count("n_rows", "rows of the version"),
        count("n_labelled", "rows with a label"),
        count("n_train", "rows of the training split"),
        count("n_validation", "rows of the validation split"),
        count("n_test", "rows of the test split"),
        count("n_test_labelled", "rows of the test split with a label"),
        count("n_groups", "distinct groups (patients, documents)"),
        Column("snapshot_id", "BIGINT", "DuckLake snapshot that first held it"),
        *HISTORY,
    ),
)
VALIDATIONS = TableSpec(
    "validations",
    ("batch_id", "engine", "rule", "column_name"),
    "Results of every rule on every batch, counts only",
    (
        text("batch_id", "batch that was checked"),
        text("engine", "rows (row rules), expectations (Great Expectations), keys (DuckDB), phi"),
        text("rule", "rule or expectation"),
        text("column_name", "column, or '' for the whole row"),
        flag("is_passed", "whether the rule held"),
        count("n_checked", "rows checked"),
        count("n_failed", "rows that failed"),
        RECORDED,
    ),
)
REPRESENTATIONS = TableSpec(
    "representations",
    ("representation_id",),
    "Mean encoder feature z of a dataset version (the vector itself is in LoRA-VecDB)",
    (
        text("representation_id", "representation:<source>@sha12"),
        text("dataset_version_id", "dataset version that was encoded"),
        text(
            "encoder_id",
            "base, pooling, length limit: vectors of other encoders are never compared",
        ),
        text("role", "reference (training rows) or target (all rows)"),
        count("n_items", "rows encoded"),
        Column("n_groups", "BIGINT", "groups (patients) among them; null: not counted", "groups"),
        number("norm", "Euclidean length of z"),
        number("standard_error", "Euclidean standard error of z: sqrt(sum of variances / n)"),
        text("shares_json", "shares of variance of the largest directions; null: nobody looked"),
        text(
            "vector_sha256",
            "sha256 over the fp64 bytes of z and variance; null of one made before it was recorded",
        ),
        *HISTORY,
    ),
)
DRIFTS = TableSpec(
    "drifts",
    ("representation_id", "former_id"),
    "How far z of a source moved from one dataset version to the next",
    (
        text("representation_id", "representation of the newer version"),
        text("former_id", "representation of the version before it, same encoder and role"),
        number("distance", "Euclidean distance of the two z"),
        number("standard_error", "standard error of the distance, by the variance of both means"),
        number("noise", "distance that chance alone would make: root mean square"),
        *HISTORY,
    ),
)

"""Every table of the lake: columns with type, unit and meaning; a public interface."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column: its name, DuckDB type, meaning, and unit ('' where it has none)."""

    name: str
    type: str
    doc: str
    unit: str = ""


@dataclass(frozen=True)
class TableSpec:
    """A table of schema `core`: rows are new if their key is new."""

    name: str
    key: tuple[str, ...]
    doc: str
    columns: tuple[Column, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in the order of the table."""
        return tuple(column.name for column in self.columns)


def _text(name: str, doc: str) -> Column:
    return Column(name, "VARCHAR", doc)


def _count(name: str, doc: str) -> Column:
    return Column(name, "BIGINT", doc, "rows" if name.startswith("n_") else "")


def _number(name: str, doc: str, unit: str = "") -> Column:
    return Column(name, "DOUBLE", doc, unit)


def _flag(name: str, doc: str) -> Column:
    return Column(name, "BOOLEAN", doc)


RECORDED = Column("recorded_at", "TIMESTAMPTZ", "when the row was committed", "UTC")
HISTORY = (
    RECORDED,
    Column(
        "superseded_at",
        "TIMESTAMPTZ",
        "when a newer record took its place; null while current",
        "UTC",
    ),
    Column("retracted_at", "TIMESTAMPTZ", "when it was withdrawn; null while it stands", "UTC"),
)

SOURCES = TableSpec(
    "sources",
    ("source", "contract_sha256"),
    "Contracts as they were accepted, one row per version of a contract",
    (
        _text("source", "name of the source"),
        _text("contract_sha256", "sha256 of the whole contract"),
        _text(
            "shape_sha256", "sha256 of the part that decides what rows mean: columns, task, splits"
        ),
        _text("title", "what the source is"),
        _text("owner", "whom to ask"),
        _text("license", "licence of the rows"),
        _text("task_type", "task, such as text-classification"),
        _text("contract_json", "the contract as canonical JSON"),
        *HISTORY,
    ),
)
BATCHES = TableSpec(
    "batches",
    ("batch_id",),
    "One row per delivered file and contract: what was accepted, refused or quarantined",
    (
        _text("batch_id", "batch:<source>@sha12"),
        _text("source", "name of the source"),
        _text("file_uri", "where the file was read from"),
        _text("file_sha256", "sha256 of the file's bytes"),
        _text("contract_sha256", "contract that it was held against"),
        _text("split", "split that the file name decides, or null"),
        _text("outcome", "accepted or refused"),
        _text("reason", "why it was refused: codes and counts"),
        _count("n_rows", "rows read"),
        _count("n_accepted", "rows that landed"),
        _count("n_unchanged", "rows that were already there with the same content"),
        _count("n_superseding", "rows that replaced a row of the same key"),
        _count("n_quarantined", "rows set aside, those of the PHI gate included"),
        _count("n_phi", "rows set aside by the PHI gate"),
        _text("attested_method", "de-identification method that the owner attests"),
        _text("attested_by", "who attests it"),
        Column("attested_on", "DATE", "when it was attested", "date"),
        *HISTORY,
    ),
)
DATASET_VERSIONS = TableSpec(
    "dataset_versions",
    ("dataset_version_id",),
    "Immutable accepted content of a source",
    (
        _text("dataset_version_id", "dataset:<source>@sha12"),
        _text("sha256", "sha256 over shape and sorted row hashes"),
        _text("source", "name of the source"),
        _text("contract_sha256", "contract in force"),
        _text("license", "licence of the rows"),
        _count("n_rows", "rows of the version"),
        _count("n_labelled", "rows with a label"),
        _count("n_train", "rows of the training split"),
        _count("n_validation", "rows of the validation split"),
        _count("n_test", "rows of the test split"),
        _count("n_groups", "distinct groups (patients, documents)"),
        Column("snapshot_id", "BIGINT", "DuckLake snapshot that first held it"),
        *HISTORY,
    ),
)
VALIDATIONS = TableSpec(
    "validations",
    ("batch_id", "engine", "rule", "column_name"),
    "Results of every rule on every batch, counts only",
    (
        _text("batch_id", "batch that was checked"),
        _text("engine", "rows (row rules), expectations (Great Expectations), keys (DuckDB), phi"),
        _text("rule", "rule or expectation"),
        _text("column_name", "column, or '' for the whole row"),
        _flag("is_passed", "whether the rule held"),
        _count("n_checked", "rows checked"),
        _count("n_failed", "rows that failed"),
        RECORDED,
    ),
)
BASES = TableSpec(
    "bases",
    ("base_id",),
    "Frozen base models in use",
    (
        _text("base_id", "<base>@sha12"),
        _text("base_name", "name in the plan"),
        _text("family", "base family"),
        _text("model", "built-in name, folder name or hub id"),
        _text("revision", "revision of a hub model"),
        _text("base_sha256", "sha256 over the files of the model"),
        _text("model_name", "registered model in MLflow"),
        _text("model_version", "its version in MLflow"),
        *HISTORY,
    ),
)
REPRESENTATIONS = TableSpec(
    "representations",
    ("representation_id",),
    "Mean encoder feature z of a dataset version (the vector itself is in LoRA-VecDB)",
    (
        _text("representation_id", "representation:<source>@sha12"),
        _text("dataset_version_id", "dataset version that was encoded"),
        _text(
            "encoder_id",
            "base, pooling, length limit: vectors of other encoders are never compared",
        ),
        _text("role", "reference (training rows) or target (all rows)"),
        _count("n_items", "rows encoded"),
        _number("norm", "Euclidean length of z"),
        _number("standard_error", "Euclidean standard error of z: sqrt(sum of variances / n)"),
        *HISTORY,
    ),
)
ADAPTERS = TableSpec(
    "adapters",
    ("adapter_id",),
    "Trained adapters of the library",
    (
        _text("adapter_id", "adapter:<source>@sha12"),
        _text("source", "source that it was trained on"),
        _text("dataset_version_id", "dataset version that it was trained on"),
        _text("base_id", "base model that it belongs to"),
        _text("recipe_id", "sha12 of the recipe"),
        _text("recipe_json", "the recipe as canonical JSON"),
        _text("representation_id", "where it is filed"),
        _text("license", "licence of its training rows"),
        _text("weights_sha256", "sha256 of adapter_model.safetensors"),
        _text("artifact_sha256", "content hash of its PEFT folder"),
        Column("rank", "BIGINT", "largest rank of its modules"),
        Column("n_parameters", "BIGINT", "trained parameters", "parameters"),
        Column("n_steps", "BIGINT", "optimiser steps taken", "steps"),
        _number("validation_score", "score on the validation split by the task's metric"),
        Column("threads", "BIGINT", "torch threads it was trained on", "threads"),
        _text("versions_json", "library versions it was trained with"),
        _text("model_name", "registered model in MLflow"),
        _text("model_version", "its version in MLflow"),
        *HISTORY,
    ),
)
ENSEMBLES = TableSpec(
    "ensembles",
    ("ensemble_id",),
    "Recipes of served models: one per target dataset version, strategy and merge method",
    (
        _text("ensemble_id", "ensemble:<target>@sha12"),
        _text("target_name", "target of the plan"),
        _text("dataset_version_id", "target dataset version"),
        _text("base_id", "base model"),
        _text("strategy", "arm: name of the strategy"),
        _text("parameters", "strategy and its parameters, given and derived, as JSON"),
        _text("merge", "merge method"),
        _text("weights_sha256", "sha256 of the merged adapter_model.safetensors"),
        _text("artifact_sha256", "content hash of the merged PEFT folder"),
        Column("rank", "BIGINT", "largest rank of the merged adapter"),
        _number(
            "merge_error_ratio", "relative error of the merged delta against the exact sum", "ratio"
        ),
        _number("kkt_residual_ratio", "relative KKT residual of the weights", "ratio"),
        _number("residual_ratio", "||z - sum w z_i|| / ||z - mean z_i||", "ratio"),
        _number("l1_norm", "sum of |w|; 1 where no weight is negative"),
        _number(
            "distance_ratio",
            "nearest distance / the library's own 95th percentile of nearest distances",
            "ratio",
        ),
        _flag("abstained", "out of domain: recorded, never promoted"),
        _text("reason", "which guards were raised, and whether they are calibrated"),
        _text("license", "strictest licence of its members"),
        *HISTORY,
    ),
)
ENSEMBLE_MEMBERS = TableSpec(
    "ensemble_members",
    ("ensemble_id", "adapter_id"),
    "Members of an ensemble with their weights",
    (
        _text("ensemble_id", "ensemble"),
        _text("strategy", "arm: name of the strategy"),
        _text("adapter_id", "member"),
        _number("weight", "w_i; sums to one over the ensemble, may be negative"),
        _number("distance", "Euclidean distance of the member's z to the target's z, in fp64"),
        *HISTORY,
    ),
)
CHOICES = TableSpec(
    "choices",
    ("target_name", "dataset_version_id", "choice_id", "candidate"),
    "How `auto` chose: the criterion's value for every candidate",
    (
        _text("choice_id", "sha12 over the candidates and the rule"),
        _text("target_name", "target of the plan"),
        _text("dataset_version_id", "target dataset version"),
        _text("candidate", "arm that could be chosen"),
        _text("ensemble_id", "its ensemble"),
        _text("criterion", "mutual_information or leave_one_out"),
        _number("value", "criterion on the target's inputs", "nat"),
        _number("margin", "how much better than similarity a candidate must be", "nat"),
        _text("calibration", "how the margin was found: leave_one_out or uncalibrated"),
        _flag("is_chosen", "whether it was chosen"),
        RECORDED,
    ),
)
SCORES = TableSpec(
    "scores",
    (
        "evaluation_id",
        "target_name",
        "dataset_version_id",
        "split",
        "slice",
        "arm",
        "ensemble_id",
        "metric",
        "metric_version",
    ),
    "Scores of every arm, each with interval, count, direction and version",
    (
        _text("run_id", "run that computed it"),
        _text("evaluation_id", "sha12 over arms, rows and metrics of the evaluation"),
        _text("target_name", "target of the plan"),
        _text("dataset_version_id", "dataset version that was scored"),
        _text("split", "validation or test"),
        _text("slice", "'' for all items, else <column>=sha12 of the value"),
        _text(
            "arm",
            "base, average, nearest, similarity, linear, linear_l1, auto, sft or a strategy's name",
        ),
        _text("ensemble_id", "ensemble or adapter behind the arm; '' for base"),
        _text("metric", "metric"),
        _text("metric_version", "version of the metric's definition"),
        _flag("is_higher_better", "direction of the metric"),
        _number("value", "score"),
        _number("ci_low", "lower end of the 95 % interval"),
        _number("ci_high", "upper end of the 95 % interval"),
        _count("n_items", "items scored"),
        _count("n_groups", "groups among them"),
        *HISTORY,
    ),
)
ITEM_SCORES = TableSpec(
    "item_scores",
    ("evaluation_id", "dataset_version_id", "split", "arm", "ensemble_id", "item_sha256"),
    "Per-item scores, so that any comparison can be made again",
    (
        _text("evaluation_id", "sha12 over arms, rows and metrics of the evaluation"),
        _text("target_name", "target of the plan"),
        _text("dataset_version_id", "dataset version that was scored"),
        _text("split", "validation, test or leave_one_out"),
        _text("arm", "arm"),
        _text("ensemble_id", "ensemble or adapter behind the arm; '' for base"),
        _text("item_sha256", "row that was scored"),
        _text("group_sha256", "its group"),
        _number("value", "per-item score (classification: 1 if right)"),
        Column("predicted", "BIGINT", "index of the predicted label in the contract"),
        Column("expected", "BIGINT", "index of the true label in the contract"),
        *HISTORY,
    ),
)
COMPARISONS = TableSpec(
    "comparisons",
    ("comparison_id",),
    "Paired comparisons behind the gate",
    (
        _text("comparison_id", "sha12 over what was compared"),
        _text("run_id", "run that computed it"),
        _text("target_name", "target of the plan"),
        _text("dataset_version_id", "target dataset version"),
        _text("metric", "metric"),
        _text("evidence", "labels, or leave_one_out over the references"),
        _text("arm", "arm of the challenger"),
        _text("ensemble_id", "challenger"),
        _text("baseline_arm", "what it was held against"),
        _text("baseline_ensemble_id", "its ensemble; '' for base"),
        _number("difference", "challenger minus baseline"),
        _number("ci_low", "lower end of the paired bootstrap interval"),
        _number("ci_high", "upper end of the paired bootstrap interval"),
        _number("confidence", "confidence of the interval", "ratio"),
        _count("n_items", "items compared"),
        _count("n_groups", "groups among them"),
        _text("result", "win, tie or loss"),
        *HISTORY,
    ),
)
MODEL_VERSIONS = TableSpec(
    "model_versions",
    ("model_name", "model_version"),
    "Versions of the MLflow registry that a consumer may see",
    (
        _text("model_name", "registered model"),
        _text("model_version", "version"),
        _text("kind", "base, adapter or ensemble"),
        _text("record_id", "base, adapter or ensemble behind it"),
        *HISTORY,
    ),
)
PROMOTIONS = TableSpec(
    "promotions",
    ("promotion_id",),
    "Verdicts of the gate and moves of the champion alias; the alias is a projection of this table",
    (
        _text("promotion_id", "sha12 over challenger, champion, policy and action"),
        _text("run_id", "run that decided"),
        _text("target_name", "target of the plan"),
        _text("dataset_version_id", "target dataset version"),
        _text("arm", "arm of the challenger; base where nothing was served"),
        _text("ensemble_id", "challenger; '' where the target abstained"),
        _text("champion_ensemble_id", "champion at that time; '' if there was none"),
        _text("action", "promoted, refused, abstained, pending, approved or rolled_back"),
        _text("evidence", "labels or leave_one_out"),
        _text("reasons", "why, in words"),
        _text("actor", "who decided: gate, or a person's name"),
        _text("model_name", "registered model"),
        _text("model_version", "version of the challenger"),
        *HISTORY,
    ),
)
RUNS = TableSpec(
    "runs",
    ("run_id",),
    "One row per flow run with its costs",
    (
        _text("run_id", "run:<flow>@sha12"),
        _text("flow", "night, or the step that was asked for"),
        _text("outcome", "ok, unchanged or failed"),
        Column("started_at", "TIMESTAMPTZ", "start", "UTC"),
        Column("ended_at", "TIMESTAMPTZ", "end", "UTC"),
        _text("plan_sha256", "plan in force"),
        _number("wall_seconds", "elapsed time", "seconds"),
        _number("cpu_seconds", "processor time, children included", "seconds"),
        Column("peak_memory_bytes", "BIGINT", "largest resident set, children included", "bytes"),
        Column("written_bytes", "BIGINT", "bytes written", "bytes"),
        Column("threads", "BIGINT", "torch threads", "threads"),
        _text("steps_json", "per step: outcome, wall and CPU seconds, peak memory, bytes"),
        _text("faults_json", "faults without values"),
        _text("versions_json", "library versions"),
        RECORDED,
    ),
)
LINEAGE = TableSpec(
    "lineage",
    ("child_id", "parent_id", "role"),
    "Edges from what was made to what it was made of",
    (
        _text("child_id", "what was made"),
        _text("parent_id", "what it was made of"),
        _text("role", "batch, dataset, base, representation, member, target"),
        RECORDED,
    ),
)
RETRACTIONS = TableSpec(
    "retractions",
    ("retraction_id",),
    "Certificates of withdrawn data",
    (
        _text("retraction_id", "sha12 of the certificate"),
        _text("subject_id", "source or dataset version withdrawn"),
        _text("reason", "why"),
        _text("certificate_json", "what was erased, with hashes"),
        RECORDED,
    ),
)

TABLES: tuple[TableSpec, ...] = (
    SOURCES, BATCHES, DATASET_VERSIONS, VALIDATIONS, BASES, REPRESENTATIONS, ADAPTERS, ENSEMBLES,
    ENSEMBLE_MEMBERS, CHOICES, SCORES, ITEM_SCORES, COMPARISONS, MODEL_VERSIONS, PROMOTIONS, RUNS,
    LINEAGE, RETRACTIONS,
)  # fmt: skip

# System columns in front of the contract's own in raw.<source>. A dataset version holds the rows
# whose batch is one of its batches and whose successor is not.
RAW_COLUMNS: tuple[Column, ...] = (
    _text("_item_sha256", "sha256 of source and key: the row's name outside this table"),
    _text("_row_sha256", "sha256 of the row's content"),
    _text("_group_sha256", "sha256 of the group's value, the same in every source"),
    _text("_split", "train, validation or test"),
    _text("_batch_id", "batch that it landed with"),
    _text("_superseded_by", "batch that replaced it; null while current"),
    *HISTORY,
)
QUARANTINE_COLUMNS: tuple[Column, ...] = (
    _text("_batch_id", "batch that it came with"),
    Column("_row_number", "BIGINT", "row in the file, from 1"),
    _text("_reasons", "codes of the rules that it failed, joined by a semicolon"),
    _text("_row_json", "the row as it was read"),
    *HISTORY,
)

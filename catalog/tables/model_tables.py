"""Tables about models: bases, adapters, ensembles, how `auto` chose, registry, promotions."""

from __future__ import annotations

from catalog.tables.spec import (
    HISTORY,
    RECORDED,
    Column,
    TableSpec,
    flag,
    number,
    text,
)

BASES = TableSpec(
    "bases",
    ("base_id",),
    "Frozen base models in use",
    (
        text("base_id", "<base>@sha12"),
        text("base_name", "name in the plan"),
        text("family", "base family"),
        text("model", "built-in name, folder name or hub id"),
        text("revision", "revision of a hub model"),
        text("base_sha256", "sha256 over the files of the model"),
        text("model_name", "registered model in MLflow"),
        text("model_version", "its version in MLflow"),
        *HISTORY,
    ),
)
ADAPTERS = TableSpec(
    "adapters",
    ("adapter_id",),
    "Trained adapters of the library",
    (
        text("adapter_id", "adapter:<source>@sha12"),
        text("source", "source that it was trained on"),
        text("dataset_version_id", "dataset version that it was trained on"),
        text("base_id", "base model that it belongs to"),
        text("recipe_id", "sha12 of the recipe"),
        text("recipe_json", "the recipe as canonical JSON"),
        text("representation_id", "where it is filed"),
        text("license", "licence of its training rows"),
        text("task_json", "task that it answers: type, input, target and labels, as JSON"),
        text("origin", "trained here, or imported"),
        text("weights_sha256", "sha256 of adapter_model.safetensors"),
        text("artifact_sha256", "content hash of its PEFT folder"),
        Column("rank", "BIGINT", "largest rank of its modules"),
        Column("n_parameters", "BIGINT", "trained parameters", "parameters"),
        Column("n_steps", "BIGINT", "optimiser steps taken", "steps"),
        number("validation_score", "score on the validation split by the task's metric"),
        Column("threads", "BIGINT", "torch threads it was trained on", "threads"),
        number(
            "train_seconds",
            "time of the process that trained it; null where it is not known",
            "seconds",
        ),
        Column(
            "peak_memory_bytes", "BIGINT", "most memory that its training's process held", "bytes"
        ),
        text("versions_json", "library versions it was trained with"),
        text("model_name", "registered model in MLflow; '' while an imported one has none"),
        text("model_version", "its version in MLflow"),
        *HISTORY,
    ),
)
ENSEMBLES = TableSpec(
    "ensembles",
    ("ensemble_id",),
    "Recipes of served models: one per target dataset version, strategy and merge method",
    (
        text("ensemble_id", "ensemble:<target>@sha12"),
        text("target_name", "target of the plan"),
        text("dataset_version_id", "target dataset version"),
        text("base_id", "base model"),
        text("strategy", "arm: name of the strategy"),
        text("parameters", "strategy and its parameters, given and derived, as JSON"),
        text("merge", "merge method"),
        text("weights_sha256", "sha256 of the merged adapter_model.safetensors"),
        text("artifact_sha256", "content hash of the merged PEFT folder"),
        Column("rank", "BIGINT", "largest rank of the merged adapter"),
        number(
            "merge_error_ratio", "relative error of the merged delta against the exact sum", "ratio"
        ),
        number("kkt_residual_ratio", "relative KKT residual of the weights", "ratio"),
        number("residual_ratio", "||z - sum w z_i|| / ||z - mean z_i||", "ratio"),
        number("l1_norm", "sum of |w|; 1 where no weight is negative"),
        number(
            "distance_ratio",
            "nearest distance / what the library's own nearest distances usually stay within",
            "ratio",
        ),
        flag("abstained", "out of domain: recorded, never promoted"),
        text("reason", "which guards were raised, and whether they are calibrated"),
        text("license", "strictest licence of its members"),
        text("asked_json", "what the plan asked: source, k, who may be seen, rank; as JSON"),
        Column("threads", "BIGINT", "torch threads it was made on", "threads"),
        text("versions_json", "library versions it was made with"),
        *HISTORY,
    ),
)
ENSEMBLE_MEMBERS = TableSpec(
    "ensemble_members",
    ("ensemble_id", "adapter_id"),
    "Members of an ensemble with their weights",
    (
        text("ensemble_id", "ensemble"),
        text("strategy", "arm: name of the strategy"),
        text("adapter_id", "member"),
        number("weight", "w_i; sums to one over the ensemble, may be negative"),
        number("distance", "Euclidean distance of the member's z to the target's z, in fp64"),
        *HISTORY,
    ),
)
ATTRIBUTIONS = TableSpec(
    "attributions",
    ("ensemble_id", "source"),
    "What each source of the library contributed: the ensemble solved for again without it",
    (
        text("ensemble_id", "ensemble"),
        text("source", "source that is left out"),
        number("weight", "sum of the weights of its adapters in the ensemble as it is"),
        number("weight_change", "sum over all adapters of |w_i without it - w_i|"),
        number(
            "delta_change_ratio",
            "||dW without it - dW|| / ||dW||, Frobenius over all modules; -1 where dW is zero",
            "ratio",
        ),
        flag("abstained", "whether the ensemble without it is out of domain or extrapolates"),
        *HISTORY,
    ),
)
CHOICES = TableSpec(
    "choices",
    ("target_name", "dataset_version_id", "choice_id", "candidate"),
    "How `auto` chose: the criterion's value for every candidate",
    (
        text("choice_id", "sha12 over the candidates and the rule"),
        text("target_name", "target of the plan"),
        text("dataset_version_id", "target dataset version"),
        text("candidate", "arm that could be chosen"),
        text("ensemble_id", "its ensemble"),
        text("criterion", "mutual_information or leave_one_out"),
        number("value", "criterion on the target's inputs", "nat"),
        number("margin", "how much better than similarity a candidate must be", "nat"),
        text("calibration", "how the margin was found: leave_one_out or uncalibrated"),
        flag("is_chosen", "whether it was chosen"),
        RECORDED,
    ),
)
MODEL_VERSIONS = TableSpec(
    "model_versions",
    ("model_name", "model_version"),
    "Versions of the MLflow registry that a consumer may see",
    (
        text("model_name", "registered model"),
        text("model_version", "version"),
        text("kind", "base, adapter or ensemble"),
        text("record_id", "base, adapter or ensemble behind it"),
        text(
            "served_sha256",
            "hash over what it answers by: weights and configuration of the adapter, base, task and"
            " label prompts; '' for a base, null of versions made before it was recorded",
        ),
        text(
            "sums_sha256",
            "sha256 of SHA256SUMS among its files, which has that of every other one; null of"
            " versions made before it was recorded, until a night or `rpe maintain` files them",
        ),
        Column("n_files", "BIGINT", "files that SHA256SUMS names", "files"),
        Column("n_bytes", "BIGINT", "bytes of them", "bytes"),
        *HISTORY,
    ),
)
PROMOTIONS = TableSpec(
    "promotions",
    ("promotion_id",),
    "Verdicts of the gate and moves of the champion alias; the alias is a projection of this table",
    (
        text("promotion_id", "sha12 over challenger, champion, policy and action"),
        text("question_id", "what the gate was asked, sha12; '' for a decision of a person"),
        text("run_id", "run that decided"),
        text("target_name", "target of the plan"),
        text("dataset_version_id", "target dataset version"),
        text("arm", "arm of the challenger; base where nothing was served"),
        text("ensemble_id", "challenger; '' where the target abstained"),
        text("champion_ensemble_id", "champion at that time; '' if there was none"),
        text(
            "action",
            "promoted, refused, abstained, pending, approved, rolled_back; kept: the challenger is"
            " the champion's very model; withdrawn_damaged: the champion's files were damaged, and"
            " another serves, or none; restored: they are what was kept again",
        ),
        text("evidence", "labels or leave_one_out"),
        text("reasons", "why, in words"),
        text("actor", "who decided: gate, night where damage did, or a person's name"),
        text("model_name", "registered model"),
        text("model_version", "version of the challenger, or of the same model"),
        *HISTORY,
    ),
)

"""Tables about experiments: what was asked, scores with verdicts, dataset distances, findings."""

from __future__ import annotations

from catalog.tables.spec import (
    HISTORY,
    Column,
    TableSpec,
    count,
    flag,
    number,
    text,
)

EXPERIMENTS = TableSpec(
    "experiments",
    ("experiment_id",),
    "Experiments that were run to their end: one row for each protocol, data, base and recipes",
    (
        text("experiment_id", "experiment:<kind>@sha12 over protocol, data, base and recipe"),
        text("run_id", "run that concluded it"),
        text("kind", "leave_one_out or adapter_methods"),
        text("sources_json", "sources, each a target served by the others, as JSON"),
        text("base_id", "base model"),
        text("recipe_id", "recipe of every adapter; '' where they have several"),
        text("task_type", "task, such as text-generation"),
        text("metric", "metric of findings and transfer: the one that a gate would use"),
        text("protocol_json", "what was asked, as canonical JSON"),
        *HISTORY,
    ),
)
EXPERIMENT_SCORES = TableSpec(
    "experiment_scores",
    ("experiment_id", "source", "arm", "metric"),
    "Scores on test rows by target and arm, each with its paired comparison to base and to average",
    (
        text("experiment_id", "experiment"),
        text("source", "source as target, its own adapter unseen but by sft arms; '' for all"),
        text(
            "arm",
            "base, sft, a strategy, sft_ensemble (own adapter among the references),"
            " reference:<source> (its adapter by itself) or nearest:<distance> (the one it picks)",
        ),
        text("metric", "metric"),
        text("metric_version", "version of the metric's definition"),
        flag("is_higher_better", "direction of the metric"),
        text("evaluation_id", "evaluation whose item scores these are; '' for all targets pooled"),
        text("ensemble_id", "ensemble or adapter behind the arm; '' for base and for all targets"),
        number("value", "score; of all targets that of their items as one set"),
        number("ci_low", "lower end of the 95 % interval"),
        number("ci_high", "upper end of the 95 % interval"),
        count("n_items", "items scored"),
        count("n_groups", "groups among them"),
        number("base_difference", "arm minus base on the same items"),
        number("base_ci_low", "lower end of its 95 % interval, paired bootstrap over groups"),
        number("base_ci_high", "upper end of it"),
        text("base_result", "win, tie or loss against base"),
        number("average_difference", "arm minus average on the same items"),
        number("average_ci_low", "lower end of its 95 % interval, paired bootstrap over groups"),
        number("average_ci_high", "upper end of it"),
        text("average_result", "win, tie or loss against average"),
        *HISTORY,
    ),
)
EXPERIMENT_DISTANCES = TableSpec(
    "experiment_distances",
    ("experiment_id", "kind", "source", "reference"),
    "Distances between the datasets of an experiment, by features of single training rows",
    (
        text("experiment_id", "experiment"),
        text("kind", "mean, nearest_neighbour or chamfer"),
        text("source", "source as target"),
        text("reference", "source as reference"),
        number("distance", "distance in feature space; squared for chamfer"),
        count("n_items", "rows of the target that were encoded"),
        count("n_reference_items", "rows of the reference that were encoded"),
        *HISTORY,
    ),
)
EXPERIMENT_FINDINGS = TableSpec(
    "experiment_findings",
    ("experiment_id", "finding"),
    "What was stated before an experiment, and whether it holds",
    (
        text("experiment_id", "experiment"),
        text("finding", "name of the statement"),
        text("statement", "what was stated before the run"),
        text("verdict", "holds, fails or undecided"),
        text("metric", "metric that decides"),
        text("quantity", "what the value is: difference, or Spearman's rho over ordered pairs"),
        number("value", "the difference that decides, or rho; null where there is none"),
        number("ci_low", "lower end of the 95 % interval"),
        number("ci_high", "upper end of the 95 % interval"),
        number("p_value", "two-sided p by permutation of the datasets; null of a difference"),
        Column("n", "BIGINT", "items, or ordered pairs of datasets", "items or pairs"),
        Column("n_clusters", "BIGINT", "what the interval draws: groups, or targets", "clusters"),
        text("details", "every comparison behind the verdict, in words"),
        *HISTORY,
    ),
)
EXPERIMENT_METHODS = TableSpec(
    "experiment_methods",
    ("experiment_id", "method", "source", "quantity"),
    "Adapter methods on the same sources and seeds at one budget of trained parameters",
    (
        text("experiment_id", "experiment"),
        text("method", "adapter method"),
        text("source", "source that its adapters were trained on; '' for all"),
        text(
            "quantity",
            "own (score on its own source), elsewhere (score minus the base's on the other"
            " sources: below zero it forgets), a strategy (score of the ensemble of the others),"
            " <strategy>_gap (that score minus own), n_parameters, rank, train_seconds or"
            " peak_memory_bytes, each a mean over adapters",
        ),
        number("value", "mean over seeds"),
        number("ci_low", "lower end of the 95 % interval over groups; null of what is no score"),
        number("ci_high", "upper end of it"),
        number("seed_low", "lowest value of a seed"),
        number("seed_high", "highest value of a seed"),
        count("n_items", "items, each once for each seed; of what is no score adapters"),
        count("n_groups", "groups among them; 0 of what is no score"),
        count("n_seeds", "seeds"),
        number("difference", "value minus that of the method compared with, on the same items"),
        number("difference_ci_low", "lower end of its 95 % interval, paired bootstrap over groups"),
        number("difference_ci_high", "upper end of it"),
        text("result", "win, tie or loss against the method compared with; '' where none is"),
        *HISTORY,
    ),
)

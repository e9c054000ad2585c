"""Tables about evaluations: scores of arms and of items, and paired comparisons."""

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
        text("run_id", "run that computed it"),
        text("evaluation_id", "sha12 over arms, rows and metrics of the evaluation"),
        text("target_name", "target of the plan"),
        text("dataset_version_id", "dataset version that was scored"),
        text("split", "validation or test"),
        text(
            "slice",
            "'' for all items (null in mart.scores), <column>=sha12 of the value, or class=<name>"
            " of a mask",
        ),
        text(
            "arm",
            "base, average, nearest, similarity, linear, linear_l1, auto, sft, sft_ensemble,"
            " reference:<source> (its adapter by itself) or a strategy's name",
        ),
        text("ensemble_id", "ensemble or adapter behind the arm; '' for base"),
        text("metric", "metric"),
        text("metric_version", "version of the metric's definition"),
        flag("is_higher_better", "direction of the metric"),
        number("value", "score"),
        number("ci_low", "lower end of the 95 % interval"),
        number("ci_high", "upper end of the 95 % interval"),
        count("n_items", "items scored"),
        count("n_groups", "groups among them"),
        *HISTORY,
    ),
)
ITEM_SCORES = TableSpec(
    "item_scores",
    ("evaluation_id", "dataset_version_id", "split", "arm", "ensemble_id", "item_sha256", "metric"),
    "Per-item scores, so that any comparison can be made again",
    (
        text("evaluation_id", "sha12 over arms, rows and metrics of the evaluation"),
        text("target_name", "target of the plan"),
        text("dataset_version_id", "dataset version that was scored"),
        text("split", "validation, test or leave_one_out"),
        text("arm", "arm"),
        text("ensemble_id", "ensemble or adapter behind the arm; '' for base"),
        text("item_sha256", "row that was scored"),
        text("group_sha256", "its group"),
        text("metric", "what the item is scored by; accuracy of a closed answer set"),
        number("value", "per-item score (accuracy: 1 if right, else 0)"),
        Column("predicted", "BIGINT", "index of the predicted label; null of free text"),
        Column("expected", "BIGINT", "index of the true label; null of free text"),
        *HISTORY,
    ),
)
COMPARISONS = TableSpec(
    "comparisons",
    ("comparison_id",),
    "Paired comparisons behind the gate",
    (
        text("comparison_id", "sha12 over what was compared"),
        text("run_id", "run that computed it"),
        text("target_name", "target of the plan"),
        text("dataset_version_id", "target dataset version"),
        text("metric", "metric"),
        text("evidence", "labels, or leave_one_out over the references"),
        text("arm", "arm of the challenger"),
        text("ensemble_id", "challenger"),
        text("baseline_arm", "what it was held against"),
        text("baseline_ensemble_id", "its ensemble; '' for base"),
        number("difference", "challenger minus baseline: the mean that mean_over names"),
        text(
            "mean_over",
            "groups: the mean over groups of a group's mean difference, which the gate decides by;"
            " null of comparisons before it did, which are means over items",
        ),
        number(
            "item_difference",
            "the other mean: over items, so that a group counts by its items; must agree in sign",
        ),
        number(
            "cap",
            "score from which on all count alike; null of a metric with bounds",
            "unit of the metric",
        ),
        number("ci_low", "lower end of the paired bootstrap interval: a description"),
        number("ci_high", "upper end of the paired bootstrap interval: a description"),
        number("confidence", "confidence of the interval", "ratio"),
        count("n_items", "items compared"),
        count("n_groups", "groups among them"),
        text("result", "win, tie or loss"),
        text("evaluation_id", "evaluation whose item scores were compared"),
        Column(
            "n_tried",
            "BIGINT",
            "place of the challenger among all tried on this target's test set; 0 where too few"
            " items to look at",
            "challengers",
        ),
        number("level", "what is left to it of alpha / 2: the n-th may be wrong with this"),
        number(
            "p_value",
            "one-sided p of so large a difference, the larger of those of both means; before `test`"
            " was told it was a jackknife t by group",
        ),
        text("test", "what p_value is of: mcnemar (exact), or betting; null before it was told"),
        Column(
            "n_new_groups", "BIGINT", "groups that no earlier trial of the target used", "groups"
        ),
        number("wealth", "what bets on new groups against this baseline are worth, 1 at first"),
        number("wealth_asked", "wealth that vouches for a win: 2 / alpha"),
        text(
            "log_gains_json",
            "what this trial's new groups made of each bet on the groups' and on the items' mean,"
            " logarithms, two lists as JSON; one list of an older gate, whose bets no longer count",
        ),
        Column("n_lost", "BIGINT", "groups whose mean fell by more than loss_size", "groups"),
        number("loss_size", "how much a group loses to be counted in n_lost", "unit of the metric"),
        number(
            "loss_upper",
            "exact upper bound of the share of groups that lose so much, at the confidence",
            "ratio",
        ),
        number("loss_share", "share that may lose so much; null where the gate sets none", "ratio"),
        Column(
            "n_groups_needed",
            "BIGINT",
            "how many groups like these would decide; null where the difference is not above zero",
            "groups",
        ),
        *HISTORY,
    ),
)
CHECKS = TableSpec(
    "checks",
    ("check_id",),
    "Looks behind alerts: what serves now against then, and a source's newest rows against older",
    (
        text("check_id", "sha12 over kind, subject and what was compared"),
        text("run_id", "run that looked"),
        text(
            "kind",
            "below_promotion (the champion against itself when it was promoted), fall (what serves"
            " against what served the evaluation before) or drift (z against an earlier z)",
        ),
        text("subject", "target; of a drift the source"),
        text("ensemble_id", "champion now; '' of a drift"),
        text("former_ensemble_id", "champion then; '' of a drift"),
        text("dataset_version_id", "dataset version now"),
        text("former_dataset_version_id", "dataset version then"),
        text("record_id", "evaluation now; of a drift the representation"),
        text("former_record_id", "evaluation then; of a drift the representation"),
        text("metric", "metric of the gate; of a drift distance, lower being nearer"),
        number("value", "score now; of a drift the Euclidean distance of the two z"),
        number("former_value", "score then; of a drift 0"),
        number("difference", "now minus then"),
        number("ci_low", "lower end of its interval by group; null of a drift"),
        number("ci_high", "upper end of it; null of a drift"),
        number("confidence", "confidence of the interval; null of a drift", "ratio"),
        number("noise", "distance that chance alone would make, by group; null of a score"),
        number("p_value", "chance of so deep a fall, or a bound on that of so long a move"),
        number("level", "what the look may be wrong by: its share of the night's"),
        count("n_items", "items now"),
        count("n_former_items", "items then"),
        Column("n_groups", "BIGINT", "groups now; of a drift those that came or went", "groups"),
        Column("n_former_groups", "BIGINT", "groups then; null of a drift", "groups"),
        text("result", "worse or moved, steady, or too_few groups to tell"),
        *HISTORY,
    ),
)

"""What papers on adapter methods lead one to expect, stated beforehand as data, and its verdicts.

Each is read from the items of all sources and seeds as one set, clusters being groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rpe_core.evaluation.bootstrap import score_interval
from rpe_core.evaluation.expectations import (
    ExpectationFinding,
    Standing,
    comparison_words,
    finding_of,
    undecided_finding,
)
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.metrics import Items, find_metric

RULES = "1"  # version of the statements and of how each is decided
OPEN = (0.5, 0.7)  # share of gates for which SoRA is to be as good as LoRA


@dataclass(frozen=True)
class Compared:
    """What the adapters of a method answered: on their own sources, and each on the others.

    `open_share` is that of its gates after training, None of a method without any.
    """

    own: Items
    elsewhere: Items
    open_share: float | None = None


Methods = Mapping[str, Compared]


@dataclass(frozen=True)
class Statement:
    """A statement made before a run about some methods, and how a verdict on it is reached."""

    name: str
    statement: str
    methods: tuple[str, ...]
    check: Callable[[Statement, Methods, str, float], ExpectationFinding]


def check_statements(
    methods: Methods, metric: str, *, confidence: float = 0.95
) -> Iterator[ExpectationFinding]:
    """A verdict on each of STATEMENTS whose methods were run.

    Raises:
        ShapeMismatch: methods did not answer the same items in the same order.
        UnknownName: no such metric.
    """
    for statement in STATEMENTS:
        if set(statement.methods) <= set(methods):
            yield statement.check(statement, methods, metric, confidence)


def _pruned_as_good(
    stated: Statement, methods: Methods, metric: str, confidence: float
) -> ExpectationFinding:
    sora, lora = methods["sora"], methods["lora"]
    share = sora.open_share
    if share is None or not OPEN[0] <= share <= OPEN[1]:
        told_share = "none were counted" if share is None else f"{share:.0%} of its gates are open"
        return undecided_finding(stated, f"{told_share}; set threshold in the recipe's options")
    value = find_metric(metric).value(sora.own)
    _, low, high = score_interval(lora.own, metric, confidence=confidence, seed=0)
    comparison = compare(sora.own, lora.own, metric, confidence=confidence, mean_over="items")
    verdict: Standing = "holds" if low <= value <= high else "fails"
    details = f"{share:.0%} of the gates open; {value:.4f} against [{low:.4f}, {high:.4f}]; "
    return finding_of(
        stated, verdict, comparison, details + comparison_words("sora", "lora", comparison)
    )


def _forgets_less(
    stated: Statement, methods: Methods, metric: str, confidence: float
) -> ExpectationFinding:
    ours, theirs = methods["promptsrc"], methods["lora"]
    own = compare(ours.own, theirs.own, metric, confidence=confidence, mean_over="items")
    comparison = compare(
        ours.elsewhere, theirs.elsewhere, metric, confidence=confidence, mean_over="items"
    )
    is_lost = "loss" in (own.result, comparison.result)
    verdict: Standing = (
        "fails" if is_lost else "holds" if comparison.result == "win" else "undecided"
    )
    details = (
        f"on the other sources {comparison_words('promptsrc', 'lora', comparison)}; on its own "
    )
    return finding_of(
        stated, verdict, comparison, details + comparison_words("promptsrc", "lora", own)
    )


STATEMENTS = (
    Statement(
        "pruned_as_good",
        "SoRA with 50 to 70 % of its gates open scores within the interval of LoRA",
        ("sora", "lora"),
        _pruned_as_good,
    ),
    Statement(
        "promptsrc_forgets_less",
        "PromptSRC scores above LoRA on the other sources and not below it on its own",
        ("promptsrc", "lora"),
        _forgets_less,
    ),
)

"""What papers on adapter methods say: each verdict on made-up answers whose truth is known."""

import numpy as np
import pytest

from rpe_core.evaluation.method_statements import STATEMENTS, Compared, check_statements
from rpe_core.evaluation.metrics import Items

N = 200


def answered(share: float, *, n_groups: int = N) -> Items:
    """The items that are easier than a share; the same ones are hard for every method."""
    rng = np.random.default_rng(0)
    hard = rng.random(N)
    groups = np.array([f"g{i % n_groups}" for i in range(N)])
    return Items({"rouge_l": (hard < share) * 0.9 + 0.05 * rng.random(N)}, groups)


def method(own: float, elsewhere: float, open_share: float | None = None, **more: int) -> Compared:
    return Compared(answered(own, **more), answered(elsewhere, **more), open_share)


def verdict(name: str, **methods: Compared) -> str:
    found = {one.name: one for one in check_statements(methods, "rouge_l")}
    return found[name].verdict


@pytest.mark.parametrize(
    ("own", "share", "expected"),
    [(0.8, 0.6, "holds"), (0.4, 0.6, "fails"), (0.8, 0.9, "undecided"), (0.8, None, "undecided")],
)
def test_a_pruned_method_is_judged_where_enough_was_pruned(
    own: float, share: float | None, expected: str
) -> None:
    lora = method(0.8, 0.5)
    assert verdict("pruned_as_good", lora=lora, sora=method(own, 0.5, share)) == expected


@pytest.mark.parametrize(
    ("own", "elsewhere", "expected"),
    [(0.8, 0.7, "holds"), (0.8, 0.3, "fails"), (0.6, 0.7, "fails"), (0.8, 0.5, "undecided")],
)
def test_forgetting_less_counts_only_at_an_equal_own_score(
    own: float, elsewhere: float, expected: str
) -> None:
    lora = method(0.8, 0.5)
    found = verdict("promptsrc_forgets_less", lora=lora, promptsrc=method(own, elsewhere))
    assert found == expected


def test_few_groups_decide_nothing_and_what_was_not_run_is_not_told() -> None:
    few = {"lora": method(0.8, 0.5, n_groups=5), "sora": method(0.8, 0.5, 0.6, n_groups=5)}
    assert [one.verdict for one in check_statements(few, "rouge_l")] == ["undecided"]
    assert list(check_statements({"lora": few["lora"]}, "rouge_l")) == []
    assert len({one.name for one in STATEMENTS}) == len(STATEMENTS)

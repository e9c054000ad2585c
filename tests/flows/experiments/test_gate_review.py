"""`rpe experiment gate-review`: promotions as an older gate recorded them, asked about again."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.stores.lake.lake import Lake
from flows.experiments.gate_review import BLIND, FALLS, STANDS, UNKNOWN, Reviewed, policy_of, review
from flows.workspace.plan import GateSpec
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake
from flows.workspace.workspace import load_declarations
from tests.catalog.lakes import NOON
from tests.catalog.queries.test_trials import NEWER
from tests.pico_world import PLAN, SITES, write_contract

Row = dict[str, Any]


class OlderGate:
    """Rows as the gate before wrote them: means over items, a jackknife's p, one list of bets."""

    def __init__(self) -> None:
        self.hour, self.rows = 0, dict[str, list[Row]]()

    def evaluation(
        self,
        target: str,
        arms: dict[str, Any],
        sizes: Sequence[int],
        metric: str = "dice",
        split: str = "test",
    ) -> str:
        """Item scores of base and arms, group by group."""
        evaluation, is_labelled = f"{target} e{self.hour}", split == "test"
        groups = np.repeat([f"g{i:03}" for i in range(len(sizes))], sizes)
        rows = [
            {
                "evaluation_id": evaluation, "target_name": target, "arm": arm,
                "dataset_version_id": "dataset:site_c@1", "split": split, "metric": metric,
                "ensemble_id": f"ensemble:{target}@{arm}"
                if arm != "base" and is_labelled else "",
                "item_sha256": f"i{i:04}", "group_sha256": str(group), "value": float(value),
                "predicted": int(1 - value) if metric == "accuracy" else None,
                "expected": 0 if metric == "accuracy" else None,
            }
            for arm, values in arms.items()
            for i, (group, value) in enumerate(
                zip(groups, np.broadcast_to(values, groups.shape), strict=True)
            )
        ]  # fmt: skip
        self.add("item_scores", *rows)
        return evaluation

    def verdict(self, target: str, arm: str, evaluation: str, **more: Any) -> None:
        """A promotion of the arm with the comparisons behind it."""
        self.hour += 1
        champion, metric = more.pop("champion", ""), more.pop("metric", "dice")
        n_items, n_groups = more.pop("n", (60, 60))
        shared = {
            "target_name": target, "arm": arm, "ensemble_id": f"ensemble:{target}@{arm}",
            "dataset_version_id": "dataset:site_c@1", "run_id": f"run:night@{self.hour}",
            "evidence": more.pop("evidence", "labels"),
            "recorded_at": NOON + timedelta(hours=self.hour),
        }  # fmt: skip
        baselines = ["", *([f"ensemble:{target}@{champion}"] if champion else [])]
        compared = [
            {
                **shared, "comparison_id": f"{target} {self.hour} {against}", "metric": metric,
                "baseline_arm": champion if against else "base", "baseline_ensemble_id": against,
                "difference": 0.02, "ci_low": 0.01, "ci_high": 0.03, "confidence": 0.95,
                "n_items": n_items, "n_groups": n_groups, "result": "win",
                "evaluation_id": evaluation, "n_tried": more.pop("n_tried", 1), "level": 0.0125,
                "p_value": 1e-5, "n_new_groups": n_groups, "wealth": 1e6, "wealth_asked": 40.0,
                "log_gains_json": json.dumps([5.0] * 9),
            }
            for against in baselines
        ]  # fmt: skip
        promotion = {
            **shared, "promotion_id": f"{target} p{self.hour}",
            "champion_ensemble_id": baselines[-1],
            "action": "promoted", "actor": "gate", "reasons": "Wins against base.",
            "model_name": target, "model_version": str(self.hour), "question_id": f"q{self.hour}",
            **more,
        }  # fmt: skip
        self.add("comparisons", *compared)
        self.add("promotions", promotion)

    def add(self, table: str, *rows: Row) -> None:
        self.rows.setdefault(table, []).extend(rows)

    def write(self, lake: Lake) -> None:
        with lake.transaction(message="test", run=None) as commit:
            for table, rows in self.rows.items():
                commit.insert_new(table, rows)


ONES = [1] * 60
RARE = np.r_[-0.8, np.full(59, 0.05)]  # a little better on most, lost on one


def tell(gate: OlderGate) -> None:
    """One target for each thing that may come of a review."""
    # every group gains .02, and what was not drawn is not seen
    gate.verdict("unseen", "a", gate.evaluation("unseen", {"base": 0.5, "a": 0.52}, ONES))
    gate.verdict("clear", "a", gate.evaluation("clear", {"base": 0.3, "a": 0.6}, ONES))
    again = gate.evaluation("clear", {"base": 0.3, "a": 0.6, "b": 0.62}, ONES)
    gate.verdict("clear", "b", again, champion="a", n_tried=2)
    # two large groups gain what sixty small ones lose
    sizes = [100, 100, *[1] * 58]
    values = np.r_[np.full(200, 0.9), np.full(58, 0.4)]
    split = gate.evaluation("split", {"base": 0.5, "a": values}, sizes)
    gate.verdict("split", "a", split, n=(258, 60), action="approved", actor="jane.roe")
    gate.verdict("gone", "a", "nowhere")
    part = gate.evaluation("part", {"base": 0.3, "a": 0.6}, ONES)
    gate.verdict("part", "a", part, n=(61, 60))
    f1 = gate.evaluation("f1", {"base": 0, "a": 1}, ONES, metric="accuracy")
    gate.verdict("f1", "a", f1, metric="macro_f1")
    single = gate.evaluation(
        "single", {"base": 0, "a": [1] * 40 + [0] * 20}, ONES, metric="accuracy"
    )
    gate.verdict("single", "a", single, metric="accuracy", action="pending")
    far = gate.evaluation("far", {"base": 30.0, "a": 5.0}, ONES, metric="hd95")
    gate.verdict("far", "a", far, metric="hd95")
    rare = gate.evaluation("rare", {"base": 0.9, "a": 0.9 + RARE}, ONES)
    gate.verdict("rare", "a", rare)
    # without labels the rule that chose answers for the challenger, strategies for the champion
    left = {"base": 0.3, "auto": 0.7, "a": 0.7, "b": 0.3}
    out = gate.evaluation("left", left, ONES, split="leave_one_out")
    gate.verdict("left", "a", out, champion="b", evidence="leave_one_out")
    gate.verdict("withdrawn", "a", rare, retracted_at=NOON)
    gate.verdict("blind", "z", "nowhere", action="refused")
    gate.verdict("blind", "a", gate.evaluation("blind", {"base": 0.3, "a": 0.6}, ONES), n_tried=2)
    taken = json.dumps({"influence": {"ensembles": ["ensemble:erased@1", "ensemble:erased@2"]}})
    gate.add("retractions", {"retraction_id": "r", "certificate_json": taken, "recorded_at": NOON})


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A workspace of the release before, whose lake lacks what this one records."""
    made, older = Settings(home=tmp_path_factory.mktemp("reviewed")), OlderGate()
    (made.root / "sources").mkdir()
    for source in SITES:
        write_contract(made.root / "sources", made.root, source)
    made.plan_file.write_text(PLAN.format(base="pico"))
    tell(older)
    with closing(open_lake(made)) as lake:
        lake.migrate()
        older.write(lake)
        with lake.transaction(message="older", run=None) as commit:
            for column in NEWER:
                commit.execute(f"ALTER TABLE core.comparisons DROP COLUMN {column}")
            commit.execute("UPDATE core.migrations SET version = 13")
    return made


@pytest.fixture(scope="module")
def reviewed(settings: Settings) -> dict[str, Reviewed]:
    return {f"{one.target} {one.ensemble_id[-1:]}": one for one in review(settings)}


def files_of(folder: Path) -> dict[str, str]:
    return {
        str(path): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("unseen a", FALLS, "About 222 groups such as these would decide; there are 60."),
        ("clear a", STANDS, "Licensed by bets on one group after another"),
        ("clear b", FALLS, "Refused, no guard licenses it against the champion."),
        ("split a", FALLS, "the mean over groups and the mean over items disagree in sign"),
        ("gone a", UNKNOWN, "The item scores of evaluation nowhere are gone."),
        ("part a", UNKNOWN, "60 of 61 item scores of evaluation part e5 are left."),
        ("f1 a", FALLS, "macro_f1 is no mean over items"),
        ("single a", STANDS, "Licensed by McNemar's exact test"),
        ("far a", UNKNOWN, "gate: {metric: hd95, cap: 50}"),
        ("rare a", FALLS, "1 of 60 groups lost more than 0.3: up to 7.7% may."),
        ("withdrawn a", UNKNOWN, "Data behind it are being withdrawn."),
        ("blind a", STANDS, BLIND),
        ("left a", STANDS, "Wins against the champion: dice +0.400 over groups"),
        ("erased ", UNKNOWN, "was erased with them"),
    ],
)
def test_each_promotion_is_asked_about_again(
    reviewed: dict[str, Reviewed], name: str, outcome: str, reason: str
) -> None:
    assert reason in reviewed[name].reasons
    assert reviewed[name].outcome == outcome


def test_what_serves_is_marked_and_by_whose_word(reviewed: dict[str, Reviewed]) -> None:
    assert len(reviewed) == 14
    assert [name for name, one in reviewed.items() if not one.is_serving] == [
        "erased ", "clear a", "single a", "withdrawn a",
    ]  # fmt: skip
    assert (reviewed["split a"].action, reviewed["single a"].action) == ("approved", "pending")


def test_where_items_before_are_gone_no_group_counts_as_new(reviewed: dict[str, Reviewed]) -> None:
    assert reviewed["blind a"].against_base["n_new_groups"] == 0


def test_bets_are_those_of_then_from_trial_to_trial(reviewed: dict[str, Reviewed]) -> None:
    """The second trial of a test set has no new group; what the first gained is counted again."""
    bets = np.arange(1, 10) / 10
    first, second = reviewed["clear a"].against_base, reviewed["clear b"].against_base
    capital = np.mean([(1 + 0.3 * bet) ** 60 for bet in bets])
    assert first["wealth"] == pytest.approx(capital)
    assert (first["n_tried"], first["n_new_groups"]) == (1, 60)
    assert second["wealth"] == pytest.approx(capital)
    assert (second["n_tried"], second["n_new_groups"]) == (2, 0)
    assert reviewed["clear b"].against_champion["wealth"] == 1.0, "nobody bet against it before"


def test_nothing_is_written_and_the_command_says_what_may_be_done(
    settings: Settings,
    rpe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RPE_HOME", str(settings.root))
    before = files_of(settings.root)
    assert rpe("experiment", "gate-review") == 0
    shown = capfd.readouterr()
    assert "4 promotions stand, 5 would not have happened, 5 cannot be reviewed" in shown.err
    assert "SERVES unseen: version 1 would not be promoted now" in shown.err
    assert "rpe rollback clear --actor NAME   # version 2 serves again" in shown.err
    assert shown.err.count("rpe rollback") == 1, "of the others there is no former champion"
    assert "1 of 60 groups lost more than 0.3: up to 7.7% may" in " ".join(shown.out.split())
    assert rpe("experiment", "gate-review", "--json") == 0
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert {row["outcome"] for row in rows} == {STANDS, FALLS, UNKNOWN}
    assert files_of(settings.root) == before, "not a byte, and no table brought up to date"


@pytest.mark.parametrize(
    ("gate", "row", "cap", "size"),
    [
        ({"metric": "hd95", "cap": 50.0, "max_loss": {"share": 0.1, "size": 10.0}}, {}, 50.0, 10.0),
        ({"metric": "hd95", "cap": 50.0}, {"cap": 40.0}, 50.0, None),
        ({"max_loss": {"share": 0.1, "size": 0.3}}, {"cap": 40.0}, 40.0, None),
        ({"max_loss": {"share": 0.1, "size": 0.3}}, {"metric": "dice"}, None, 0.3),
        ({"metric": "hd95", "cap": 50.0, "max_loss": {"share": 0.1, "size": 10.0}},
         {"metric": "dice"}, None, None),
    ],
)  # fmt: skip
def test_the_gate_of_now_is_asked_by_metric_and_confidence_of_then(
    settings: Settings, gate: Row, row: Row, cap: float | None, size: float | None
) -> None:
    """A cap or a rule of another metric is not in the way; the plan's own cap comes first."""
    plan = load_declarations(settings).plan
    plan = plan.model_copy(update={"gate": GateSpec.model_validate(gate)})
    asked = {"target_name": "x", "metric": "hd95", "confidence": 0.9, **row}
    policy = policy_of(plan, asked)
    assert (policy.metric, policy.confidence, policy.cap) == (asked["metric"], 0.9, cap)
    assert (policy.max_loss.size if policy.max_loss else None) == size

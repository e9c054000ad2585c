"""The gate: an older one's verdicts stand, rare losses refuse, a person's roll-back holds."""

import json
import re
from collections.abc import Callable
from contextlib import closing

import pytest
from scipy.stats import beta

from catalog.records import promotion, registration
from catalog.records.promotion import VerdictRecord
from catalog.records.registration import Challenger
from flows.night.nightly import run_night
from flows.runs.run_record import open_run
from flows.targets.decisions import approve, roll_back
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake, open_stores
from flows.workspace.workspace import Workspace, load_declarations
from tests.flows.conftest import TARGET
from tests.flows.night.test_night import counts
from tests.kill_operations import take_back
from tests.lake_rows import read_rows_of

WEAKEST = """
SELECT arm, e.ensemble_id, e.dataset_version_id FROM core.scores s JOIN core.ensembles e
    ON e.ensemble_id = s.ensemble_id AND s.arm = e.strategy
WHERE s.split = 'test' AND s.metric = 'accuracy' AND s.slice = '' AND NOT e.abstained
ORDER BY s.value, arm LIMIT 1
"""


@pytest.mark.slow
@pytest.mark.ci_slow
def test_an_older_lake_is_asked_nothing_anew_until_the_plan_asks_for_more(
    night_copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """What an older gate said stands; a rule of rare losses is another question, and is told."""
    make_older(night_copy)
    before = counts(night_copy)
    assert run_night(night_copy).faults == ()
    after = counts(night_copy)
    # rows of its versions learn what files they have; nothing is asked or decided
    assert after == before | {name: before[name] + 1 for name in ("runs", "migrations")}

    plan = night_copy.plan_file.read_text()
    rule = "max_loss: {share: 0.02, size: 0.3}"
    night_copy.plan_file.write_text(plan.replace("gate: {", f"gate: {{{rule}, "))
    capfd.readouterr()
    assert rpe("promote") == 4
    shown = " ".join(re.sub("[─│]", " ", capfd.readouterr().out).split())
    verdict = _verdicts(night_copy)[-1]
    assert verdict["action"] == "refused"
    assert (
        "Refused by max_loss against base: 2.0% of groups may lose more than 0.3."
        in (verdict["reasons"])
    )
    (row,) = read_rows_of(night_copy, "FROM core.comparisons WHERE test IS NOT NULL")
    assert (row["mean_over"], row["loss_share"], row["loss_size"]) == ("groups", 0.02, 0.3)
    assert row["n_tried"] == 2, "what the older gate tried counts, and its bets do not"
    lost, n = row["n_lost"], row["n_groups"]
    assert row["loss_upper"] == pytest.approx(beta.ppf(0.8, lost + 1, n - lost), rel=1e-9)
    told = f"{lost} of {n} groups lost more than 0.3: up to {row['loss_upper']:.1%} may"
    for said in (told, "refused by max_loss against base", f"{row['item_difference']:+.3f} over"):
        assert said in shown, said
    page = (night_copy.root / "report" / "index.html").read_text()
    on_the_page = f"{lost} of {n} groups lost more than 0.3, at most {row['loss_upper']:.1%} of all"
    assert on_the_page in page
    assert f"at most {row['loss_upper']:.1%} of all, 2.0% allowed" in page

    night_copy.plan_file.write_text(
        plan.replace("gate: {", f"gate: {{{rule.replace('.02', '.5')}, ")
    )
    assert run_night(night_copy, only=("promote",)).faults == ()
    again = read_rows_of(night_copy, "FROM core.comparisons WHERE loss_share = 0.5")
    assert [one["n_tried"] for one in again] == [2], "the very same comparison keeps its place"


def make_older(settings: Settings) -> None:
    """As the release before left the lake: nothing is known of means, tests and losses."""
    with closing(open_lake(settings)) as lake, lake.transaction(message="old", run=None) as tx:
        tx.execute(f"UPDATE core.comparisons SET log_gains_json = '{json.dumps([9.0] * 9)}'")
    take_back(settings, version=13)


@pytest.mark.slow
@pytest.mark.ci_slow
def test_what_was_rolled_back_is_refused_and_told_so(night_copy: Settings) -> None:
    plan = night_copy.plan_file.read_text()
    # a second challenger on so small a test set has little left to win with
    night_copy.plan_file.write_text(plan.replace("confidence: 0.8", "confidence: 0.6"))
    before = _serve_the_weakest(night_copy)
    assert run_night(night_copy, only=("promote",)).faults == ()
    pending = _verdicts(night_copy)[-1]
    assert pending["action"] == "pending"
    assert pending["champion_ensemble_id"] == before, "it was compared with what served"

    approve(night_copy, TARGET, actor="jane.roe")
    roll_back(night_copy, TARGET, actor="jane.roe")
    n = len(_verdicts(night_copy))
    assert run_night(night_copy, only=("promote",)).faults == ()

    rows = _verdicts(night_copy)
    assert [row["action"] for row in rows[n:]] == ["refused"]
    assert rows[-1]["ensemble_id"] == pending["ensemble_id"]
    assert "It was rolled back by a person before." in rows[-1]["reasons"]


def _serve_the_weakest(settings: Settings) -> str:
    """Give the target the weakest of its ensembles as a champion, so that the gate has a win."""
    declared, run = load_declarations(settings), open_run("test")
    stores = open_stores(settings)
    with closing(stores.lake):
        workspace = Workspace(settings, declared.plan, declared.contracts, stores, run)
        (weakest,) = stores.lake.rows(WEAKEST)
        target = declared.plan.target(TARGET)
        base = workspace.bases[target.base]
        task = declared.contracts[target.source].task_spec
        challenger = Challenger(weakest["ensemble_id"], base, task, "labels")
        registration.register_challengers(stores, [challenger], run=run)
        promotion.record_verdicts(stores, [(_promoted(weakest), ())], run=run)
        with stores.lake.transaction(message="test", run=run) as commit:
            commit.execute("UPDATE core.comparisons SET n_tried = 0")
            # pico arms differ by three answers, which no exact test tells from noise
            commit.execute(
                "UPDATE core.item_scores SET predicted = (expected + 1) % 2, value = 0"
                f" WHERE ensemble_id = '{weakest['ensemble_id']}'"
            )
    return str(weakest["ensemble_id"])


def _promoted(row: dict[str, str]) -> VerdictRecord:
    return VerdictRecord(
        target_name=TARGET,
        dataset_version_id=row["dataset_version_id"],
        arm=row["arm"],
        ensemble_id=row["ensemble_id"],
        champion_ensemble_id="",
        action="promoted",
        evidence="labels",
        reasons=("It served before this test.",),
        actor="tests",
    )


def _verdicts(settings: Settings) -> list[dict[str, str]]:
    with closing(open_lake(settings, read_only=True)) as lake:
        return lake.rows("FROM core.promotions ORDER BY recorded_at, promotion_id DESC")

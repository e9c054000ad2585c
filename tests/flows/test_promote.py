"""The gate: what a person has rolled back is not promoted again."""

from contextlib import closing

import pytest

from catalog import promotion, registration
from catalog.promotion import VerdictRecord
from catalog.registration import Challenger
from flows.deciding import approve, roll_back
from flows.nightly import run_night
from flows.run_record import open_run
from flows.settings import Settings
from flows.wiring import open_lake, open_stores
from flows.workspace import Workspace, load_declarations
from tests.flows.conftest import TARGET

WEAKEST = """
SELECT arm, e.ensemble_id, e.dataset_version_id FROM core.scores s JOIN core.ensembles e
    ON e.ensemble_id = s.ensemble_id AND s.arm = e.strategy
WHERE s.split = 'test' AND s.metric = 'accuracy' AND s.slice = '' AND NOT e.abstained
ORDER BY s.value, arm LIMIT 1
"""


@pytest.mark.slow
def test_what_was_rolled_back_is_refused_and_told_so(night_copy: Settings) -> None:
    plan = night_copy.plan_file.read_text()
    # pico arms differ by three answers: enough for a gate that asks for little
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
            # a second challenger on so small a test set would have too little left to win with
            commit.execute("UPDATE core.comparisons SET n_tried = 0")
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

"""Answers: a draft that is merged for the occasion scores what its ensemble scored in the night."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from flows.library.answers import score_draft, validation_rows
from flows.library.retrieval import retrieve
from flows.library.weighing import draft_of_target
from flows.runs.run_record import open_run
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from flows.workspace.workspace import Workspace, load_declarations
from tests.flows.conftest import TARGET


@pytest.fixture
def workspace(finished_night: Settings) -> Iterator[Workspace]:
    declared = load_declarations(finished_night)
    with closing((stores := open_stores(finished_night, read_only=True)).lake):
        run = open_run("test")
        yield Workspace(finished_night, declared.plan, declared.contracts, stores, run)


def test_a_draft_scores_what_its_ensemble_scored_and_none_what_the_base_did(
    workspace: Workspace,
) -> None:
    target = retrieve(workspace, workspace.plan.target(TARGET))
    assert target is not None
    version = target.version.dataset_version_id
    labelled = validation_rows(workspace, target.require_contract(), version)
    rows = workspace.stores.lake.rows(
        "SELECT arm, value, n_items FROM core.scores"
        " WHERE target_name = ? AND split = 'validation' AND slice = '' AND metric = 'accuracy'",
        [TARGET],
    )
    recorded = {row["arm"]: row["value"] for row in rows}
    assert {row["n_items"] for row in rows} == {len(labelled)}
    scored = {"base": score_draft(workspace, target, None, labelled)}
    for spec in target.spec.specs:
        draft = draft_of_target(workspace, target, spec, None)
        scored[spec.name] = score_draft(workspace, target, draft, labelled)
    assert scored == {arm: recorded[arm] for arm in scored}
    assert len(set(scored.values())) > 1, "else it would not tell one draft from another"

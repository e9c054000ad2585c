"""Retrieval: what a target looks like to the night, with its contract and without."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from catalog.errors import RecordNotFound
from flows.library.retrieval import TargetView, retrieve, rows_of_target
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


def seen(workspace: Workspace) -> TargetView:
    view = retrieve(workspace, workspace.plan.target(TARGET))
    assert view is not None
    return view


def test_a_target_is_seen_with_all_that_its_ensembles_are_made_of(workspace: Workspace) -> None:
    view, spec = seen(workspace), workspace.plan.target(TARGET)
    row = workspace.standing.versions[spec.source]
    assert (view.name, view.spec, view.base) == (TARGET, spec, workspace.bases[spec.base])
    assert view.version.dataset_version_id == row["dataset_version_id"]
    assert view.task == workspace.contracts[spec.source].task_spec
    assert view.candidates == view.library[: spec.k_most]
    assert spec.source not in {candidate.source for candidate in view.library}
    assert len(rows_of_target(workspace, view).inputs) == row["n_rows"]


def test_without_its_contract_a_target_has_a_place_but_no_task(workspace: Workspace) -> None:
    with_contract = seen(workspace)
    view = seen(replace(workspace, contracts={}))
    assert view == replace(with_contract, contract=None)
    for ask in (lambda: view.task, lambda: rows_of_target(workspace, view)):
        with pytest.raises(RecordNotFound, match=f"no contract of {view.spec.source}"):
            ask()

"""A challenger that is a model known already: no question, no version, nothing spent, and said."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from catalog.records import promotion, registration
from catalog.records.promotion import VerdictRecord
from catalog.records.registration import Challenger
from flows.commands.last_screen import read_standing
from flows.night.nightly import run_night
from flows.runs.run_record import open_run
from flows.targets.decisions import approve, roll_back
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake, open_registry, open_stores
from flows.workspace.workspace import Workspace, load_declarations
from tests.flows.conftest import TARGET
from tests.flows.night.test_night import counts, files_of
from tests.lake_rows import read_rows_of
from tests.pico_world import write_rows

LATER = ("ensemble", "evaluate", "promote")


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_champion_by_another_name_is_kept_and_nothing_is_spent(
    night_copy: Settings, rpe: Callable[..., int]
) -> None:
    """The strategy is called otherwise, so the ensemble has another id and the same weights."""
    approve(night_copy, TARGET, actor="jane.roe")
    champion = verdicts(night_copy)[-1]
    rename_strategies(night_copy)
    before, spent, versions = counts(night_copy), spending(night_copy), versions_of(night_copy)

    assert run_night(night_copy, only=LATER).faults == ()

    kept = verdicts(night_copy)[-1]
    assert (kept["action"], kept["champion_ensemble_id"]) == ("kept", champion["ensemble_id"])
    assert kept["ensemble_id"] != champion["ensemble_id"]
    assert kept["reasons"].startswith("The champion is this model already")
    assert kept["model_version"] == champion["model_version"], "lineage is that of what serves"
    after = counts(night_copy)
    assert after["comparisons"] == before["comparisons"]
    assert after["promotions"] == before["promotions"] + 1
    assert (spending(night_copy), versions_of(night_copy)) == (spent, versions)
    assert {row["verdict"] for row in read_standing(night_copy)} == {"kept"}

    files = files_of(night_copy)
    assert rpe("promote") == 0, "that the champion stays is no refusal"
    assert counts(night_copy) == {**after, "runs": after["runs"] + 1}
    assert files_of(night_copy) == files


@pytest.mark.slow
@pytest.mark.ci_slow
def test_what_waits_for_a_person_is_not_asked_again_by_another_name(night_copy: Settings) -> None:
    waiting = verdicts(night_copy)
    assert waiting[-1]["action"] == "pending"
    rename_strategies(night_copy)
    before, versions = counts(night_copy), versions_of(night_copy)
    assert run_night(night_copy, only=LATER).faults == ()
    after = counts(night_copy)
    assert after["comparisons"] == before["comparisons"]
    assert versions_of(night_copy) == versions
    assert verdicts(night_copy) == waiting, "it waits still, and can be approved"
    approve(night_copy, TARGET, actor="jane.roe")
    assert verdicts(night_copy)[-1]["action"] == "approved"


@pytest.mark.slow
@pytest.mark.ci_slow
@pytest.mark.parametrize("is_recorded", [True, False], ids=["recorded", "by its files"])
def test_new_rows_of_the_target_make_no_new_model(
    pico_workspace: Settings, prefect_api: str, is_recorded: bool
) -> None:
    """The average of the same members: six nights made six versions of it, and six trials."""
    learn_by_average(pico_workspace)
    assert run_night(pico_workspace).faults == ()
    approve(pico_workspace, "site-c", actor="jane.roe")
    if not is_recorded:
        change_served(pico_workspace, "NULL")
    spent, versions = spending(pico_workspace), versions_of(pico_workspace)
    for night in (1, 2, 3):
        file = pico_workspace.root.parent / "data" / f"site_c_{night}.jsonl"
        write_rows(file, "site_c", seed=40 + night, first=1000 * night, n=30)
        assert run_night(pico_workspace).faults == ()
        assert verdicts(pico_workspace)[-1]["action"] == "kept"
        assert (spending(pico_workspace), versions_of(pico_workspace)) == (spent, versions)
    told = {row["dataset_version_id"] for row in verdicts(pico_workspace)}
    scored = read_rows_of(pico_workspace, "SELECT DISTINCT dataset_version_id FROM core.scores")
    assert len(told) == 4 == len(scored), "what serves is scored on all rows there are, each night"


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_same_weights_that_answer_otherwise_are_another_model(night_copy: Settings) -> None:
    """As where prompts changed: the gate is asked, and there is a version."""
    approve(night_copy, TARGET, actor="jane.roe")
    versions = versions_of(night_copy)
    rename_strategies(night_copy)
    change_served(night_copy, "'another'")
    assert run_night(night_copy, only=LATER).faults == ()
    assert verdicts(night_copy)[-1]["action"] in ("refused", "pending")
    assert len(versions_of(night_copy)) == len(versions) + 1


@pytest.mark.slow
@pytest.mark.ci_slow
def test_what_was_rolled_back_is_known_by_another_name(night_copy: Settings) -> None:
    taken_back = verdicts(night_copy)[-1]["ensemble_id"]
    (other,) = read_rows_of(
        night_copy,
        "SELECT ensemble_id FROM core.ensembles WHERE NOT abstained AND weights_sha256 <>"
        " (SELECT weights_sha256 FROM core.ensembles WHERE ensemble_id = ?)"
        " ORDER BY ensemble_id LIMIT 1",
        [taken_back],
    )
    for ensemble_id in (other["ensemble_id"], taken_back):
        serve(night_copy, ensemble_id)
    roll_back(night_copy, TARGET, actor="jane.roe")
    rename_strategies(night_copy)
    before, versions = counts(night_copy), versions_of(night_copy)
    assert run_night(night_copy, only=LATER).faults == ()
    newest = verdicts(night_copy)[-1]
    assert newest["action"] == "refused"
    assert "It was rolled back by a person before." in newest["reasons"]
    assert counts(night_copy)["comparisons"] == before["comparisons"]
    assert versions_of(night_copy) == versions
    assert run_night(night_copy, only=LATER).outcome == "unchanged"


def verdicts(settings: Settings) -> list[dict[str, Any]]:
    return read_rows_of(settings, "FROM core.promotions ORDER BY recorded_at, promotion_id DESC")


def spending(settings: Settings) -> list[dict[str, Any]]:
    """What the gate has spent, and what is left to the next challenger."""
    return read_rows_of(settings, "FROM mart.gate_spending")


def versions_of(settings: Settings) -> list[str]:
    """Versions of all models, as the lake and as MLflow have them."""
    rows = read_rows_of(settings, "FROM core.model_versions")
    registry = open_registry(settings)
    found = [version.ref.uri for row in rows for version in registry.versions(row["model_name"])]
    return sorted({*found, *(f"models:/{r['model_name']}/{r['model_version']}" for r in rows)})


def rename_strategies(settings: Settings) -> None:
    """Every strategy weighs as before under a name of its own; an ensemble's id is of its name."""
    plan = settings.plan_file.read_text()
    names = ("average", "nearest", "similarity", "linear", "linear_l1")
    entries = ", ".join(f"{{name: {name}_again, {name}: {{}}}}" for name in names)
    settings.plan_file.write_text(plan.replace(", ".join(names), entries))
    assert settings.plan_file.read_text() != plan


def learn_by_average(settings: Settings) -> None:
    plan = settings.plan_file.read_text()
    names = "[average, nearest, similarity, linear, linear_l1, auto]"
    for old, new in (
        (names, "[average]"),
        ("epochs: 1", "epochs: 6"),
        ("learning_rate: 5.0e-3", "learning_rate: 2.0e-2"),
        ("gate: {min_items: 20", "gate: {approval: required, min_items: 20"),
        ("confidence: 0.8", "confidence: 0.6"),  # the average gains less than the nearest
    ):
        assert old in plan
        plan = plan.replace(old, new)
    settings.plan_file.write_text(plan)


def change_served(settings: Settings, value: str) -> None:
    lake = open_lake(settings)
    with closing(lake), lake.transaction(message="test", run=open_run("test")) as commit:
        commit.execute(f"UPDATE core.model_versions SET served_sha256 = {value}")


def serve(settings: Settings, ensemble_id: str) -> None:
    """Make an ensemble the champion, in the gate's name."""
    declared, run, stores = load_declarations(settings), open_run("test"), open_stores(settings)
    with closing(stores.lake):
        workspace = Workspace(settings, declared.plan, declared.contracts, stores, run)
        target, row = declared.plan.target(TARGET), workspace.standing.ensembles[ensemble_id]
        base, task = workspace.bases[target.base], declared.contracts[target.source].task_spec
        challenger = Challenger(ensemble_id, base, task, "labels")
        registration.register_challengers(stores, [challenger], run=run)
        served = workspace.standing.champions.get(TARGET, {})
        verdict = VerdictRecord(
            target_name=TARGET,
            dataset_version_id=row["dataset_version_id"],
            arm=row["strategy"],
            ensemble_id=ensemble_id,
            champion_ensemble_id=served.get("ensemble_id", ""),
            action="promoted",
            evidence="labels",
            reasons=("It served before this test.",),
            actor="tests",
        )
        promotion.record_verdicts(stores, [(verdict, ())], run=run)

"""Dry run: what is pending surely, what would follow from it, and no byte changes."""

import json
from collections.abc import Callable

import pytest

from flows.targets.decisions import approve
from flows.workspace.settings import Settings
from flows.workspace.workspace import load_declarations
from tests.flows.commands.test_cli import contents
from tests.flows.conftest import TARGET
from tests.pico_world import write_contract, write_rows

Rows = dict[str, dict[str, tuple[str, list[str]]]]


@pytest.fixture
def planned(rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> Callable[..., Rows]:
    def ask(*arguments: str) -> Rows:
        assert rpe("nightly", "--dry-run", "--json", *arguments) == 0
        found: Rows = {}
        for row in json.loads(capfd.readouterr().out)["rows"]:
            assert row["unit"] not in found.setdefault(row["step"], {}), "each unit once"
            found[row["step"]][row["unit"]] = (row["certainty"], row["after"])
        return found

    return ask


def deliver(settings: Settings, source: str) -> None:
    """New rows of a source, in a file of their own."""
    data = settings.root / "new"
    data.mkdir(exist_ok=True)
    write_contract(settings.sources_folder, data, source)
    write_rows(data / f"{source}.jsonl", source, seed=8, first=900, n=40)


def test_a_new_file_of_a_reference_is_followed_to_the_gate(
    night_copy: Settings, planned: Callable[..., Rows]
) -> None:
    deliver(night_copy, "site_a")
    before = contents(night_copy)
    found = planned()
    assert contents(night_copy) == before
    assert found["ingest"] == {"site_a": ("surely", [])}
    assert found["embed"] == {"site_a as reference": ("would follow", ["ingest site_a"])}
    assert found["train"] == {"site_a": ("would follow", ["ingest site_a"])}
    assert {unit.partition(" by ")[0] for unit in found["ensemble"]} == {"site-d"}
    assert set(map(str, found["ensemble"].values())) == {str(("would follow", ["train site_a"]))}
    assert found["evaluate"] == {"site-d": ("would follow", ["ensemble site-d"])}
    assert found["promote"] == {"site-d": ("would follow", ["evaluate site-d"])}


def test_a_target_whose_contract_has_faults_is_not_asked_about_and_the_fault_is_told(
    night_copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    [target] = [t for t in load_declarations(night_copy).plan.targets if t.name == TARGET]
    contract = night_copy.sources_folder / f"{target.source}.yaml"
    contract.write_text(f"{contract.read_text()}nonsense: 1\n")
    assert rpe("nightly", "--dry-run") == 2
    told = capfd.readouterr()
    assert "withheld" not in told.err
    assert f"WOULD FAIL ingest {target.source}" in told.out + told.err


@pytest.mark.slow
@pytest.mark.ci_slow
def test_the_night_then_does_what_was_said(
    night_copy: Settings,
    planned: Callable[..., Rows],
    rpe: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    approve(night_copy, TARGET, actor="jane.roe")  # a model that waits is not asked about again
    deliver(night_copy, "site_c")  # the target's own source
    said = planned()
    assert rpe("nightly", "--json") == 0
    capfd.readouterr()
    assert rpe("sql", "--json", "SELECT steps_json FROM core.runs ORDER BY recorded_at") == 0
    steps = json.loads(json.loads(capfd.readouterr().out)[-1]["steps_json"])
    done = {step["name"]: set(step["done"]) for step in steps if step["done"]}
    del done["watch"]  # looks at what the steps have done
    assert {step: set(units) for step, units in said.items()} == done


def test_only_what_is_asked_for_is_followed(
    night_copy: Settings, planned: Callable[..., Rows]
) -> None:
    deliver(night_copy, "site_a")
    assert set(planned("--only", "ingest")) == {"ingest"}
    assert set(planned("--only", "train,ensemble,evaluate,promote")) == set()
    # without a training nothing changes for the target
    assert set(planned("--only", "ingest,embed,ensemble,evaluate,promote")) == {"ingest", "embed"}


def test_a_contract_with_faults_is_told_as_the_night_would_end(
    night_copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    contract = night_copy.sources_folder / "site_a.yaml"
    contract.write_text(contract.read_text().replace("owner:", "onwer:"))
    before = contents(night_copy)
    assert rpe("nightly", "--dry-run") == 2
    assert "WOULD FAIL ingest site_a" in capfd.readouterr().err
    assert rpe("nightly", "--dry-run", "--only", "train") == 0
    assert contents(night_copy) == before


def test_doctor_and_the_plan_of_a_retraction_touch_nothing_either(
    night_copy: Settings, rpe: Callable[..., int]
) -> None:
    before = contents(night_copy)
    assert rpe("doctor", "--deep") == 0
    assert rpe("retract", "site_a", "--dry-run") == 0
    assert contents(night_copy) == before

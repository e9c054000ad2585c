"""A base that the plan calls by another name cuts its targets off from their adapters: told."""

import pytest

from flows.night.nightly import run_night
from flows.workspace.settings import Settings
from tests.flows.conftest import TARGET
from tests.lake_rows import read_rows_of

STEPS = ("embed", "train", "ensemble")


def rename(settings: Settings, former: str, name: str) -> None:
    plan = settings.plan_file.read_text()
    assert f"  {former}: {{" in plan
    plan = plan.replace(f"  {former}: {{", f"  {name}: {{")
    settings.plan_file.write_text(plan.replace(f"base: {former}", f"base: {name}"))


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_renamed_base_is_told_once_with_the_name_that_its_adapters_have(
    night_copy: Settings,
) -> None:
    rename(night_copy, "pico", "encoder")
    night = run_night(night_copy, only=STEPS)
    assert (night.faults, night.outcome, night.exit_code) == ((), "alert", 0)
    (alert,) = night.alerts
    assert (alert.kind, alert.subject, alert.is_raised) == ("renamed_base", TARGET, True)
    assert "under its former name, pico" in alert.message
    assert "call the base pico again in plan.yaml" in alert.remedy
    again = run_night(night_copy, only=STEPS)
    assert again.outcome == "unchanged"
    assert [(a.kind, a.is_raised) for a in again.alerts] == [("renamed_base", False)]
    rename(night_copy, "encoder", "pico")
    mended = run_night(night_copy, only=STEPS)
    assert [a.kind for a in mended.resolved] == ["renamed_base"]
    assert read_rows_of(night_copy, "FROM mart.alerts WHERE is_standing") == []


@pytest.mark.slow
def test_a_renamed_base_under_which_adapters_are_trained_anew_is_no_alert(
    night_copy: Settings,
) -> None:
    rename(night_copy, "pico", "encoder")
    plan = night_copy.plan_file.read_text()
    night_copy.plan_file.write_text(plan.replace("seed: 0", "seed: 1"))
    night = run_night(night_copy, only=STEPS)
    assert (night.faults, night.alerts) == ((), ())
    assert [step["name"] for step in night.steps if step["done"]][-1] == "ensemble"

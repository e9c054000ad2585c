"""A schedule that Prefect would not serve is a fault of the plan, wherever the plan is read."""

from collections.abc import Callable

import pytest

from flows.workspace.cron import cron_fault
from flows.workspace.settings import Settings

BAD = ("", "every night", "0 2 * *", "60 2 * * *", "0 25 * * *", "0 2 * * 8", "H 2 * * *", "@boot")
GOOD = ("0 2 * * *", "*/15 1-5 * * mon-fri", "0 2 29 2 *", "0 0 L * *", "@daily", "5 4 * * sun")
NEVER = ("0 2 31 2 *", "0 2 30 feb *", "0 0 31 4,6,9,11 *")


@pytest.mark.parametrize("cron", BAD)
def test_what_is_no_cron_line(cron: str) -> None:
    fault = cron_fault(cron)
    assert fault is not None
    assert fault[0] == "is no cron line"


@pytest.mark.parametrize("cron", GOOD)
def test_what_prefect_serves_is_sound(cron: str) -> None:
    assert cron_fault(cron) is None


@pytest.mark.parametrize("cron", NEVER)
def test_a_day_that_never_comes(cron: str) -> None:
    fault = cron_fault(cron)
    assert fault is not None
    assert "never comes" in fault[0]


PATHS = ("schedule.cron", "schedule.maintain.cron", "schedule.timezone")
SCHEDULE = '{cron: every night, timezone: Mars/Olympus, maintain: {cron: "0 5 31 2 *"}}'


@pytest.mark.parametrize(
    "arguments", [("nightly",), ("nightly", "--dry-run"), ("doctor",), ("serve",), ("report",)]
)
def test_every_reader_of_the_plan_tells_all_faults_of_its_schedule(
    arguments: tuple[str, ...],
    night_copy: Settings,
    rpe: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    text = night_copy.plan_file.read_text().partition("\nschedule:")[0]
    night_copy.plan_file.write_text(f"{text}\nschedule: {SCHEDULE}\n")
    assert rpe(*arguments) == (1 if arguments == ("doctor",) else 2)
    told = "".join(capfd.readouterr())
    assert [path for path in PATHS if f"{path}: is " not in told] == []

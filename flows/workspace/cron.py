"""Cron lines, held against the parser by which Prefect schedules."""

from __future__ import annotations

from datetime import UTC, datetime

from flows.workspace.settings import Settings  # noqa: F401 - first: it switches Prefect's telemetry off

# isort: split
_EXPECTED = "minute hour day month weekday, as in 0 2 * * *"
_KNOWN = ("0 2 * * *", "0 5 * * 0")  # the defaults: a plan that keeps them is read at once
_ANY_DAY = datetime(2024, 1, 1, tzinfo=UTC)  # a leap year: what never comes does not come from here


def cron_fault(cron: str) -> tuple[str, str] | None:
    """What is wrong with a cron line, and what is expected; None where Prefect will serve it.

    >>> cron_fault("30 1 * * mon-fri")
    >>> cron_fault("0 2 * *")
    ('is no cron line', 'minute hour day month weekday, as in 0 2 * * *')
    >>> cron_fault("0 2 31 2 *")
    ('is a cron line of a day that never comes', 'minute hour day month weekday, as in 0 2 * * *')
    """
    if cron in _KNOWN:
        return None
    # half a second to import, which a plan with the default schedule need not pay
    from prefect._vendor.croniter import CroniterBadDateError, croniter
    from prefect.schedules import Cron

    try:
        Cron(cron)
        croniter(cron, _ANY_DAY).get_next()
    except CroniterBadDateError:
        return "is a cron line of a day that never comes", _EXPECTED
    except (ValueError, KeyError, TypeError, AttributeError):
        return "is no cron line", _EXPECTED
    return None

"""What a run says of itself: outcome, exit code, units, and no word of a foreign error."""

from pathlib import Path

import pytest

from catalog.errors import ContractViolated, StoreUnavailable
from flows.runs.exit_codes import exit_code_of
from flows.runs.ledger import Alert, Ledger, safe_message
from flows.runs.processes import run_child
from rpe_core.errors import DeclarationError, Fault, InputError, RpeError, UnknownName
from tests import busy

CELL = "Jane Quorvexil"
STEP_FAILED = RpeError("The training failed.")
DECLARATION = DeclarationError("plan.yaml", [Fault("gate", "is missing")])
REFUSED = ContractViolated("3 of 9 rows are not usable.", source="site_a")


def test_an_alert_fails_nothing_and_is_no_plain_night() -> None:
    for errors, outcome, exit_code in (((), "alert", 0), ((REFUSED,), "refused", 3),
                                       ((STEP_FAILED,), "failed", 1)):  # fmt: skip
        ledger = ledger_of(*errors, n_done=1)
        ledger.alerts.append(Alert("silent", "site_a", "site_a has been silent", "ask"))
        assert (ledger.outcome, ledger.exit_code) == (outcome, exit_code)


@pytest.mark.parametrize(
    ("kind", "is_raised", "n_done", "outcome", "exit_code"),
    [
        ("silent", True, 0, "alert", 0),
        ("silent", False, 0, "unchanged", 0),
        ("silent", False, 1, "ok", 0),
        ("refused", True, 1, "refused", 3),
        ("refused", False, 0, "refused", 3),
    ],
)
def test_an_alert_that_stands_is_no_news_but_a_refused_file_is_never_fine(
    kind: str, is_raised: bool, n_done: int, outcome: str, exit_code: int
) -> None:
    ledger = ledger_of(n_done=n_done)
    ledger.alerts.append(Alert(kind, "site_a", "what", "do", is_raised=is_raised))
    assert (ledger.outcome, ledger.exit_code, ledger.has_news) == (outcome, exit_code, is_raised)
    ledger.fail(ledger.steps[0], "site_b", STEP_FAILED)
    assert (ledger.outcome, ledger.exit_code) == ("failed", 1)


def ledger_of(*errors: Exception, n_done: int = 0) -> Ledger:
    """A night of one step: so many units done, and one failed for each error."""
    ledger = Ledger()
    with ledger.step("ingest") as step:
        for i in range(n_done):
            with ledger.unit(step, f"done-{i}"):
                pass
        for i, error in enumerate(errors):
            with ledger.unit(step, f"failed-{i}"):
                raise error
    return ledger


@pytest.mark.parametrize(
    ("errors", "n_done", "outcome", "exit_code"),
    [
        ((), 0, "unchanged", 0),
        ((), 2, "ok", 0),
        ((STEP_FAILED,), 0, "failed", 1),
        ((DECLARATION,), 2, "failed", 2),
        # a refused batch fails nothing, and nobody should take it for a night like others
        ((REFUSED,), 0, "refused", 3),
        ((REFUSED,), 2, "refused", 3),
        # of several the one that asks for a person soonest
        ((REFUSED, DECLARATION), 2, "failed", 2),
        ((DECLARATION, STEP_FAILED), 2, "failed", 1),
        ((REFUSED, DECLARATION, STEP_FAILED), 0, "failed", 1),
        ((REFUSED, ValueError(CELL)), 2, "failed", 1),
    ],
)
def test_outcome_and_exit_code(
    errors: tuple[Exception, ...], n_done: int, outcome: str, exit_code: int
) -> None:
    ledger = ledger_of(*errors, n_done=n_done)
    assert (ledger.outcome, ledger.exit_code) == (outcome, exit_code)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (RpeError("no"), 1),
        (StoreUnavailable("no"), 1),
        (RuntimeError("no"), 1),
        (KeyboardInterrupt(), 1),
        (InputError("no"), 2),
        (UnknownName("step", "tran", ["train"]), 2),
        (DECLARATION, 2),
        (REFUSED, 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_code_of_one_error(error: BaseException, exit_code: int) -> None:
    assert exit_code_of(error) == exit_code


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError, OSError, KeyboardInterrupt])
def test_a_foreign_error_is_told_by_its_type_alone(kind: type[BaseException]) -> None:
    message = safe_message(kind(CELL))
    assert CELL not in message
    assert "Quorvexil" not in message
    assert message.startswith(kind.__name__)


def test_our_own_error_is_told_whole_and_its_cause_is_not() -> None:
    error = InputError("The rank is too large.", where="plan.yaml", remedy="choose another")
    error.__cause__ = ValueError(CELL)
    assert safe_message(error) == str(error)
    assert "choose another" in safe_message(error)
    assert CELL not in safe_message(error)


def test_units_are_accounted_for_and_the_others_go_on() -> None:
    ledger = Ledger()
    with ledger.step("train") as step:
        with ledger.unit(step, "a"):
            pass
        with ledger.unit(step, "b"):
            raise ValueError(CELL)
        with ledger.unit(step, "prepared", is_done=False):
            pass
        with ledger.unit(step, "c"):
            pass
        ledger.fail(step, "d", REFUSED)
    assert step.done == ["a", "c"]
    assert step.failed == ["b", "d"]
    assert [(f.step, f.unit, f.kind, f.exit_code) for f in ledger.faults] == [
        ("train", "b", "ValueError", 1),
        ("train", "d", "ContractViolated", 3),
    ]
    assert CELL not in repr(ledger)


def test_a_unit_lets_pass_what_ends_the_process() -> None:
    ledger = Ledger()
    with pytest.raises(KeyboardInterrupt), ledger.step("train") as step, ledger.unit(step, "a"):
        raise KeyboardInterrupt
    assert (step.done, step.failed) == ([], [])
    assert not ledger.has_work


def test_a_step_that_breaks_is_accounted_for_too() -> None:
    ledger = Ledger()
    with pytest.raises(InputError), ledger.step("embed") as step:
        raise InputError(f"no: {sum(i * i for i in range(300_000))}")
    assert ledger.steps == [step]
    assert step.wall_seconds > 0.0
    assert step.cpu_seconds > 0.0
    assert step.peak_memory_bytes > 1 << 20
    assert step.written_bytes >= 0


def test_rows_hold_plain_values_in_the_order_of_the_steps() -> None:
    ledger = Ledger()
    for name in ("ingest", "embed"):
        with ledger.step(name) as step, ledger.unit(step, "a"):
            pass
    assert [(row["name"], row["done"], row["failed"]) for row in ledger.as_rows()] == [
        ("ingest", ["a"], []),
        ("embed", ["a"], []),
    ]


@pytest.mark.parametrize("status", [0, 1])
def test_a_step_accounts_for_the_process_that_it_called(tmp_path: Path, status: int) -> None:
    if status:
        (tmp_path / "fail").touch()
    ledger = Ledger()
    with ledger.step("train") as step:
        assert run_child("tests.busy", tmp_path, log=tmp_path / "log") == status
    assert step.cpu_seconds >= busy.CPU_SECONDS - 0.01
    assert step.peak_memory_bytes >= busy.MEMORY


def test_the_ends_of_two_refused_files_are_told_apart() -> None:
    ends = [
        Alert(
            "refused", "site_a", "what", "do", cause=f"batch:site_a@{n}", since="2026-12-01"
        ).ending
        for n in (1, 2)
    ]
    assert ends[0].startswith("refused of site_a, batch:site_a@1, since 2026-12-01: the file")
    assert len({*ends}) == 2

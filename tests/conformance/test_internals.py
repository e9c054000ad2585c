"""What third parties keep to themselves and we use all the same: it is still what we take it for.

A failure here names the one function of ours that is to be mended for the library's new release.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import numpy as np
import openpyxl
import pytest
import torch
import typer
from openpyxl.worksheet._reader import FORMULA_TAG, ROW_TAG, VALUE_TAG, WorkSheetParser
from prefect._internal.concurrency.services import QueueService
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

from catalog.contracts.regex_parts import RegexPart, parse_pattern
from catalog.stores.registry.purge import mlflow_inside
from catalog.stores.registry.registry import Registry
from flows.cli import USAGE_ERROR
from flows.runs.prefect_drain import drain_or_drop
from flows.workspace.cron import _EXPECTED, cron_fault
from rpe_core.retrieval.compact_rows import packed_product, plain_product

MANY = 1000  # a repeat without an end is more than this


def shape(parts: tuple[RegexPart, ...]) -> list[Any]:
    """Nested lists of how often each part may repeat; 'many' without an end."""
    return [["many" if part.highest > MANY else part.highest, *shape(part.inner)] for part in parts]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("ab", [[1], [1]]),
        ("a*b+?", [["many", [1]], ["many", [1]]]),
        ("(a{2,30})*", [["many", [1, [30, [1]]]]]),
        ("(?:a|b+)?", [[1, [1, [1], ["many", [1]]]]]),
        ("[a-z]{3}", [[3, [1]]]),
    ],
)
def test_re_parses_patterns_as_regex_parts_reads_them(pattern: str, expected: list[Any]) -> None:
    assert shape(parse_pattern(pattern)) == expected, (
        "`re` parses in another way: mend parse_pattern in catalog/contracts/regex_parts.py"
    )


class Stuck(QueueService[int]):
    """A service of Prefect whose server takes the first item and answers late."""

    taken: ClassVar[list[int]] = []
    answers: ClassVar[Event] = Event()

    async def _handle(self, item: int) -> None:
        self.taken.append(item)
        while not self.answers.is_set():
            time.sleep(0.01)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    Stuck.taken.clear()
    Stuck.answers.clear()
    yield Stuck.instance()
    Stuck.answers.set()


def test_prefect_ends_its_threads_by_the_queue_that_we_empty(stuck: Stuck) -> None:
    for item in range(3):
        stuck.send(item)
    until = time.monotonic() + 30
    while not stuck.taken and time.monotonic() < until:
        time.sleep(0.01)
    thread = stuck._queue_get_thread
    drain_or_drop(Stuck, patience_seconds=0.1)
    Stuck.answers.set()
    while stuck._started and not stuck._done_event.is_set() and time.monotonic() < until:
        time.sleep(0.01)
    mend = "Prefect's services are others: mend drain_or_drop in flows/runs/prefect_drain.py"
    assert stuck.taken == [0], mend  # the others were dropped
    assert stuck._done_event.is_set(), mend
    assert thread is not None
    assert Stuck._instances == {}, mend


def test_prefect_sends_logs_and_events_by_such_services() -> None:
    for kind in (APILogWorker, EventsWorker):
        assert issubclass(kind, QueueService)
        assert isinstance(kind._instances, dict)


def test_mlflow_lets_its_own_tables_be_erased(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    registry = Registry.open(
        tracking_uri=uri, artifacts_uri=str(tmp_path / "files"), lock_path=tmp_path / "lock"
    )
    inside = mlflow_inside(registry._client)
    mend = "MLflow's stores are others: mend mlflow_inside in catalog/stores/registry/purge.py"
    assert inside is not None, mend
    for session_of, tables in (
        (inside.of_models, (inside.model_version, inside.model_version_tag)),
        (inside.of_runs, (inside.run, inside.dataset, inside.dataset_input)),
        (inside.of_runs, (inside.dataset_input_tag,)),
    ):
        with session_of() as session:
            assert [session.query(table).count() for table in tables] == [0] * len(tables), mend
    client = registry._client
    run = client.create_run(registry._experiment_id).info.run_id
    inside.delete_run_for_good(run)
    with inside.of_runs() as session:
        assert session.query(inside.run).count() == 0, mend


@pytest.mark.skipif(
    not {"fbgemm", "x86", "onednn"} & set(torch.backends.quantized.supported_engines),
    reason="this machine has no kernel for products of bytes",
)
def test_torch_packs_bytes_as_the_first_pass_expects() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (64, 48), dtype=np.int8)
    digits = rng.integers(-63, 64, (2, 48)).astype(np.float32)
    found = packed_product(codes)(digits)
    assert np.array_equal(found, plain_product(codes)(digits)), (
        "torch quantises in another way: mend packed_product in rpe_core/retrieval/compact_rows.py"
    )


def test_prefect_brings_the_parser_that_cron_lines_are_held_against() -> None:
    from prefect._vendor.croniter import CroniterBadDateError, croniter

    began = datetime(2024, 1, 1, tzinfo=UTC)
    assert croniter("30 1 * * *", began).get_next(datetime) == began.replace(hour=1, minute=30)
    with pytest.raises(CroniterBadDateError):
        croniter("0 2 31 2 *", began).get_next()
    assert cron_fault("0 2 31 2 *") == ("is a cron line of a day that never comes", _EXPECTED)


def test_openpyxl_reads_rows_as_the_workbook_reader_takes_them_up(tmp_path: Path) -> None:
    """Tags of the stream, a parser that a row can be handed to, cells with row and value."""
    book = openpyxl.Workbook()
    book.active.append(["a", 2])
    book.save(tmp_path / "book.xlsx")
    read = openpyxl.load_workbook(tmp_path / "book.xlsx", read_only=True)
    worksheet = read.worksheets[0]
    with worksheet._get_source() as source:
        parser = WorkSheetParser(source, worksheet._shared_strings, data_only=True)
        ((number, cells),) = list(parser.parse())
    assert number == 1
    assert [(cell["column"], cell["value"]) for cell in cells] == [(1, "a"), (2, 2)]
    assert all(tag.startswith("{") for tag in (ROW_TAG, VALUE_TAG, FORMULA_TAG))


def test_typer_raises_misuse_by_a_click_of_its_own() -> None:
    """What `rpe` catches as misuse is what typer raises for a word that it does not know."""
    app = typer.Typer()
    app.command()(lambda: None)
    with pytest.raises(USAGE_ERROR):
        app(["--no-such-option"], standalone_mode=False)

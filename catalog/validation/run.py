"""Great Expectations held against rows: booleans out, and never a value of a cell."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from catalog.validation.suite import Check, build_suite


@dataclass(frozen=True)
class CheckResult:
    """Whether one check held on the rows that it was given."""

    check: Check
    is_passed: bool


class Validator:
    """One ephemeral context of Great Expectations, made when the first rows come."""

    def __init__(self) -> None:
        self._definition: Any = None
        self._suites: list[tuple[Sequence[Check], Any]] = []

    def check(self, table: pa.Table, checks: Sequence[Check]) -> list[CheckResult]:
        """Hold rows against checks, in the order of `checks`.

        Nothing but `success` is read from a result: other formats and the traceback of a failed
        expectation may hold cells. An expectation that could not be evaluated has not passed.
        """
        if not checks:
            return []
        frame = _object_frame(table)
        batch = self._batches().get_batch(batch_parameters={"dataframe": frame})
        outcome = batch.validate(self._suite(checks), result_format="BOOLEAN_ONLY")
        passed = {_place(result.expectation_config): result.success for result in outcome.results}
        return [CheckResult(c, is_passed=bool(passed.get((c.rule, c.column)))) for c in checks]

    def _suite(self, checks: Sequence[Check]) -> Any:
        for known, suite in self._suites:
            if known is checks:
                return suite
        self._suites.append((checks, build_suite("contract", checks)))
        return self._suites[-1][1]

    def _batches(self) -> Any:
        if self._definition is None:
            self._definition = _open_context()
        return self._definition


def _open_context() -> Any:
    import great_expectations as gx  # 3 to 4 s to import: only where a batch is really checked
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    _silence()
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    source = context.data_sources.add_pandas("accepted")
    asset = source.add_dataframe_asset("remainder")
    return asset.add_batch_definition_whole_dataframe("record_batch")


def _silence() -> None:
    """Let nothing that the library logs reach a log: errors of its metrics may quote a cell."""
    logger = logging.getLogger("great_expectations")
    logger.propagate = False
    logger.handlers = [logging.NullHandler()]


def _object_frame(table: pa.Table) -> Any:
    """The rows as plain Python values: integers with nulls stay integers, dates stay dates."""
    import pandas as pd  # only here, beside the library that wants it

    columns = {
        name: pd.Series(table.column(name).to_pylist(), dtype=object) for name in table.column_names
    }
    return pd.DataFrame(columns)


def _place(config: Any) -> tuple[str, str]:
    kwargs: Mapping[str, Any] = config.kwargs
    return config.type, str(kwargs.get("column", ""))

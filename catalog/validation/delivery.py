"""The files of one ingest: each staged by itself, then judged together in the order of landing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from catalog.contracts.contract import Segmentation, SourceContract, SplitGlobs
from catalog.errors import ContractViolated
from catalog.validation.clashes import ClashFile
from catalog.validation.expectations import file_check
from catalog.validation.keys import DISAGREE, KeyFindings, KeyIndex
from catalog.validation.outcome import NO_PLACE, Delivery, Outcome
from catalog.validation.run import Validator
from catalog.validation.staging import StagedFile
from catalog.validation.variety import Variety

ONE_CLASS, ONE_INPUT = "one_class_only", "identical_inputs"  # rows that teach nothing
ENOUGH_ROWS = 20  # fewer are judged with what stands: that they are all alike may be chance


class ReadBatch(Protocol):
    """What a reader hands over; the readers live beside this package and not below it."""

    @property
    def table(self) -> Any:
        """A record batch, typed by the contract."""

    @property
    def numbers(self) -> Sequence[int]:
        """The number of each of its rows in the file."""

    @property
    def bad_cells(self) -> Sequence[tuple[int, str, str]]:
        """(row index, column, code) of the cells that could not be typed."""

    @property
    def unknown_columns(self) -> tuple[str, ...]:
        """Columns that the contract does not name."""

    @property
    def missing_columns(self) -> tuple[str, ...]:
        """Columns of the contract that are in no row of this batch."""


def stage(
    contract: SourceContract,
    delivery: Delivery,
    batches: Iterable[ReadBatch],
    *,
    folder: Path,
    validator: Validator,
    index: KeyIndex,
) -> Outcome:
    """Judge one file by itself; its rows lie in scratch files under `folder` afterwards."""
    outcome = Outcome(delivery, contract)
    unknown: set[str] = set()
    missing: set[str] | None = None
    with StagedFile(
        contract,
        folder=folder,
        batch_id=delivery.batch_id,
        file_split=delivery.split,
        validator=validator,
    ) as staged:
        outcome.tally = staged.tally
        try:
            for batch in batches:
                unknown |= set(batch.unknown_columns)
                lacking = set(batch.missing_columns)
                missing = lacking if missing is None else missing & lacking
                unread = ((row, code, column) for row, column, code in batch.bad_cells)
                table = pa.Table.from_batches([batch.table])
                staged.add(table, numbers=batch.numbers, unread=unread)
        except ContractViolated as error:
            outcome.reasons.append(f"{': '.join([*error.reasons[:1], error.what])}")
    outcome.accepted, outcome.quarantined = staged.accepted, staged.quarantined
    if isinstance(contract.splits, SplitGlobs) and delivery.split is None:
        outcome.reasons.append("no_split: no glob of `splits` matches the file's name")
    if not delivery.has_place:
        outcome.reasons.append(f"{NO_PLACE}: the pattern of files.order does not fit its name")
    outcome.unknown_columns = tuple(sorted(unknown))
    outcome.judge_columns(n_unknown=len(unknown), missing=sorted(missing or ()))
    _check_file(outcome, index=index, validator=validator)
    outcome.judge_rows()
    return outcome


def judge(outcomes: Sequence[Outcome], index: KeyIndex) -> bool:
    """Hold the files against each other and what stands; whether any row shall land.

    Files come in the order of landing: a later one may replace rows of an earlier one, and where
    the groups of two clash the earlier one stands. Of files that say a key otherwise, and of which
    none is the later, none stands.
    """
    delivered = Variety()
    is_part = any(o.tally.n_rows and not o.is_refused for o in outcomes)
    _judge_clashes(outcomes, index)
    for outcome in outcomes:
        outcome.judge_emptiness(is_part=is_part)
        if outcome.is_refused or outcome.accepted is None:
            continue
        outcome.judge_keys(index.judge(outcome.accepted, outcome.delivery))
        variety = index.variety()
        if variety.n_rows >= ENOUGH_ROWS and variety.is_one_input:
            outcome.reasons.append(f"{ONE_INPUT}: all {variety.n_rows} rows are alike")
        if outcome.is_refused:
            _set_marked_aside(outcome, outcome.accepted, index)
            continue
        index.apply(outcome.accepted, outcome.delivery.batch_id)
        delivered += variety
    landing = [o for o in outcomes if not o.is_refused and o.accepted is not None]
    has_classes = not any(isinstance(o.contract.task, Segmentation) for o in landing)
    reasons = []
    if delivered.n_rows:
        reasons = _sameness(delivered, index.standing_variety(), has_classes=has_classes)
    for outcome in landing:
        outcome.reasons.extend(reasons)
    return not reasons and any(o.report.n_accepted for o in landing)


def _judge_clashes(outcomes: Sequence[Outcome], index: KeyIndex) -> None:
    """Refuse files that disagree and are in no order: the new ones; where places decide, any."""
    files = [
        ClashFile(number, outcome.accepted, _rank(outcome))
        for number, outcome in enumerate(outcomes)
        if outcome.accepted is not None and not outcome.is_refused and _is_unordered(outcome)
    ]
    for number, others in index.clashes(files).items():
        outcome = outcomes[number]
        rows = sorted({row for clashing in others.values() for row in clashing})
        names = tuple(outcomes[other].delivery.name for other in sorted(others))
        findings = KeyFindings(others=names)
        findings.mark(DISAGREE, rows)
        outcome.judge_keys(findings)
        if outcome.accepted is not None:
            _set_marked_aside(outcome, outcome.accepted, index)


def _is_unordered(outcome: Outcome) -> bool:
    return outcome.contract.files.order is not None or not outcome.delivery.is_known


def _rank(outcome: Outcome) -> int:
    return 0 if outcome.contract.files.order is None else outcome.delivery.rank


def _check_file(outcome: Outcome, *, index: KeyIndex, validator: Validator) -> None:
    """Hold the measured numbers of a whole file against the contract's own expectations."""
    named = outcome.contract.expectations
    if not named or outcome.accepted is None:
        return
    profile = index.profile(outcome.accepted, named)
    results = validator.check(profile, [file_check(expectation) for expectation in named])
    for expectation, result in zip(named, results, strict=True):
        outcome.tally.checks[expectation.name, expectation.column] = result.is_passed


def _set_marked_aside(outcome: Outcome, accepted: Path, index: KeyIndex) -> None:
    findings = outcome.keys or KeyFindings()
    out = accepted.with_name("marked.parquet")
    outcome.n_marked = index.write_marked(
        accepted, out, findings, batch_id=outcome.delivery.batch_id
    )
    outcome.marked = out if outcome.n_marked else None


def _sameness(delivered: Variety, standing: Variety, *, has_classes: bool) -> list[str]:
    """Why rows that do not differ are refused; masks may be alike, as empty ones are."""
    labels = delivered if delivered.n_labelled >= ENOUGH_ROWS else standing
    inputs = delivered if delivered.n_rows >= ENOUGH_ROWS else standing
    reasons = []
    if has_classes and labels.is_one_class:
        reasons.append(f"{ONE_CLASS}: all {labels.n_labelled} labelled rows have one label")
    if inputs.is_one_input:
        reasons.append(f"{ONE_INPUT}: all {inputs.n_rows} rows are alike")
    return reasons

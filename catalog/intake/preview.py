"""Foretelling: what `ingest` will do with each file of a source; nothing is written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.contracts.contract import SourceContract
from catalog.errors import ContractInvalid, Fault
from catalog.intake.deliveries import File, Lying, lying_files
from catalog.intake.staged_files import (
    hold_against_standing,
    require_fitting,
    scratch_folder,
    shown_names,
    stage_files,
)
from catalog.readers.files import FileUnreadable, file_name
from catalog.readers.formats import delivery_sha256, list_deliveries
from catalog.readers.ordering import moment_of
from catalog.readers.reasons import reason_text, unknown_column_faults
from catalog.stores.disk import disk_errors
from catalog.stores.lake.errors import lake_errors
from catalog.stores.rows import Rows
from catalog.validation.keys import KeyIndex
from catalog.validation.outcome import BatchReport, Outcome, remedies
from catalog.validation.row_rules import SHOWN_ROWS
from rpe_core.errors import InputError

Row = dict[str, Any]

_NO_FILE = "files.path"  # where a fault is of the contract's path, and of no file
COUNTS = (
    *("n_rows", "n_accepted", "n_superseding", "n_unchanged", "n_outdated", "n_quarantined"),
    "n_phi",
)


@dataclass(frozen=True)
class Forecast:
    """What an ingest of a source would do now: counts, names and row numbers, never a value."""

    files: tuple[Row, ...]  # file, verdict, counts, reason: one for each that lies there
    set_aside: tuple[Row, ...]  # file, rule, n_rows, first_rows, meaning
    faults: tuple[Fault, ...]  # why ingest would refuse something


def foretell(lake: Rows, contract: SourceContract, *, scratch: Path | None = None) -> Forecast:
    """Judge the pending files of a source just as `ingest` does, and tell what becomes of each.

    All rows of the pending files are read; they are staged under `scratch` (default: the system's
    temporary folder), which is cleared in any case.
    """
    try:
        require_fitting(lake, contract)
    except ContractInvalid as error:
        return Forecast((), (), error.faults)
    lying = lying_files(lake, [contract])[contract.source]
    pending = [(file.uri, file.sha256) for file in lying if file.is_pending and file.sha256]
    outcomes = _judged(lake, contract, pending, scratch=scratch) if pending else []
    reports = {o.delivery.file_uri: o.report for o in outcomes}
    read = [file for file in lying if file.sha256]
    names = shown_names(contract, [file.uri for file in read])
    rows = [_row(file, name, reports.get(file.uri)) for file, name in zip(read, names, strict=True)]
    faults = [fault for outcome in outcomes for fault in _faults(contract, outcome)]
    unreadable = list(_unreadable(contract, lying))
    rows += [
        {"file": fault.path, "verdict": "unreadable", "reason": fault.what}
        for fault in unreadable
        if fault.path != _NO_FILE
    ]
    aside = tuple(row for outcome in outcomes for row in _set_aside(outcome))
    return Forecast(tuple(rows), aside, (*faults, *unreadable))


def _judged(
    lake: Rows, contract: SourceContract, files: Sequence[File], *, scratch: Path | None
) -> list[Outcome]:
    parent = scratch or Path(tempfile.gettempdir())
    with (
        disk_errors("the scratch folder", parent),
        scratch_folder(parent) as folder,
        lake_errors("judge the delivered keys"),
        closing(KeyIndex(contract, folder)) as index,
    ):
        outcomes = stage_files(lake, contract, files, folder=folder, index=index)
        if not all(outcome.delivery.is_withdrawn for outcome in outcomes):
            hold_against_standing(lake, contract, outcomes, folder=folder, index=index)
    return outcomes


def _row(file: Lying, name: str, report: BatchReport | None) -> Row:
    if report is not None:
        verdict = "refuse" if report.is_refused else "land" if report.n_accepted else "nothing new"
        counts = {name: getattr(report, name) for name in COUNTS}
        reason = "; ".join(report.reasons)
        return {"file": name, "verdict": verdict, **counts, "reason": reason}
    last = file.before[-1] if file.before else {}
    is_refused = all(row["outcome"] == "refused" for row in file.before)
    verdict = "refused before" if is_refused else "landed before"
    reason = (last.get("reason") or "") if is_refused else ""
    return {"file": name, "verdict": verdict, "reason": reason}


def _set_aside(outcome: Outcome) -> Iterator[Row]:
    """Rows that ingest would quarantine: those that break a rule, then those with a wrong key."""
    tally, failing = outcome.tally, outcome.keys.failing if outcome.keys else {}
    marked = {(code, ""): (len(rows), rows[:SHOWN_ROWS]) for code, rows in failing.items() if rows}
    cells = {check: (n, tally.examples[check]) for check, n in sorted(tally.failed.items())}
    for (rule, column), (n_rows, first_rows) in (*cells.items(), *marked.items()):
        shown = f"{rule}({column})" if column else rule
        yield {
            "file": outcome.report.file_name,
            "rule": shown,
            "n_rows": n_rows,
            "first_rows": first_rows,
            "meaning": reason_text(shown),
        }


def _faults(contract: SourceContract, outcome: Outcome) -> Iterator[Fault]:
    """Why ingest would refuse a file: each reason, with what the codes in it mean."""
    report = outcome.report
    if not report.is_refused:
        return
    meanings = dict.fromkeys(row["meaning"] for row in _set_aside(outcome) if row["meaning"])
    expected = "; ".join(remedies(contract.source, report.reasons)[1:])
    for reason in report.reasons:
        if reason.startswith("unknown_column"):
            yield from unknown_column_faults(report.file_name, outcome.unknown_columns)
        else:
            yield Fault(report.file_name, reason, expected)
    for meaning in meanings:
        yield Fault(report.file_name, meaning)


def _unreadable(contract: SourceContract, lying: Sequence[Lying]) -> Iterator[Fault]:
    """What ingest would say of files that cannot be read, or where none ever was."""
    if all(file.sha256 for file in lying):
        return
    try:
        uris = list_deliveries(contract.files)
    except InputError as error:
        yield Fault(_NO_FILE, error.what, error.remedy)
        return
    for uri in uris:
        try:
            delivery_sha256(contract.files, uri)
            moment_of(contract.files, uri)
        except (FileUnreadable, InputError) as error:
            yield Fault(file_name(uri), error.what, error.remedy)

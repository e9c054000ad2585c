"""Landing: delivered files become rows of the lake, or of quarantine, in one commit."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from catalog.contracts.contract import SPLITS, SourceContract
from catalog.errors import RecordNotFound
from catalog.intake.deliveries import File, content_of, pending_files
from catalog.intake.staged_files import (
    clear_scratch,
    hold_against_standing,
    require_fitting,
    scratch_folder,
    stage_files,
)
from catalog.lineage import source_of
from catalog.queries import current
from catalog.queries.withdrawn import withdrawn_sources
from catalog.readers.formats import delivery_sha256, list_deliveries
from catalog.readers.ordering import moment_of
from catalog.stores.disk import disk_errors
from catalog.stores.lake import source_tables
from catalog.stores.lake.errors import lake_errors
from catalog.stores.lake.lake import Lake, Transaction
from catalog.tables.quoting import quote_identifier
from catalog.tables.schema import RAW_COLUMNS
from catalog.validation.keys import KeyIndex
from catalog.validation.outcome import BatchReport, Outcome, raise_refused
from rpe_core.errors import UnknownName
from rpe_core.fingerprint import fingerprint_stream
from rpe_core.records import RunRef

__all__ = ["BatchReport", "IngestReport", "clear_scratch", "ingest", "read_rows"]


@dataclass(frozen=True)
class IngestReport:
    """What one ingest of a source did, in counts."""

    source: str
    batches: tuple[BatchReport, ...]
    dataset_version_id: str | None  # the version that stands now


def ingest(
    lake: Lake, contract: SourceContract, *, run: RunRef, scratch: Path | None = None
) -> IngestReport:
    """Land every pending file of a source in one transaction; landing twice equals landing once.

    Nothing pending and the contract in force: no commit. Rows are staged in a folder under
    `scratch` (default: the system's temporary folder), which is removed in any case.

    Raises:
        ContractInvalid: the contract's shape changed under existing data, or an expectation is
            not known; nothing was read.
        PhiFound, ContractViolated: files were refused; that is on record, and the others landed.
        InputError: no file was ever there.
        StoreError: the disk is full or the lake failed; nothing landed.
    """
    require_fitting(lake, contract)
    pending = pending_files(lake, [contract])[contract.source]
    files = [(uri, sha256) for uri, sha256 in pending if sha256]
    reports: tuple[BatchReport, ...] = ()
    if files or (not pending and _is_new(lake, contract)):
        parent = scratch or Path(tempfile.gettempdir())
        with disk_errors("the scratch folder", parent), scratch_folder(parent) as folder:
            reports = _land(lake, contract, files, run=run, folder=folder)
    if len(files) < len(pending):
        # One that could not be hashed, or has no moment: reading it again tells why.
        for uri in list_deliveries(contract.files):
            delivery_sha256(contract.files, uri)
            moment_of(contract.files, uri)
    raise_refused(contract.source, reports)
    version = source_tables.standing_version(lake, contract.source)
    return IngestReport(contract.source, reports, version)


def read_rows(
    lake: Lake,
    dataset_version_id: str,
    *,
    columns: Sequence[str],
    split: str | None = None,
    batches: Sequence[str] = (),
) -> pa.Table:
    """Rows of a dataset version: `_item_sha256`, `_group_sha256`, `_split` and `columns`, by item.

    A version keeps its rows for ever: later batches that replaced some do not count. `batches` are
    those that it is made of, if the caller has read them.

    Raises:
        RecordNotFound: no such version.
        UnknownName: no such column or split.
    """
    batches = batches or current.batches(lake, [dataset_version_id]).get(dataset_version_id, ())
    if not batches:
        raise RecordNotFound("The lake has no such dataset version.", where=dataset_version_id)
    if split is not None and split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    table = source_tables.raw_name(source_of(dataset_version_id))
    known = lake.table(f"SELECT * FROM {table} LIMIT 0").column_names
    for name in columns:
        if name not in known:
            system = {column.name for column in RAW_COLUMNS}
            raise UnknownName("column", name, set(known) - system, where=dataset_version_id)
    names = ["_item_sha256", "_group_sha256", "_split", *map(quote_identifier, columns)]
    return lake.table(
        f"SELECT {', '.join(names)} FROM {table} WHERE list_contains(?, _batch_id)"
        " AND (_superseded_by IS NULL OR NOT list_contains(?, _superseded_by))"
        " AND (? IS NULL OR _split = ?) ORDER BY _item_sha256",
        [list(batches), list(batches), split, split],
    )


def _is_new(lake: Lake, contract: SourceContract) -> bool:
    """Whether a contract is to be put in force without a file; none of a withdrawn source is."""
    if source_tables.is_in_force(lake, contract):
        return False
    return contract.source not in withdrawn_sources(lake)


def _land(
    lake: Lake,
    contract: SourceContract,
    files: Sequence[File],
    *,
    run: RunRef,
    folder: Path,
) -> tuple[BatchReport, ...]:
    """Stage outside the writer lock; then judge keys and write inside one transaction."""
    message = f"ingest {contract.source}"
    with lake_errors("judge the delivered keys"), closing(KeyIndex(contract, folder)) as index:
        outcomes = stage_files(lake, contract, files, folder=folder, index=index)
        with lake.transaction(message=message, run=run) as tx:
            held = {row["batch_id"] for row in tx.rows("SELECT batch_id FROM core.batches")}
            outcomes = [o for o in outcomes if o.delivery.batch_id not in held]
            if all(outcome.delivery.is_withdrawn for outcome in outcomes) and outcomes:
                _write_batches(tx, contract, outcomes)
                return tuple(outcome.report for outcome in outcomes)
            source_tables.put_in_force(tx, contract)
            is_changed = hold_against_standing(tx, contract, outcomes, folder=folder, index=index)
            _write_batches(tx, contract, outcomes)
            _write_said(tx, contract, outcomes, index, folder=folder)
            if is_changed:
                _write_rows(tx, contract, index, folder=folder)
    return tuple(outcome.report for outcome in outcomes)


def _write_batches(tx: Transaction, contract: SourceContract, outcomes: Sequence[Outcome]) -> None:
    delivered = {content_of(contract, outcome.batch_row) for outcome in outcomes}
    refused = tx.rows(
        "SELECT batch_id, file_sha256, file_uri FROM core.batches WHERE source = ?"
        " AND contract_sha256 = ? AND outcome = 'refused'"
        " AND superseded_at IS NULL AND retracted_at IS NULL",
        [contract.source, contract.sha256],
    )
    tx.execute(
        "UPDATE core.batches SET superseded_at = ? WHERE list_contains(?, batch_id)",
        [
            tx.recorded_at,
            [row["batch_id"] for row in refused if content_of(contract, row) in delivered],
        ],
    )
    tx.insert_new("batches", [outcome.batch_row for outcome in outcomes])
    tx.insert_new("validations", [row for o in outcomes for row in o.validation_rows])
    for outcome in outcomes:
        for path in (outcome.quarantined, outcome.marked):
            if path is not None:
                tx.insert_arrow(f"quarantine.{contract.source}", path)


def _write_said(
    tx: Transaction,
    contract: SourceContract,
    outcomes: Sequence[Outcome],
    index: KeyIndex,
    *,
    folder: Path,
) -> None:
    """Note which file was the last to say each row: a file before it comes too late."""
    said = folder / "said.parquet"
    landed = [o.delivery.batch_id for o in outcomes if not o.is_refused]
    if index.write_said(landed, said) or index.n_superseded():
        source_tables.confirm(tx, contract.source, said)


def _write_rows(
    tx: Transaction, contract: SourceContract, index: KeyIndex, *, folder: Path
) -> None:
    landing, superseded = folder / "landing.parquet", folder / "superseded.parquet"
    index.write_landing(landing, at=tx.recorded_at)
    tx.insert_arrow(f"raw.{contract.source}", landing)
    if index.n_superseded():
        index.write_superseded(superseded)
        source_tables.supersede(tx, contract.source, superseded)
    content = itertools.chain([contract.shape_sha256], index.content())
    sha256 = fingerprint_stream(content)
    source_tables.put_version(tx, contract, sha256=sha256, counts=index.counts())

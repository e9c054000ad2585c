"""Landing: delivered files become rows of the lake, or of quarantine, in one commit."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from catalog import current
from catalog.contracts.contract import SPLITS, SourceContract, SplitColumn
from catalog.deliveries import pending_files, withdrawn_bytes, withdrawn_sources
from catalog.errors import ContractInvalid, RecordNotFound, StoreUnavailable
from catalog.lineage import source_of
from catalog.readers.formats import (
    delivery_mark,
    delivery_sha256,
    list_deliveries,
    open_delivery,
)
from catalog.stores import source_tables
from catalog.stores.disk import disk_errors
from catalog.stores.lake import Lake, Transaction
from catalog.stores.lake_errors import lake_errors
from catalog.tables.migrate import quoted
from catalog.tables.schema import RAW_COLUMNS
from catalog.validation import splits
from catalog.validation.delivery import judge, stage
from catalog.validation.expectations import expectation_faults
from catalog.validation.keys import KeyIndex
from catalog.validation.outcome import (
    BatchReport,
    Delivery,
    Outcome,
    raise_refused,
    refused_again,
)
from catalog.validation.run import Validator
from catalog.validation.shape import shape_faults
from rpe_core.errors import UnknownName
from rpe_core.fingerprint import fingerprint, fingerprint_stream, make_id
from rpe_core.records import RunRef

__all__ = ["BatchReport", "IngestReport", "ingest", "read_rows"]

_SCRATCH = "rpe-ingest-"  # followed by the process id


@dataclass(frozen=True)
class IngestReport:
    """What one ingest of a source did, in counts."""

    source: str
    batches: tuple[BatchReport, ...]
    dataset_version_id: str | None  # the version that stands now

    @property
    def refused(self) -> tuple[BatchReport, ...]:
        """Batches of which nothing landed."""
        return tuple(batch for batch in self.batches if batch.is_refused)


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
    _check_contract(lake, contract)
    pending = pending_files(lake, [contract])[contract.source]
    files = [(uri, sha256) for uri, sha256 in pending if sha256]
    reports: tuple[BatchReport, ...] = ()
    if files or (not pending and _is_new(lake, contract)):
        place = scratch or Path(tempfile.gettempdir())
        with disk_errors("the scratch folder", place), _scratch_folder(place) as folder:
            reports = _land(lake, contract, files, run=run, folder=folder)
    if len(files) < len(pending):
        # One that could not be hashed: reading it again tells why.
        for uri in list_deliveries(contract.files):
            delivery_sha256(contract.files, uri)
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
    names = ["_item_sha256", "_group_sha256", "_split", *map(quoted, columns)]
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


def clear_scratch(place: Path | None = None) -> None:
    """Remove the staged rows of ingests that were killed, from the system's folder or another."""
    for left in (place or Path(tempfile.gettempdir())).glob(f"{_SCRATCH}*-*"):
        pid = left.name.removeprefix(_SCRATCH).split("-")[0]
        if pid.isdigit() and not _is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _scratch_folder(place: Path) -> Iterator[Path]:
    """A folder for rows on their way; those of processes that were killed are removed first."""
    clear_scratch(place)
    with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-", dir=place) as folder:
        yield Path(folder)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _land(
    lake: Lake,
    contract: SourceContract,
    files: Sequence[tuple[str, str]],
    *,
    run: RunRef,
    folder: Path,
) -> tuple[BatchReport, ...]:
    """Stage outside the writer lock; then judge keys and write inside one transaction."""
    validator = Validator()
    message = f"ingest {contract.source}"
    with lake_errors("judge the delivered keys"), closing(KeyIndex(contract, folder)) as index:
        outcomes = [
            refused_again(contract, delivery)
            if delivery.is_withdrawn
            else _staged(contract, delivery, folder / str(number), validator=validator, index=index)
            for number, delivery in enumerate(_deliveries(lake, contract, files))
        ]
        with lake.transaction(message=message, run=run) as tx:
            held = {row["batch_id"] for row in tx.rows("SELECT batch_id FROM core.batches")}
            outcomes = [o for o in outcomes if o.delivery.batch_id not in held]
            if all(outcome.delivery.is_withdrawn for outcome in outcomes) and outcomes:
                _write_batches(tx, contract, outcomes)
                return tuple(outcome.report for outcome in outcomes)
            source_tables.put_in_force(tx, contract)
            standing = folder / "standing.parquet"
            source_tables.export_standing(tx, contract, standing)
            index.load_standing(standing)
            index.carve_below(_carved_below(tx, contract, outcomes))
            is_changed = judge(outcomes, index)
            _write_batches(tx, contract, outcomes)
            if is_changed:
                _write_rows(tx, contract, index, folder=folder)
    return tuple(outcome.report for outcome in outcomes)


def _staged(
    contract: SourceContract,
    delivery: Delivery,
    folder: Path,
    *,
    validator: Validator,
    index: KeyIndex,
) -> Outcome:
    uri = delivery.file_uri
    batches = open_delivery(contract, uri)
    outcome = stage(contract, delivery, batches, folder=folder, validator=validator, index=index)
    if delivery_sha256(contract.files, uri) != delivery.file_sha256:
        raise StoreUnavailable(
            "A delivered file changed while it was read.",
            where=outcome.report.file_name,
            remedy="try again when the delivery is complete",
        )
    return outcome


def _deliveries(
    lake: Lake, contract: SourceContract, files: Sequence[tuple[str, str]]
) -> Iterator[Delivery]:
    accepted = {
        (row["file_sha256"], delivery_mark(contract, row["file_uri"] or ""))
        for row in lake.rows(
            "SELECT file_sha256, file_uri FROM core.batches"
            " WHERE source = ? AND outcome = 'accepted'",
            [contract.source],
        )
    }
    is_gone, gone = contract.source in withdrawn_sources(lake), withdrawn_bytes(lake)
    for uri, sha256 in files:
        mark = delivery_mark(contract, uri)
        content = fingerprint([contract.source, sha256, contract.sha256, *([mark] if mark else [])])
        yield Delivery(
            batch_id=make_id("batch", contract.source, content),
            file_uri=uri,
            file_sha256=sha256,
            split=splits.split_of_file(contract, uri),
            is_known=(sha256, mark) in accepted,
            is_withdrawn=is_gone or sha256 in gone,
        )


def _carved_below(
    tx: Transaction, contract: SourceContract, outcomes: Sequence[Outcome]
) -> str | None:
    """Below which hash train is validation; once carved, always carved: groups may not move."""
    share = splits.carved_share(contract)
    if isinstance(contract.splits, SplitColumn):
        column = contract.splits.column
        is_said, is_carved = source_tables.says_validation(tx, contract.source, column)
        is_said = is_said or any(outcome.tally.says_validation for outcome in outcomes)
        share = share if is_carved or not is_said else 0.0
    return splits.hash_below(share) if share > 0.0 else None


def _write_batches(tx: Transaction, contract: SourceContract, outcomes: Sequence[Outcome]) -> None:
    tx.insert_new("batches", [outcome.batch_row for outcome in outcomes])
    tx.insert_new("validations", [row for o in outcomes for row in o.validation_rows])
    for outcome in outcomes:
        for path in (outcome.quarantined, outcome.marked):
            if path is not None:
                tx.insert_arrow(f"quarantine.{contract.source}", path)


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


def _check_contract(lake: Lake, contract: SourceContract) -> None:
    faults = expectation_faults(contract)
    recorded = source_tables.contract_with_rows(lake, contract.source)
    if recorded is not None and recorded["shape_sha256"] != contract.shape_sha256:
        faults += shape_faults(recorded["contract_json"], contract)
    if faults:
        raise ContractInvalid(f"contract of source {contract.source}", faults)

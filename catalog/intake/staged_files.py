"""Judging: files are staged and held against what stands; nothing is written but scratch files.

What `ingest` commits and what `source check` foretells is told here, once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from catalog.contracts.contract import SourceContract, SplitColumn
from catalog.errors import ContractInvalid, StoreUnavailable
from catalog.intake.deliveries import Content, File, content_of, place_of_batch
from catalog.queries.withdrawn import withdrawn_bytes, withdrawn_sources
from catalog.readers.files import file_name
from catalog.readers.formats import delivery_mark, delivery_sha256, open_delivery
from catalog.readers.ordering import DeliveryPlace, moment_of, path_below, place_of
from catalog.stores.lake import source_tables
from catalog.stores.rows import Rows
from catalog.validation import splits
from catalog.validation.delivery import judge, stage
from catalog.validation.expectations import expectation_faults
from catalog.validation.keys import KeyIndex
from catalog.validation.outcome import Delivery, Outcome, refused_again
from catalog.validation.run import Validator
from catalog.validation.shape import shape_faults
from rpe_core.fingerprint import fingerprint, make_id

_SCRATCH = "rpe-ingest-"  # followed by the process id
_NO_PLACE = -1  # rank of what the order does not fit: whatever has a place is later


def require_fitting(lake: Rows, contract: SourceContract) -> None:
    """Raise ContractInvalid where a contract cannot be put in force on what stands."""
    faults = expectation_faults(contract)
    recorded = source_tables.contract_with_rows(lake, contract.source)
    if recorded is not None and recorded["shape_sha256"] != contract.shape_sha256:
        faults += shape_faults(recorded["contract_json"], contract)
    if faults:
        raise ContractInvalid(f"contract of source {contract.source}", faults)


def clear_scratch(folder: Path | None = None) -> None:
    """Remove the staged rows of ingests that were killed, from the system's folder or another."""
    for left in (folder or Path(tempfile.gettempdir())).glob(f"{_SCRATCH}*-*"):
        pid = left.name.removeprefix(_SCRATCH).split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder for rows on their way; those of processes that were killed are removed first."""
    clear_scratch(parent)
    with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-", dir=parent) as folder:
        yield Path(folder)


def stage_files(
    lake: Rows,
    contract: SourceContract,
    files: Sequence[File],
    *,
    folder: Path,
    index: KeyIndex,
) -> list[Outcome]:
    """Each file judged by itself, in the order given; bytes that were withdrawn stay unread."""
    validator = Validator()
    return [
        refused_again(contract, delivery)
        if delivery.is_withdrawn
        else _staged(contract, delivery, folder / str(number), validator=validator, index=index)
        for number, delivery in enumerate(_deliveries(lake, contract, files, index=index))
    ]


def hold_against_standing(
    lake: Rows,
    contract: SourceContract,
    outcomes: Sequence[Outcome],
    *,
    folder: Path,
    index: KeyIndex,
) -> bool:
    """Judge the keys of staged files against each other and what stands; whether any row lands."""
    if source_tables.contract_with_rows(lake, contract.source) is not None:
        standing = folder / "standing.parquet"
        source_tables.export_standing(lake, contract, standing)
        index.load_standing(standing)
    index.carve_below(_carved_below(lake, contract, outcomes))
    return judge(outcomes, index)


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
    lake: Rows, contract: SourceContract, files: Sequence[File], *, index: KeyIndex
) -> list[Delivery]:
    """The files with their ids and ranks; the index learns the ranks of those that came before."""
    batches = lake.rows(
        "SELECT * FROM core.batches WHERE source = ? AND retracted_at IS NULL", [contract.source]
    )
    accepted = {content_of(contract, row) for row in batches if row["outcome"] == "accepted"}
    is_gone, gone = contract.source in withdrawn_sources(lake), withdrawn_bytes(lake)
    moments = [moment_of(contract.files, uri) for uri, _ in files]
    places = [
        place_of(contract.files, uri, modified=moment)
        for (uri, _), moment in zip(files, moments, strict=True)
    ]
    lying = {sha256: moment for (_, sha256), moment in zip(files, moments, strict=True)}
    placed = batches if contract.keeps_places else []
    former = [place_of_batch(contract, row, moments=lying) for row in placed]
    ranks = _ranks([*places, *former])
    names = shown_names(contract, [uri for uri, _ in files])
    deliveries = [
        Delivery(
            batch_id=_batch_id(contract, (sha256, delivery_mark(contract, uri)), batches),
            file_uri=uri,
            file_sha256=sha256,
            split=splits.split_of_file(contract, uri),
            is_known=(sha256, delivery_mark(contract, uri)) in accepted,
            is_withdrawn=is_gone or sha256 in gone,
            rank=ranks.get(position, _NO_PLACE),
            has_place=position is not None,
            modified=moment,
            shown_name=name,
        )
        for (uri, sha256), position, moment, name in zip(files, places, moments, names, strict=True)
    ]
    said = [(delivery.batch_id, delivery.rank, delivery.file_uri) for delivery in deliveries]
    for row, position in zip(placed, former, strict=True):
        said.append((row["batch_id"], ranks.get(position, _NO_PLACE), row["file_uri"]))
    index.load_places(_places_table(said))
    return deliveries


def _batch_id(contract: SourceContract, content: Content, batches: Sequence[dict[str, Any]]) -> str:
    """The id of a file under a contract, and of how often it was held against it before."""
    sha256, mark = content
    made_of: list[Any] = [contract.source, sha256, contract.sha256, *([mark] if mark else [])]
    n_before = sum(
        content_of(contract, row) == content and row["contract_sha256"] == contract.sha256
        for row in batches
    )
    return make_id("batch", contract.source, fingerprint(made_of + [n_before] * (n_before > 0)))


def _ranks(places: Sequence[DeliveryPlace | None]) -> dict[DeliveryPlace | None, int]:
    ordered = sorted({position for position in places if position is not None})
    return {position: rank for rank, position in enumerate(ordered)}


def _places_table(rows: Sequence[tuple[str, int, str]]) -> pa.Table:
    return pa.table(
        {
            "batch": pa.array([batch for batch, _, _ in rows], pa.string()),
            "rank": pa.array([rank for _, rank, _ in rows], pa.int64()),
            "uri": pa.array([uri for _, _, uri in rows], pa.string()),
            "name": pa.array([file_name(uri) for _, _, uri in rows], pa.string()),
        }
    )


def shown_names(contract: SourceContract, uris: Sequence[str]) -> list[str]:
    """What messages call files: the last part of the path, with its folders where two agree."""
    names = [file_name(uri) for uri in uris]
    common = {name for name, count in Counter(names).items() if count > 1}
    return [
        path_below(contract.files, uri) if name in common else name
        for name, uri in zip(names, uris, strict=True)
    ]


def _carved_below(lake: Rows, contract: SourceContract, outcomes: Sequence[Outcome]) -> str | None:
    """Below which hash train is validation; once carved, always carved: groups may not move."""
    share = splits.carved_share(contract)
    if isinstance(contract.splits, SplitColumn):
        column, is_said, is_carved = contract.splits.column, False, False
        if source_tables.contract_with_rows(lake, contract.source) is not None:
            is_said, is_carved = source_tables.says_validation(lake, contract.source, column)
        is_said = is_said or any(outcome.tally.says_validation for outcome in outcomes)
        share = share if is_carved or not is_said else 0.0
    return splits.hash_below(share) if share > 0.0 else None

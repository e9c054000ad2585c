"""What ingest asks of the lake: a source's tables, contract in force and dataset versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.contracts.contract import SourceContract
from catalog.errors import ContractViolated
from catalog.stores.lake.chain import record_amendment
from catalog.stores.lake.lake import Transaction
from catalog.stores.rows import Rows
from catalog.tables.data_tables import DATASET_VERSIONS, SOURCES
from catalog.tables.quoting import quote_identifier, quote_text
from rpe_core.fingerprint import canonical_json, make_id

_AGAIN = "stands again"
_STANDS = "superseded_at IS NULL AND retracted_at IS NULL"


def raw_name(source: str) -> str:
    """The table of a source's rows, as SQL names it."""
    return f"raw.{quote_identifier(source)}"


def is_in_force(lake: Rows, contract: SourceContract) -> bool:
    """Whether this very contract is the source's current one."""
    return bool(
        lake.rows(
            f"SELECT 1 FROM core.sources WHERE source = ? AND contract_sha256 = ? AND {_STANDS}",
            [contract.source, contract.sha256],
        )
    )


def contract_with_rows(lake: Rows, source: str) -> dict[str, Any] | None:
    """shape_sha256 and contract_json under which rows of the source have landed, or None."""
    rows = lake.rows(
        f"SELECT shape_sha256, contract_json FROM core.sources s WHERE source = ? AND {_STANDS}"
        " AND EXISTS (SELECT 1 FROM core.batches b WHERE b.source = s.source"
        " AND b.n_accepted > 0 AND b.retracted_at IS NULL)",
        [source],
    )
    return rows[0] if rows else None


def standing_version(lake: Rows, source: str) -> str | None:
    """Id of the dataset version that stands now, or None before the first."""
    rows = lake.rows(
        f"SELECT dataset_version_id FROM core.dataset_versions WHERE source = ? AND {_STANDS}",
        [source],
    )
    return str(rows[0]["dataset_version_id"]) if rows else None


def put_in_force(tx: Transaction, contract: SourceContract) -> None:
    """Make this contract the source's current one, and its tables ready."""
    source = contract.source
    known = tx.rows(
        f"SELECT shape_sha256 FROM core.sources WHERE source = ? AND {_STANDS}", [source]
    )
    if known and known[0]["shape_sha256"] != contract.shape_sha256:
        # Asked for only while no row has landed: the empty table has the columns of the old shape.
        tx.execute(f"DROP TABLE IF EXISTS {raw_name(source)}")
    tx.ensure_source_tables(contract)
    if is_in_force(tx, contract):
        return
    tx.execute(
        f"UPDATE core.sources SET superseded_at = ? WHERE source = ? AND {_STANDS}",
        [tx.recorded_at, source],
    )
    if not tx.insert_new("sources", [_source_row(contract)]):
        # A contract that was in force before is so again.
        with record_amendment(tx, reason=_AGAIN, tables=[SOURCES]):
            tx.execute(
                "UPDATE core.sources SET superseded_at = NULL"
                " WHERE source = ? AND contract_sha256 = ?",
                [source, contract.sha256],
            )


def export_standing(lake: Rows, contract: SourceContract, out: Path) -> None:
    """Write what stands in a source to a Parquet file: keys and hashes, no value.

    Columns: item, row_hash, grp, split, batch, md5 of label and input, and the batch of the last
    file that said the row.
    """
    text, target = map(quote_identifier, contract.content_columns)
    said, joined = "r._batch_id", ""
    if contract.keeps_places and _has_confirmations(lake):
        said = "coalesce(c.batch_id, r._batch_id)"
        joined = (
            f"LEFT JOIN core.confirmations c ON c.source = {quote_text(contract.source)}"
            " AND c.item_sha256 = r._item_sha256"
        )
    lake.rows(
        "COPY (SELECT r._item_sha256 AS item, r._row_sha256 AS row_hash, r._group_sha256 AS grp,"
        " r._split AS split, r._batch_id AS batch,"
        f" md5(r.{target}::VARCHAR) AS label, md5(r.{text}) AS input, {said} AS said"
        f" FROM {raw_name(contract.source)} r {joined}"
        " WHERE r._superseded_by IS NULL AND r.retracted_at IS NULL)"
        f" TO {quote_text(str(out))} (FORMAT parquet)"
    )


def _has_confirmations(lake: Rows) -> bool:
    """Whether the lake has the table yet: a reader does not bring it to this release."""
    return bool(
        lake.rows(
            "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database()"
            " AND schema_name = 'core' AND table_name = 'confirmations'"
        )
    )


def confirm(tx: Transaction, source: str, said: Path) -> None:
    """Take note of the last batch that said each row: a Parquet file of item and batch.

    Of a row that came with that batch, `batch` is null and nothing is noted.
    """
    named = [source, str(said)]
    tx.execute(
        "DELETE FROM core.confirmations WHERE source = $1"
        " AND item_sha256 IN (SELECT item FROM read_parquet($2))",
        named,
    )
    tx.execute(
        "INSERT INTO core.confirmations BY NAME SELECT $1 AS source, item AS item_sha256,"
        " batch AS batch_id FROM read_parquet($2) WHERE batch IS NOT NULL",
        named,
    )


def says_validation(tx: Rows, source: str, column: str) -> tuple[bool, bool]:
    """Whether a split column ever said validation, and whether train rows were made validation."""
    said = quote_identifier(column)
    row = tx.rows(
        f"SELECT bool_or({said} = 'validation') AS is_said,"
        f" bool_or({said} = 'train' AND _split = 'validation') AS is_carved FROM {raw_name(source)}"
    )[0]
    return bool(row["is_said"]), bool(row["is_carved"])


def supersede(tx: Transaction, source: str, superseded: Path) -> None:
    """Mark the rows that a Parquet file of item, old_batch and new_batch names as replaced."""
    tx.execute(
        f"UPDATE {raw_name(source)} AS r SET _superseded_by = s.new_batch, superseded_at = $1"
        " FROM read_parquet($2) AS s WHERE r._item_sha256 = s.item AND r._batch_id = s.old_batch"
        " AND r._superseded_by IS NULL",
        [tx.recorded_at, str(superseded)],
    )


def put_version(
    tx: Transaction, contract: SourceContract, *, sha256: str, counts: Mapping[str, int]
) -> None:
    """Make the content that stands now the source's dataset version.

    Content that stood before is that version again; it keeps its rows and its lineage.

    Raises:
        ContractViolated: this content was withdrawn, in whatever files it comes now.
    """
    source = contract.source
    version_id = make_id("dataset", source, sha256)
    _require_not_withdrawn(tx, source, version_id)
    tx.execute(
        f"UPDATE core.dataset_versions SET superseded_at = ? WHERE source = ? AND {_STANDS}",
        [tx.recorded_at, source],
    )
    if _stands_again(tx, source, sha256):
        return
    row = {
        "dataset_version_id": version_id,
        "sha256": sha256,
        "source": source,
        "contract_sha256": contract.sha256,
        "license": contract.license,
        "snapshot_id": tx.next_snapshot_id,
        **counts,
    }
    tx.insert_new("dataset_versions", [row])
    # All batches that ever landed a row, those without a standing one too: by them a reader tells
    # which rows the version had replaced already.
    parents = tx.rows(f"SELECT DISTINCT _batch_id FROM {raw_name(source)} ORDER BY 1")
    tx.insert_new(
        "lineage",
        [
            {"child_id": version_id, "parent_id": parent["_batch_id"], "role": "batch"}
            for parent in parents
        ],
    )


def _require_not_withdrawn(tx: Transaction, source: str, version_id: str) -> None:
    if tx.rows(
        "SELECT 1 FROM core.dataset_versions WHERE dataset_version_id = ?"
        " AND retracted_at IS NOT NULL",
        [version_id],
    ):
        raise ContractViolated(
            "These rows were withdrawn before; none of them landed.",
            source=source,
            where=version_id,
            remedy="take the files out of the folder; core.retractions says why",
        )


def _stands_again(tx: Transaction, source: str, sha256: str) -> bool:
    """Whether this content stood before; then it stands again."""
    content = "WHERE source = ? AND sha256 = ? AND retracted_at IS NULL"
    if not tx.rows(f"SELECT 1 FROM core.dataset_versions {content}", [source, sha256]):
        return False
    with record_amendment(tx, reason=_AGAIN, tables=[DATASET_VERSIONS]):
        tx.execute(
            f"UPDATE core.dataset_versions SET superseded_at = NULL {content}", [source, sha256]
        )
    return True


def _source_row(contract: SourceContract) -> dict[str, Any]:
    return {
        "source": contract.source,
        "contract_sha256": contract.sha256,
        "shape_sha256": contract.shape_sha256,
        "title": contract.title,
        "owner": contract.owner,
        "license": contract.license,
        "task_type": contract.task.type,
        "contract_json": canonical_json(contract.model_dump(mode="json")),
    }

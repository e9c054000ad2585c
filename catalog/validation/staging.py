"""One delivered file on its way: rows judged batch by batch, kept or set aside in scratch files."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.contracts.contract import SourceContract, SplitColumn, SplitShares
from catalog.deid.check import row_codes, scan_column
from catalog.deid.rule import PHI
from catalog.validation import splits
from catalog.validation.row_rules import SHOWN_ROWS, RowFaults, check_rows
from catalog.validation.run import Validator
from catalog.validation.suite import row_checks

# Planted beside every scanned column, one after another: a gate that misses its canary is broken.
CANARIES = (
    "Patient called back from (617) 555-0142.",
    "SSN 536-90-4399 on file.",
    "Write to jane.roe@stmaryhospital.org today.",
)
_KEY_FIELDS = [
    ("_item_sha256", pa.string()),
    ("_row_sha256", pa.string()),
    ("_group_sha256", pa.string()),
    ("_split", pa.string()),
    ("_row_number", pa.int64()),
]
_QUARANTINE_SCHEMA = pa.schema(
    [
        ("_batch_id", pa.string()),
        ("_row_number", pa.int64()),
        ("_reasons", pa.string()),
        ("_row_json", pa.string()),
    ]
)


@dataclass
class Tally:
    """What was counted over the batches of a file; counts and names only."""

    n_rows: int = 0
    n_kept: int = 0
    n_quarantined: int = 0
    n_phi: int = 0
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)  # (rule, column) -> rows
    checks: dict[tuple[str, str], bool] = field(default_factory=dict)  # (expectation, column)
    n_canaries: int = 0
    n_canaries_missed: int = 0
    says_validation: bool = False
    # first row numbers of each (rule, column), for messages
    examples: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))


class StagedFile:
    """The scratch files of one delivery, both Parquet; a context manager that completes them.

    `accepted` exists if a row was kept, `quarantined` if one was set aside.
    """

    def __init__(
        self,
        contract: SourceContract,
        *,
        folder: Path,
        batch_id: str,
        file_split: str | None,
        validator: Validator,
    ) -> None:
        self.tally = Tally()
        self._contract, self._batch_id = contract, batch_id
        self._file_split, self._validator = file_split, validator
        self._checks = row_checks(contract)
        self._places = tuple(scratch_columns(contract).items())
        self._phi_columns = [name for name, rule in contract.columns.items() if rule.phi_scan]
        folder.mkdir()
        self._accepted = _RowFile(folder / "accepted.parquet")
        self._quarantined = _RowFile(folder / "quarantined.parquet")

    @property
    def accepted(self) -> Path | None:
        """Kept rows with their keys, splits and row numbers, or None if there is none.

        Its columns are named by `scratch_columns`.
        """
        return self._accepted.path if self.tally.n_kept else None

    @property
    def quarantined(self) -> Path | None:
        """Rows of quarantine as the lake takes them, or None if there is none."""
        return self._quarantined.path if self.tally.n_quarantined else None

    def __enter__(self) -> StagedFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._accepted.close()
        finally:
            self._quarantined.close()

    def add(
        self, table: pa.Table, *, numbers: Sequence[int], unread: Iterable[tuple[int, str, str]]
    ) -> None:
        """Judge one record batch: row rules, PHI gate, Great Expectations on what remains.

        Args:
            table: rows typed by the contract.
            numbers: the number in the file of each of them.
            unread: (row index, code, column) of what the reader could not type, or found to
                identify somebody: a code of the PHI gate.
        """
        refused = list(unread)
        faults = check_rows(table, self._contract, unread=refused)
        phi_rows = {row for row, code, _ in refused if code.startswith(PHI)}
        phi_rows |= self._scan(table, faults)
        mask = faults.mask(table.num_rows)
        kept = table.filter(mask)
        if kept.num_rows:
            self._expect(kept)
            self._accepted.write(self._with_keys(kept, pa.array(numbers, pa.int64()).filter(mask)))
        if faults.reasons:
            self._set_aside(table, faults, numbers)
        tally = self.tally
        tally.n_rows += table.num_rows
        tally.n_kept += kept.num_rows
        tally.n_quarantined += len(faults.reasons)
        tally.n_phi += len(phi_rows)
        tally.failed.update(faults.counts)
        for check, indices in faults.first_rows.items():
            room = SHOWN_ROWS - len(tally.examples[check])
            tally.examples[check] += [numbers[index] for index in indices[:room]]

    def _scan(self, table: pa.Table, faults: RowFaults) -> set[int]:
        """Rows in which the PHI gate found something; each scan must find its canary too."""
        rows: set[int] = set()
        is_read = self._contract.deidentified.other_scripts_read
        for column in self._phi_columns:
            canary = CANARIES[self.tally.n_canaries % len(CANARIES)]
            cells = pa.concat_arrays([*table.column(column).chunks, pa.array([canary])])
            by_row = dict(scan_column(cells))
            self.tally.n_canaries += 1
            self.tally.n_canaries_missed += by_row.pop(table.num_rows, ()) == ()
            for row, rule_ids in by_row.items():
                for code in row_codes(rule_ids, other_scripts_read=is_read):
                    faults.add([row], code, column)
                    rows |= {row} if code.startswith(PHI) else set()
        return rows

    def _expect(self, kept: pa.Table) -> None:
        for result in self._validator.check(kept, self._checks):
            check = (result.check.rule, result.check.column)
            self.tally.checks[check] = result.is_passed and self.tally.checks.get(check, True)

    def _with_keys(self, kept: pa.Table, numbers: pa.Array) -> pa.Table:
        rows = kept.to_pylist()
        contract = self._contract
        items = [splits.item_sha256(contract.source, row[contract.key_column]) for row in rows]
        groups = [splits.group_sha256(row[contract.group_column]) for row in rows]
        parts = self._split_of(rows, groups)
        self.tally.says_validation |= "validation" in parts
        keys = [items, [splits.row_sha256(row) for row in rows], groups, parts, numbers]
        fields = [pa.field(short, kept.schema.field(name).type) for name, short in self._places]
        schema = pa.schema([*(pa.field(name, kind) for name, kind in _KEY_FIELDS), *fields])
        return pa.table([*keys, *(kept.column(n) for n, _ in self._places)], schema=schema)

    def _split_of(self, rows: list[dict[str, Any]], groups: list[str]) -> list[str]:
        shares = self._contract.splits
        if isinstance(shares, SplitShares):
            return [splits.split_by_share(group, shares) for group in groups]
        if isinstance(shares, SplitColumn):
            return [row[shares.column] for row in rows]
        return [self._file_split or "" for _ in rows]

    def _set_aside(self, table: pa.Table, faults: RowFaults, numbers: Sequence[int]) -> None:
        indices = sorted(faults.reasons)
        rows = table.take(pa.array(indices, pa.int64())).to_pylist()
        columns = [
            [self._batch_id] * len(indices),
            [numbers[index] for index in indices],
            [";".join(faults.reasons[index]) for index in indices],
            [json.dumps(row, ensure_ascii=False, default=_as_text) for row in rows],
        ]
        self._quarantined.write(pa.table(columns, schema=_QUARANTINE_SCHEMA))


def scratch_columns(contract: SourceContract) -> dict[str, str]:
    """Column of the contract -> its name in scratch files, which SQL is written about.

    A name of the data may be one of DuckDB's own (`filename`), or one of ours (`_row_number`).
    """
    return {name: f"c{number}" for number, name in enumerate(contract.columns)}


class _RowFile:
    """A Parquet file that begins with its first rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)

"""What became of one delivered file: the verdict with its reasons, as rows and as a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from catalog.contracts.contract import SourceContract
from catalog.deid.rule import PHI
from catalog.errors import ContractViolated, PhiFound
from catalog.validation.keys import DISAGREE, KeyFindings
from catalog.validation.row_rules import SHOWN_ROWS, rules_of
from catalog.validation.staging import Tally

NO_PLACE = "no_place"
SHOWN_FILES = 3


@dataclass(frozen=True)
class Delivery:
    """A file to be held against a contract for the first time."""

    batch_id: str
    file_uri: str
    file_sha256: str
    split: str | None  # what the file's name decides
    is_known: bool  # accepted before, under another contract: then what stands is newer
    is_withdrawn: bool = False  # a retraction withdrew these bytes, or the whole source
    rank: int = 0  # among the files of the source, the later the greater; equal: not told
    has_place: bool = True  # whether the order of the contract fits its name
    modified: datetime | None = None  # where the order hangs on it
    shown_name: str = ""  # what messages call it; '' for the last part of its uri

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.shown_name or self.file_uri.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class BatchReport:
    """One batch in counts: names, row numbers and reasons, never a value."""

    batch_id: str
    file_name: str
    is_refused: bool
    is_phi: bool
    reasons: tuple[str, ...]
    n_rows: int
    n_accepted: int
    n_unchanged: int
    n_superseding: int
    n_quarantined: int
    n_phi: int
    failed: Mapping[str, int]  # rule(column) -> rows
    n_outdated: int = 0  # a later file of the source says otherwise


@dataclass
class Outcome:
    """A delivery on its way to a verdict; it is refused as soon as it has a reason."""

    delivery: Delivery
    contract: SourceContract
    tally: Tally = field(default_factory=Tally)
    keys: KeyFindings | None = None
    reasons: list[str] = field(default_factory=list)
    is_phi: bool = False
    unknown_columns: tuple[str, ...] = ()  # as the file spells them: not every one may be shown
    accepted: Path | None = None  # scratch files, see staging.py
    quarantined: Path | None = None
    marked: Path | None = None  # rows set aside because of their keys
    n_marked: int = 0

    @property
    def is_refused(self) -> bool:
        """Whether nothing of the file may land."""
        return bool(self.reasons)

    def judge_columns(self, *, n_unknown: int, missing: Sequence[str]) -> None:
        """Refuse a file with other columns than the contract's, where that is not allowed."""
        if n_unknown and self.contract.on_violation.unknown_column == "refuse":
            # Where a header is missing, the names are a row: they are counted and not shown.
            self.reasons.append(f"unknown_column: {n_unknown} that the contract does not name")
        lacking = [name for name in missing if not self.contract.columns[name].nullable]
        if lacking:
            self.reasons.append(f"missing_column: {', '.join(lacking)}")

    def judge_rows(self) -> None:
        """Refuse a file with too many bad rows, a broken gate or a failed expectation."""
        limits, tally = self.contract.on_violation, self.tally
        n_bad = tally.n_quarantined - tally.n_phi
        if tally.n_phi > limits.max_phi_ratio * tally.n_rows:
            self.is_phi = True
            self.reasons.append(self._ratio("max_phi_ratio", tally.n_phi, limits.max_phi_ratio))
        if tally.n_canaries_missed:
            self.is_phi = True
            scans = f"{tally.n_canaries_missed} of {tally.n_canaries} scans"
            self.reasons.append(f"phi_gate_broken: the planted identifier was missed in {scans}")
        if n_bad and limits.bad_row == "refuse":
            self.reasons.append(self._ratio("bad_row", n_bad, 0.0))
        elif n_bad > limits.max_quarantined_ratio * tally.n_rows:
            limit = limits.max_quarantined_ratio
            self.reasons.append(self._ratio("max_quarantined_ratio", n_bad, limit))
        self.judge_checks()

    def judge_checks(self) -> None:
        """Refuse a file that fails an expectation."""
        for (rule, column), is_passed in self.tally.checks.items():
            reason = f"expectation: {_shown(rule, column)}"
            if not is_passed and reason not in self.reasons:
                self.reasons.append(reason)

    def judge_keys(self, findings: KeyFindings) -> None:
        """Refuse a file whose keys clash or whose groups sit in two splits."""
        self.keys = findings
        for code, numbers in findings.failing.items():
            if numbers and code == DISAGREE:
                self.reasons.append(self._disagreement(findings.others, numbers))
            elif numbers:
                self.reasons.append(f"{code}: {_rows(len(numbers), numbers)}")

    def _disagreement(self, others: Sequence[str], numbers: Sequence[int]) -> str:
        named = ", ".join(others[:SHOWN_FILES])
        more = f" and {len(others) - SHOWN_FILES} more" if len(others) > SHOWN_FILES else ""
        is_ordered = self.contract.files.order is not None
        why = "have the same place in files.order" if is_ordered else "are in no declared order"
        has = "has a key" if len(numbers) == 1 else "have keys"
        return (
            f"{DISAGREE}: {_rows(len(numbers), numbers)} {has} (column {self.contract.key_column})"
            f" that {named}{more} says otherwise, and these files {why}"
        )

    def judge_emptiness(self, *, is_part: bool) -> None:
        """Refuse a file without rows, unless it is one part of many that have some."""
        if self.tally.n_rows == 0 and not self.reasons and not is_part:
            self.reasons.append("empty_file: it holds no row")

    @property
    def report(self) -> BatchReport:
        """The counts as they will be committed."""
        landed = self.keys if self.keys is not None and not self.is_refused else KeyFindings()
        return BatchReport(
            batch_id=self.delivery.batch_id,
            file_name=self.delivery.name,
            is_refused=self.is_refused,
            is_phi=self.is_phi,
            reasons=tuple(self.reasons),
            n_rows=self.tally.n_rows,
            n_accepted=landed.n_new + landed.n_changed,
            n_unchanged=landed.n_unchanged + landed.n_duplicates,
            n_superseding=landed.n_changed,
            n_quarantined=self.tally.n_quarantined + self.n_marked,
            n_phi=self.tally.n_phi,
            failed={_shown(*check): n for check, n in sorted(self.tally.failed.items())},
            n_outdated=landed.n_outdated,
        )

    @property
    def batch_row(self) -> dict[str, Any]:
        """The row of `core.batches`."""
        report, attested = self.report, self.contract.deidentified
        return {
            "batch_id": report.batch_id,
            "source": self.contract.source,
            "file_uri": self.delivery.file_uri,
            "file_sha256": self.delivery.file_sha256,
            "contract_sha256": self.contract.sha256,
            "split": self.delivery.split,
            "file_modified_at": self.delivery.modified,
            "outcome": "refused" if report.is_refused else "accepted",
            "reason": "; ".join(report.reasons) or None,
            "n_rows": report.n_rows,
            "n_accepted": report.n_accepted,
            "n_unchanged": report.n_unchanged,
            "n_superseding": report.n_superseding,
            "n_outdated": report.n_outdated,
            "n_quarantined": report.n_quarantined,
            "n_phi": report.n_phi,
            "attested_method": attested.method,
            "attested_by": attested.attested_by,
            "attested_on": attested.attested_on,
        }

    @property
    def validation_rows(self) -> list[dict[str, Any]]:
        """The rows of `core.validations`: every rule that was asked, passed or not."""
        tally = self.tally
        if self.delivery.is_withdrawn:
            return []
        failed = dict.fromkeys(((r.rule_id, p.name) for r, p in rules_of(self.contract)), 0)
        failed |= {check: n for check, n in tally.failed.items() if not check[0].startswith(PHI)}
        rows = [self._row("rows", rule, column, n) for (rule, column), n in failed.items()]
        rows += [
            self._row("phi", rule.removeprefix(PHI), column, n)
            for (rule, column), n in tally.failed.items()
            if rule.startswith(PHI)
        ]
        if tally.n_canaries:
            canary = self._row("phi", "canary", "", tally.n_canaries_missed)
            rows.append({**canary, "n_checked": tally.n_canaries})
        for (rule, column), is_passed in tally.checks.items():
            # Great Expectations says whether, and not how often: a failure has no count.
            row = self._row("expectations", rule, column, 0 if is_passed else None)
            rows.append({**row, "n_checked": tally.n_kept})
        if self.keys is not None:
            for code, numbers in self.keys.failing.items():
                rows.append(
                    {**self._row("keys", code, "", len(numbers)), "n_checked": tally.n_kept}
                )
            same = self._row("keys", "identical_duplicate", "", self.keys.n_duplicates)
            rows.append({**same, "is_passed": True, "n_checked": tally.n_kept})
        return rows

    def _row(self, engine: str, rule: str, column: str, n_failed: int | None) -> dict[str, Any]:
        return {
            "batch_id": self.delivery.batch_id,
            "engine": engine,
            "rule": rule,
            "column_name": column,
            "is_passed": n_failed == 0,
            "n_checked": self.tally.n_rows,
            "n_failed": n_failed,
        }

    def _ratio(self, code: str, n_failed: int, limit: float) -> str:
        wants_phi = code == "max_phi_ratio"
        rules = [
            f"{_shown(*check)} in {_rows(n, self.tally.examples[check])}"
            for check, n in self.tally.failed.most_common()
            if check[0].startswith(PHI) == wants_phi
        ]
        shares = f"{n_failed} of {self.tally.n_rows} rows, limit {limit:g}"
        return f"{code}: {shares} ({', '.join(rules)})"


def refused_again(contract: SourceContract, delivery: Delivery) -> Outcome:
    """The outcome of bytes that were withdrawn: unread, and known by their hash alone."""
    shown = f"sha256 {delivery.file_sha256[:12]}"
    unnamed = replace(delivery, file_uri=shown, shown_name=shown, split=None)
    why = "retracted: it was withdrawn, see core.retractions; take it out of the folder"
    return Outcome(unnamed, contract, reasons=[why])


def raise_refused(source: str, batches: Sequence[BatchReport]) -> None:
    """Raise for the refused among the batches of one ingest, all of them in one message.

    Raises:
        PhiFound: one of them looks identifying.
        ContractViolated: the others.
    """
    refused = [batch for batch in batches if batch.is_refused]
    if not refused:
        return
    kind = PhiFound if any(batch.is_phi for batch in refused) else ContractViolated
    lines = [f"{b.file_name} ({b.batch_id}): {'; '.join(b.reasons)}" for b in refused]
    reasons = [reason for batch in refused for reason in batch.reasons]
    raise kind(
        f"{len(refused)} of {len(batches)} new files of source {source} refused; none of their rows"
        " landed.",
        source=source,
        where="\n      ".join(lines),
        remedy="; ".join(remedies(source, reasons)),
        reasons=reasons,
    )


def remedies(source: str, reasons: Sequence[str]) -> list[str]:
    """What to do about refused files, by why they were refused."""
    texts = [
        f"`rpe source findings {source}` lists the rows set aside; correct the export or the"
        " contract, or ask the owner for another file"
    ]
    if any(reason.startswith(DISAGREE) for reason in reasons):
        texts.append(
            "where files disagree, say in the contract which is the later (files.order: natural,"
            " name, modified, or a pattern that tells them apart) and on_violation.changed_row:"
            " supersede, or take one of them out of the folder"
        )
    if any(reason.startswith(NO_PLACE) for reason in reasons):
        texts.append("rename the file, or write a pattern of files.order that fits every name")
    return texts


def _shown(rule: str, column: str) -> str:
    return f"{rule}({column})" if column else rule


def _rows(count: int, numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:SHOWN_ROWS])
    more = " and others" if count > SHOWN_ROWS else ""
    return f"{count} row{'s' if count != 1 else ''} ({shown}{more})"

"""Help for a data engineer: a contract drafted from data, and data held against a contract."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import yaml
from pydantic import BaseModel

from catalog.contracts.contract import SourceContract
from catalog.contracts.faults import shown_path
from catalog.contracts.images import image_format
from catalog.contracts.load import TO_FILL
from catalog.deid.check import row_codes, scan_column
from catalog.deid.rule import PHI, UNJUDGED
from catalog.errors import Fault
from catalog.readers.csv_draft import csv_lines
from catalog.readers.files import FileUnreadable, file_name
from catalog.readers.folders import drafted_sample, found_files
from catalog.readers.formats import TypedBatch, list_deliveries, open_delivery
from catalog.readers.profile import ColumnProfile, profile_sample
from catalog.readers.reasons import reason_text, unknown_column_faults
from catalog.readers.roles import Roles, guess_roles, is_slice
from catalog.readers.sample import ColumnSample
from catalog.validation.expectations import expectation_faults
from catalog.validation.row_rules import check_rows
from rpe_core.errors import InputError

MAX_FILES_SAMPLED = 20
MAX_ROWS_SHOWN = 5
MAX_MIXED_SHARE = 0.01  # of a column's cells that may look identifying, where a draft allows 2 %
PHI_CODE = "looks_identifying"
_YAML_WORDS = frozenset({"true", "false", "null"})
LINE_CHARS = 10**9  # YAML scalars are never folded


def draft_contract(uri: str, *, source: str = "", sample_rows: int = 5000) -> str:
    """A commented YAML contract drafted from the first rows of the first file that `uri` names.

    What only a person can know stands as TO-FILL, and `load_contract` says so until it is filled.
    Without a `source` it is called after the files. No cell value is shown, but for the short
    values of the column that seems to be the label.

    Raises:
        InputError: if no file matches, its ending tells no format, or it is an image.
        FileUnreadable: if the file cannot be read.
    """
    if "{" in uri or image_format(uri) or uri.lower().endswith(".dcm"):
        raise InputError(
            "A contract of images is not drafted.",
            expected="files: {path: /data/{case}.image.png, format: image, mask: ...}",
            remedy="write it by hand as infra/docs/sources.md shows;"
            " `rpe source add` checks it with the data",
        )
    files = found_files(uri)
    first = files.uris[0]
    file_format, sample = drafted_sample(files, rows=sample_rows)
    profiles = profile_sample(sample)
    roles = guess_roles(profiles)
    columns = [_settled(column, roles) for column in profiles]
    n_rows = max((column.n_rows for column in columns), default=0)
    source = source or source_name(uri)
    path = files.path if "://" in uri else str(Path(files.path).absolute())
    lines = [
        f"# Drafted from the first {n_rows} rows of {file_name(first)}. Check every line,",
        f"# fill in what says {TO_FILL}, and save it as {source}.yaml",
        *_sample_lines(sample),
        f"source: {_word(source)}",
        f"title: {_quoted(source.replace('_', ' '))}",
        f"owner: {TO_FILL}             # whom to ask about these data",
        "license: internal          # a merged model inherits the strictest licence of its members",
        *_file_lines(path, file_format, sample),
        *_task_lines(columns, roles),
        "deidentified:",
        f"  method: {TO_FILL}          # safe_harbor, expert_determination, public or synthetic",
        f"  attested_by: {TO_FILL}     # who attests it",
        f"  attested_on: {TO_FILL}     # the day, YYYY-MM-DD",
        *_column_lines(columns, roles),
        "splits: {train: 0.8, validation: 0.1, test: 0.1}   # or {column: <its name>}",
        *_violation_lines(columns, sample),
    ]
    return "\n".join(lines) + "\n"


def source_name(uri: str) -> str:
    """A name from the file, or from its folder where the file's name is only a pattern.

    >>> source_name("/data/CT abdomen/2026-*.csv.gz"), source_name("/data/site_a-*.csv")
    ('ct_abdomen', 'site_a')
    """
    parts = [part for part in re.split(r"[/\\]", uri) if part]
    name = parts[-1].split(".")[0] if parts else ""
    if re.search(r"[*?\[{]", name):
        name = re.split(r"[*?\[{]", name)[0]
        name = name if name[:1].isalpha() or len(parts) < 2 else parts[-2]
    name = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:60]
    return name if name[:1].isalpha() else f"source_{name}".rstrip("_")


def _quoted(text: str) -> str:
    """A YAML scalar in double quotes on one line."""
    dumped = yaml.safe_dump(text, default_style='"', width=LINE_CHARS, allow_unicode=True)
    return str(dumped).strip()


def _word(text: str) -> str:
    """A YAML scalar that is read as this text, and not as a truth value or as nothing.

    >>> _word("dose"), _word("null"), _word("a b")
    ('dose', '"null"', '"a b"')
    """
    is_plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text) and text.lower() not in _YAML_WORDS
    return text if is_plain else _quoted(text)


def _settled(column: ColumnProfile, roles: Roles) -> ColumnProfile:
    """A column without a part in the contract is left out where `rpe source add` would refuse it.

    Its type may hold its cells only as a name of rows or groups; or it mixes numbers with words,
    and the gate, which reads no column of numbers, finds too many of them identifying.
    """
    if column.name in (roles.key, roles.group, roles.input, roles.target):
        return column
    if column.is_name_only:
        return replace(column, type=None)
    if column.is_mixed and column.n_identifying > MAX_MIXED_SHARE * column.n_scanned:
        share = f"{column.n_identifying} of {column.n_scanned} look identifying"
        return replace(column, type=None, why=f"numbers and words, of which {share}")
    return column


def _sample_lines(sample: ColumnSample) -> Iterator[str]:
    n_placed = sum(not name.is_told for name in sample.names)
    if sample.csv is not None and sample.csv.header == "none":
        yield "# Its first line has numbers or dates where the rows below have some: it is a row,"
        yield "# and none of it stands here. Columns are called by their place: name them."
    elif not sample.has_sure_header:
        yield "# Its first line is not surely a header, so none of it stands here: columns are"
        yield "# called by their place. Say in `files` whether it is one, and name the columns."
    elif n_placed:
        yield f"# {n_placed} columns have no name, or one that looks like a value and is not shown:"
        yield "# they are called by their place. Where each is a patient, turn the table round."
    if sample.n_sheets > 1:
        yield f"# {sample.n_sheets} of its sheets hold cells; this is the one with most columns."
    if sample.n_hidden:
        yield f"# {sample.n_hidden} keys look like values: they are not shown, and are left out."


def _file_lines(path: str, file_format: str, sample: ColumnSample) -> Iterator[str]:
    if sample.csv is not None:
        yield from csv_lines(_quoted(path), sample.csv)
        return
    more = "".join(f", {key}: {_told(value)}" for key, value in sample.files.items())
    header = "" if sample.has_sure_header else f", header: {TO_FILL}"
    yield f"files: {{path: {_quoted(path)}, format: {file_format}{more}{header}}}"
    if header:
        yield "# header: true if the first line holds names of columns, false if it is a row"


def _told(value: object) -> str:
    """A value of `files` as YAML on one line."""
    if isinstance(value, BaseModel):
        said = value.model_dump(exclude_defaults=True).items()
        return f"{{{', '.join(f'{key}: {_told(inner)}' for key, inner in said)}}}"
    return str(value) if isinstance(value, int) else _word(str(value))


def _task_lines(columns: Sequence[ColumnProfile], roles: Roles) -> Iterator[str]:
    yield "task:"
    yield "  type: text-classification"
    if roles.input:
        yield f"  input: {_word(roles.input)}     # the column with the longest texts"
    else:
        yield f"  input: {TO_FILL}     # no column of text was found"
    labels = next((c.labels for c in columns if c.name == roles.target), ())
    if not labels:
        yield f"  target: {TO_FILL}    # the column with the label: few distinct texts"
        yield f"  labels: {TO_FILL}    # {{name: prompt, ...}}; the prompt describes the label"
        return
    yield f"  target: {_word(roles.target)}    # a column with few distinct values"
    yield "  labels:     # value: prompt that describes it in words; add labels not sampled"
    if next(c.type for c in columns if c.name == roles.target) != "string":
        yield from (f"    {label}: {TO_FILL}     # in words" for label in labels)
        return
    prompts = [re.sub(r"[_\s]+", " ", label).strip().capitalize() for label in labels]
    is_distinct = len(set(prompts)) == len(prompts)
    for label, prompt in zip(labels, prompts if is_distinct else labels, strict=True):
        yield f"    {_quoted(label)}: {_quoted(prompt)}"


def _column_lines(columns: Sequence[ColumnProfile], roles: Roles) -> Iterator[str]:
    yield "columns:" if roles.key else "columns:     # none seems to name each row: mark a key"
    for column in columns:
        remarks = list(_remarks(column, roles))
        comment = f"     # {'; '.join(remarks)}" if remarks else ""
        if column.type is None:
            yield f"  # {_word(column.name)}: left out: {column.why}"
        else:
            yield f"  {_word(column.name)}: {{{', '.join(_rule(column, roles))}}}{comment}"


def _rule(column: ColumnProfile, roles: Roles) -> Iterator[str]:
    yield f"type: {column.type}"
    if column.in_file is not None:
        in_file = column.in_file
        yield f"in_file: {in_file if isinstance(in_file, int) else _quoted(in_file)}"
    yield from (f"{key}: {_quoted(text)}" for key, text in column.said)
    if column.format:
        yield f"format: {TO_FILL if column.format == TO_FILL else _quoted(column.format)}"
    if column.name == roles.key:
        yield "key: true"
    elif column.name == roles.group:
        yield "group: true"
    elif is_slice(column, roles):
        yield "slice: true"
    if column.n_null or not column.n_rows:
        yield "nullable: true"
    if column.type == "string" and (column.name == roles.input or _is_doubtful(column, roles)):
        yield "phi_scan: true"


def _is_doubtful(column: ColumnProfile, roles: Roles) -> bool:
    """Whether the gate is to read each cell: not of codes, all of which it would set aside."""
    if column.has_suspicious_name:
        return True
    names_rows = column.name in (roles.key, roles.group)
    # A long code may be of a passport or a car; a UUID or a hash is neither
    if column.codes == "made" or (column.codes == "long" and names_rows):
        return False
    return column.is_free_text or column.n_identifying > 0


def _remarks(column: ColumnProfile, roles: Roles) -> Iterator[str]:
    if column.n_null:
        yield f"null in {column.n_null} of {column.n_rows}"
    if column.name == roles.group:
        yield f"splits never cut a group; {column.n_distinct} groups seen"
    if column.why:
        yield column.why
    if any(key == "join" for key, _ in column.said):
        yield "the texts of a list; `explode: true` makes a row of each, and then the key is theirs"
    if column.has_suspicious_name and column.is_named:
        yield "suspicious: the name says that it may identify a person"
    if column.n_identifying:
        is_read = column.name == roles.input or _is_doubtful(column, roles)
        yield f"suspicious: {column.n_identifying} of {column.n_scanned} cells look identifying"
        if not is_read:
            yield "codes, which are not scanned: see that none leads to a person"


def _violation_lines(columns: Sequence[ColumnProfile], sample: ColumnSample) -> Iterator[str]:
    n_left = sum(column.type is None for column in columns) + sample.n_hidden
    unknown = "ignore" if n_left else "refuse"
    why = f"; {n_left} columns are left out above" if n_left else ""
    yield "on_violation:"
    yield f"  unknown_column: {unknown}   # refuse or ignore{why}"
    yield "  bad_row: quarantine      # or refuse the whole batch"
    yield "  max_quarantined_ratio: 0.01"
    yield "  max_phi_ratio: 0.02"


@dataclass
class _Tally:
    """What the sampled rows of all files had against the contract: counts and row numbers."""

    n_rows: int = 0
    n_bad: int = 0
    n_identifying: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    places: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def mark(self, code: str, row_number: int, name: str) -> None:
        """Count a row under a code, and keep where the first ones stand."""
        self.codes[code] += 1
        if self.codes[code] <= MAX_ROWS_SHOWN:
            self.places.setdefault(code, {}).setdefault(name, []).append(row_number)

    def faults(self, codes: Sequence[str], expected: str) -> Iterator[Fault]:
        """One fault for each of these codes."""
        for code in codes:
            places = "; ".join(
                f"{name} row {', '.join(map(str, rows))}"
                for name, rows in self.places[code].items()
            )
            what = f"{code} in {self.codes[code]} of {self.n_rows} sampled rows, first {places}"
            meaning = reason_text(code)
            yield Fault("data", f"{what}: {meaning}" if meaning else what, expected)


def check_sample(contract: SourceContract, *, rows: int = 1000) -> list[Fault]:
    """What the first rows of the files have against the contract, beyond what it tolerates.

    About `rows` rows of at most 20 files are read. Faults hold column names, counts, row numbers
    and file names; each means that an ingest of such data would be refused.
    """
    try:
        files = list_deliveries(contract.files)[:MAX_FILES_SAMPLED]
    except InputError as error:
        return [*expectation_faults(contract), Fault("files.path", error.what, error.remedy)]
    faults = expectation_faults(contract)
    tally = _Tally()
    for uri in files:
        try:
            faults += _check_file(contract, uri, tally, rows=max(1, rows // len(files)))
        except (FileUnreadable, InputError) as error:
            faults.append(Fault("files.path", error.what, error.remedy))
    if not tally.n_rows and not faults:
        faults.append(Fault("data", "no row was found", "files with rows"))
    return [*dict.fromkeys(faults), *_tally_faults(contract, tally)]


def _check_file(contract: SourceContract, uri: str, tally: _Tally, *, rows: int) -> list[Fault]:
    unknown: dict[str, None] = {}
    missing = dict.fromkeys(contract.columns)
    keys: Counter[object] = Counter()
    n_rows = 0
    for batch in open_delivery(contract, uri, batch_rows=min(rows, 4096)):
        unknown.update(dict.fromkeys(batch.unknown_columns))
        missing = {name: None for name in missing if name in batch.missing_columns}
        _check_batch(contract, batch, tally, file_name(uri))
        keys.update(batch.table.column(contract.key_column).drop_null().to_pylist())
        n_rows += batch.table.num_rows
        if n_rows >= rows:
            break
    if not n_rows:
        return []
    return list(_file_faults(contract, file_name(uri), keys, unknown=unknown, missing=missing))


def _file_faults(
    contract: SourceContract,
    name: str,
    keys: Counter[object],
    *,
    unknown: Collection[str],
    missing: Iterable[str],
) -> Iterator[Fault]:
    if contract.on_violation.unknown_column == "refuse":
        yield from unknown_column_faults(name, unknown)
    for column in missing:
        if not contract.columns[column].nullable:
            expected = "the column, or nullable: true"
            yield Fault(shown_path(["columns", column]), f"is missing from {name}", expected)
    repeated = sum(count - 1 for count in keys.values())
    if repeated:
        path = shown_path(["columns", contract.key_column])
        yield Fault(path, f"{repeated} of {keys.total()} sampled rows of {name} repeat a key")


def _check_batch(contract: SourceContract, batch: TypedBatch, tally: _Tally, name: str) -> None:
    unread = [(bad.row, bad.reason, bad.column) for bad in batch.bad_cells]
    table = pa.Table.from_batches([batch.table])
    reasons = check_rows(table, contract, unread=unread).reasons
    identifying = {row: None for row, code, _ in unread if code.startswith(PHI)}
    is_read = contract.deidentified.other_scripts_read
    for column in (column for column, rule in contract.columns.items() if rule.phi_scan):
        for row, rule_ids in scan_column(batch.table.column(column)).items():
            if UNJUDGED in (row_rules := row_codes(rule_ids, other_scripts_read=is_read)):
                reasons[row].append(f"{UNJUDGED}({column})")
            if any(code.startswith(PHI) for code in row_rules):
                identifying[row] = None
                tally.mark(f"{PHI_CODE}({column})", batch.numbers[row], name)
    for row, codes in sorted(reasons.items()):
        for code in codes:
            tally.mark(code, batch.numbers[row], name)
    tally.n_rows += batch.table.num_rows
    tally.n_bad += len(reasons.keys() - identifying.keys())
    tally.n_identifying += len(identifying)


def _tally_faults(contract: SourceContract, tally: _Tally) -> list[Fault]:
    limits = contract.on_violation
    identifying = sorted(code for code in tally.codes if code.startswith((PHI_CODE, PHI)))
    broken = sorted(code for code in tally.codes if code not in identifying)
    allowed = 0.0 if limits.bad_row == "refuse" else limits.max_quarantined_ratio
    faults: list[Fault] = []
    if tally.n_bad > allowed * tally.n_rows:
        faults += tally.faults(broken, f"at most {allowed:.2%} bad rows")
    if tally.n_identifying > limits.max_phi_ratio * tally.n_rows:
        expected = f"at most {limits.max_phi_ratio:.2%} of rows that look identifying"
        faults += tally.faults(identifying, expected)
    return faults

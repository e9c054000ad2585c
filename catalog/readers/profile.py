"""What a sample of a file looks like, column by column: types, counts, and what may identify."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal

import pyarrow as pa

from catalog.contracts.contract import ColumnType
from catalog.contracts.labels import LABEL_TYPES, label_of
from catalog.deid.check import row_codes, scan_column
from catalog.readers.cells import Convert
from catalog.readers.guess import Guess, guess_type
from catalog.readers.headers import is_number_like
from catalog.readers.naming import DraftName
from catalog.readers.sample import ColumnSample
from catalog.readers.sniffed_values import ToldColumn, with_dates

MAX_SCANNED_CHARS = 200_000  # of a column; the gate is slow beside the rest of a draft
MADE_CODES = frozenset({"code_uuid", "code_hash"})  # rules of codes that only programs make
CODES = MADE_CODES | {"code_long"}
MAX_LABELS = 50
MAX_LABEL_CHARS = 64
MIN_FREE_CHARS = 20  # mean length from which a text counts as free text
Codes = Literal["", "made", "long"]  # made: UUIDs and hashes; long: letters and digits
SUSPICIOUS_NAME = re.compile(
    r"^names?$|(^|_)((first|last|given|family|full|middle|maiden|patient|person)_?names?|surname|dob"
    r"|birth(day|_?date)?|date_of_birth|phone|telephone|tel|mobile|fax|e?_?mail|ssn|mrn"
    r"|medical_record(_number)?|insurance(_number|_id)?|address|street|zip|zip_?code|postcode"
    r"|postal_code|city|passport|licen[cs]e_plate|ip(_address)?|url)(_|$)"
)


@dataclass(frozen=True)
class ColumnProfile:
    """Counts over the sampled cells of one column; `labels` are its values where they are few."""

    name: str
    type: ColumnType | None  # None where a contract cannot declare it
    n_rows: int
    n_null: int
    n_distinct: int
    mean_chars: float
    max_chars: int
    n_scanned: int  # cells that the identifier gate looked at
    n_identifying: int  # those of them in which it found something
    labels: tuple[str, ...] = field(default=(), repr=False)
    in_file: str | int | None = None  # what the file calls it, or its place, where that differs
    said: tuple[tuple[str, str], ...] = ()  # further keys of its rule
    why: str = ""  # why it has no type, or what to know of its type
    is_name_only: bool = False  # of its type only as key or group
    has_blank: bool = False  # some text is empty or white space, which names nothing
    format: str = ""  # of dates that are not written as ISO 8601 has it
    is_mixed: bool = False  # some of its texts are numbers, some are not
    codes: Codes = ""  # what looks identifying, where each cell is one word and no name

    @property
    def is_unique(self) -> bool:
        """Whether every row has a value of its own."""
        return self.n_rows > 0 and self.n_null == 0 and self.n_distinct == self.n_rows

    @property
    def is_named(self) -> bool:
        """Whether the file says what the column is; else it is only a place."""
        return not isinstance(self.in_file, int)

    @property
    def words(self) -> str:
        """The name in lower case with one underscore between words: PatientID is patient_id."""
        return _words(self.name) if self.is_named else ""

    @property
    def has_suspicious_name(self) -> bool:
        """Whether the name alone says that the column may identify a person, or says nothing."""
        return not self.is_named or SUSPICIOUS_NAME.search(self.words) is not None

    @property
    def is_free_text(self) -> bool:
        """Whether people wrote here what they liked."""
        is_long = self.mean_chars >= MIN_FREE_CHARS
        return self.type == "string" and is_long and self.n_distinct > self.n_rows / 2


def profile_sample(sample: ColumnSample) -> list[ColumnProfile]:
    """The columns of a file as its sampled rows show them."""
    stored = sample.stored or ["string"] * len(sample.names)
    as_read = sample.csv.columns if sample.csv else _told(sample)
    triples = zip(sample.names, as_read, stored, strict=True)
    return [_profile(name, column, kind, sample.convert) for name, column, kind in triples]


def _told(sample: ColumnSample) -> list[ToldColumn]:
    """The columns of a file that has types of its own; a list that is joined stays a text."""
    pairs = zip(sample.names, sample.cells, strict=True)
    return [
        ToldColumn(cells) if "join" in dict(name.said) else with_dates(cells)
        for name, cells in pairs
    ]


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower()


def _profile(
    name: DraftName, as_read: ToldColumn, stored: ColumnType, convert: Convert
) -> ColumnProfile:
    words, cells = _words(name.name) if name.is_told else "", as_read.cells
    guess = guess_type(cells, convert, words=words, stored=stored, is_text=as_read.is_text)
    present = [value for value in guess.values.to_pylist() if value is not None]
    texts = [value for value in present if isinstance(value, str)]
    lengths = [len(text) for text in texts]
    n_scanned = bisect_right(list(accumulate(lengths)), MAX_SCANNED_CHARS) if texts else 0
    identifying = _identifying(pa.array(texts[:n_scanned], pa.string()))
    return ColumnProfile(
        name=name.name,
        type=guess.type,
        n_rows=len(cells),
        n_null=len(cells) - guess.n_present,
        n_distinct=len(set(map(str, present))),
        mean_chars=sum(lengths) / max(1, len(lengths)),
        max_chars=max(lengths, default=0),
        n_scanned=n_scanned,
        n_identifying=len(identifying),
        labels=_labels(guess, present),
        in_file=name.in_file,
        said=name.said,
        why=guess.why or as_read.remark,
        is_name_only=guess.is_name_only,
        has_blank=not all(text.strip() for text in texts),
        format=as_read.format,
        is_mixed=0 < sum(map(is_number_like, texts)) < len(texts),
        codes=_codes(texts, identifying),
    )


def _identifying(values: pa.Array) -> list[tuple[str, ...]]:
    """The rules that hit in each cell that looks identifying."""
    by_row = scan_column(values).values()
    return [ids for ids in by_row if row_codes(ids, other_scripts_read=True)]


def _codes(texts: Sequence[str], rules_by_row: Sequence[tuple[str, ...]]) -> Codes:
    """What codes the cells are, if nothing else was found and each cell is one word."""
    is_of_codes = bool(rules_by_row) and all(CODES.issuperset(rules) for rules in rules_by_row)
    if not is_of_codes or any(len(text.split()) != 1 for text in texts):
        return ""
    return "made" if all(MADE_CODES.intersection(rules) for rules in rules_by_row) else "long"


def _labels(guess: Guess, present: Sequence[Any]) -> tuple[str, ...]:
    """The values of a column that has few and short ones, in their order."""
    values = sorted(set(present)) if guess.type in LABEL_TYPES and not guess.is_name_only else []
    labels = [label_of(value) or "" for value in values] if len(values) <= MAX_LABELS else []
    if not all(label.strip() and len(label) <= MAX_LABEL_CHARS for label in labels):
        return ()
    # Labels are shown in a draft, so each of them passes the gate, however late it was sampled
    return () if scan_column(pa.array(labels, pa.string())) else tuple(labels)

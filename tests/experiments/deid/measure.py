"""Recall, precision and false alarms of the gate, with Clopper-Pearson intervals; a command.

python -m tests.experiments.deid.measure --planted --corpus PHI.json --rows FOLDER
    --adjudicated IDS.csv
python -m tests.experiments.deid.measure --keep
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from catalog.deid import gazetteer
from catalog.deid.check import Finding, scan_text
from catalog.errors import ContractError
from tests.experiments.deid import planted, recall_table
from tests.experiments.deid.proportions import Alarms, Measured, Share, table

CORPUS_KINDS: dict[str, str] = {
    "PERSON": "name",
    "STREET_ADDRESS": "geography",
    "ZIP_CODE": "geography",
    "GPE": "geography",
    "DATE_TIME": "date_or_age",
    "AGE": "date_or_age",
    "PHONE_NUMBER": "phone",
    "EMAIL_ADDRESS": "email",
    "US_SSN": "ssn",
    "CREDIT_CARD": "account",
    "IBAN_CODE": "account",
    "US_DRIVER_LICENSE": "licence",
    "DOMAIN_NAME": "url",
    "IP_ADDRESS": "ip_address",
}
"""Entity types that a Safe Harbor identifier answers to; ORGANIZATION, TITLE and NRP have none."""

PLANTED_FROM_CORPUS = {
    "PERSON": "name",
    "STREET_ADDRESS": "geography",
    "PHONE_NUMBER": "phone",
    "EMAIL_ADDRESS": "email",
    "US_SSN": "ssn",
    "DOMAIN_NAME": "url",
    "IP_ADDRESS": "ip_address",
}
_WEEKDAY_OR_YEAR = re.compile(
    r"(?i)\s*(?:(?:18|19|20)\d\d|(?:mon|tues|wednes|thurs|fri|satur|"
    r"sun)day)\s*"
)


def measure_planted(*, n: int = 400, seed: int = 0) -> list[Measured]:
    """Recall and precision on `n` generated clinical texts of every kind of identifier."""
    texts = {kind: planted.plant(kind, n, seed=seed) for kind in planted.KINDS}
    found = {kind: [scan_text(text.text) for text in rows] for kind, rows in texts.items()}
    passages: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for kind, rows in texts.items():
        for row, findings in zip(rows, found[kind], strict=True):
            for identifier, hit in _passages(findings, [(row.identifier, row.start, row.end)]):
                passages[identifier] += 1
                right[identifier] += hit
    return [
        Measured(
            kind,
            *_recalls(rows, found[kind]),
            Share(right[planted.KINDS[kind][0]], passages[planted.KINDS[kind][0]]),
        )
        for kind, rows in texts.items()
    ] + _names_by_list(texts["name"], found["name"])


def measure_corpus(path: Path) -> list[Measured]:
    """Recall by entity type, and precision by identifier, on a corpus with character spans."""
    total, own, by_any = Counter[str](), Counter[str](), Counter[str]()
    passages, right = Counter[str](), Counter[str]()
    for row in _corpus(path):
        findings = scan_text(row["full_text"])
        spans = [_span(span) for span in row["spans"]]
        known = [
            (CORPUS_KINDS[kind], low, high) for kind, low, high, _ in spans if kind in CORPUS_KINDS
        ]
        for kind, low, high, value in spans:
            if not is_identifier(kind, value):
                continue
            total[kind] += 1
            hits = {f.identifier for f in findings if f.start < high and f.end > low}
            own[kind] += CORPUS_KINDS[kind] in hits
            by_any[kind] += bool(hits)
        for identifier, hit in _passages(findings, known):
            passages[identifier] += 1
            right[identifier] += hit
    return [
        Measured(
            kind,
            Share(own[kind], total[kind]),
            Share(by_any[kind], total[kind]),
            Share(right[CORPUS_KINDS[kind]], passages[CORPUS_KINDS[kind]]),
        )
        for kind in CORPUS_KINDS
    ]


def measure_corpus_in_clinic(path: Path, *, seed: int = 0) -> list[Measured]:
    """Recall on the corpus's identities after they were planted into our clinical sentences."""
    values: dict[str, list[str]] = {kind: [] for kind in PLANTED_FROM_CORPUS}
    for row in _corpus(path):
        for kind, _, _, value in map(_span, row["spans"]):
            if kind in values and "\n" not in value and _is_whole(kind, value):
                values[kind].append(value)
    lines = []
    for kind, target in PLANTED_FROM_CORPUS.items():
        rows = planted.plant_values(target, values[kind], seed=seed)
        own, by_any = _recalls(rows, [scan_text(row.text) for row in rows])
        lines.append(Measured(f"{kind} in clinical text", own, by_any))
    return lines


def is_identifier(kind: str, value: str) -> bool:
    """Whether a span of the corpus is a Safe Harbor identifier.

    Years, days of the week, ages up to 89, states and countries are none.

    >>> is_identifier("DATE_TIME", "1977"), is_identifier("AGE", "93"), is_identifier("GPE", "Peru")
    (False, True, False)
    """
    if kind == "DATE_TIME":
        return not _WEEKDAY_OR_YEAR.fullmatch(value)
    if kind == "AGE":
        return value.strip().isdigit() and int(value) > 89
    if kind == "GPE":
        return (
            value.lower() != "nan" and len(value) > 2 and value.lower() not in gazetteer.regions()
        )
    return kind in CORPUS_KINDS


def measure_rows(folder: Path, adjudicated: Path | None) -> tuple[Alarms, list[tuple[str, str]]]:
    """False alarms over `input` and `target` of all JSON lines, and the flagged (row, identifier).

    A row is a false alarm if it is flagged and none of its identifiers is judged true. Names of
    clinicians and months without a day are judged as identifiers: a name of anybody and every
    element of a date but the year must go.
    """
    judged = _judgements(adjudicated)
    flagged: dict[str, set[str]] = {}
    n_rows = 0
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line)
            n_rows += 1
            texts = (row.get("input"), row.get("target"))
            if kinds := {f.identifier for text in texts if text for f in scan_text(text)}:
                flagged[row["id"]] = kinds
    pairs = sorted((row, kind) for row, kinds in flagged.items() for kind in kinds)
    verdicts = {row: {judged.get((row, kind)) for kind in kinds} for row, kinds in flagged.items()}
    alarms = Alarms(
        n_rows=n_rows,
        n_flagged=len(flagged),
        n_true=sum("true_identifier" in found for found in verdicts.values()),
        n_false=sum(found == {"false_alarm"} for found in verdicts.values()),
        n_unjudged=sum(judged.get(pair) is None for pair in pairs),
        n_false_pairs=sum(judged.get(pair) == "false_alarm" for pair in pairs),
    )
    return alarms, pairs


def _is_whole(kind: str, value: str) -> bool:
    """A name of two words, a street with its number: parts of one cannot stand alone in a note."""
    if kind == "PERSON":
        return " " in value
    is_street = re.search(r"[A-Za-z]", value) and re.search(r"[0-9]", value)
    return kind != "STREET_ADDRESS" or bool(is_street)


def _recalls(
    rows: Sequence[planted.Planted], found: Sequence[Sequence[Finding]]
) -> tuple[Share, Share]:
    own = by_any = 0
    for row, findings in zip(rows, found, strict=True):
        hits = {f.identifier for f in findings if f.start < row.end and f.end > row.start}
        own += row.identifier in hits
        by_any += bool(hits)
    return Share(own, len(rows)), Share(by_any, len(rows))


def _names_by_list(
    rows: Sequence[planted.Planted], found: Sequence[Sequence[Finding]]
) -> list[Measured]:
    """The line of names once more, for names in the gazetteers and names of which no word is."""
    parts: dict[str, list[int]] = {"name, listed": [], "name, in no list": []}
    for place, row in enumerate(rows):
        words = re.findall(r"[A-Za-z'-]{2,}", row.text[row.start : row.end])
        known = any(gazetteer.is_given(word) or gazetteer.is_surname(word) for word in words)
        parts["name, listed" if known else "name, in no list"].append(place)
    return [
        Measured(kind, *_recalls([rows[i] for i in places], [found[i] for i in places]))
        for kind, places in parts.items()
    ]


def _passages(
    findings: Sequence[Finding], truth: Sequence[tuple[str, int, int]]
) -> Iterator[tuple[str, bool]]:
    """Per identifier the passages that findings cover, and whether the truth meets them."""
    for identifier in sorted({f.identifier for f in findings}):
        merged: list[tuple[int, int]] = []
        for low, high in sorted((f.start, f.end) for f in findings if f.identifier == identifier):
            if merged and low < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        for low, high in merged:
            yield identifier, any(t == identifier and a < high and b > low for t, a, b in truth)


def _corpus(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    if not rows or not {"full_text", "spans"} <= set(rows[0]):
        raise ContractError(
            "the corpus has no texts with spans.",
            where=str(path),
            expected="a JSON list of objects with full_text and spans",
        )
    return rows


def _span(span: dict[str, Any]) -> tuple[str, int, int, str]:
    return span["entity_type"], span["start_position"], span["end_position"], span["entity_value"]


def _judgements(path: Path | None) -> dict[tuple[str, str], str]:
    if path is None:
        return {}
    with path.open(newline="") as lines:
        return {
            (row["row_id"], row["identifier"]): row["judgement"] for row in csv.DictReader(lines)
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables that were asked for; rows are named by id, never shown."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.experiments.deid.measure", description=__doc__
    )
    parser.add_argument("--planted", action="store_true", help="generated clinical text")
    parser.add_argument("--corpus", type=Path, help="JSON list with full_text and spans")
    parser.add_argument("--rows", type=Path, help="folder of JSON lines with id, input, target")
    parser.add_argument("--adjudicated", type=Path, help="CSV: row_id, identifier, judgement")
    parser.add_argument("--n", type=int, default=400, help="planted texts of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="keep the tables of recall as results")
    chosen = parser.parse_args(arguments)
    write = sys.stdout.write
    if chosen.keep:
        # the protocols name this file
        from tests.experiments.keep import keep_and_write

        commands = ["python -m tests.experiments.deid.measure --keep"]
        keep_and_write("deidentification_planted", recall_table.recall_tables(), commands)
    if chosen.planted:
        write(table("Planted clinical text", measure_planted(n=chosen.n, seed=chosen.seed)))
    if chosen.corpus:
        write(
            table(
                "Corpus (no identifiers: ORGANIZATION, TITLE, NRP)", measure_corpus(chosen.corpus)
            )
        )
        write(table("Its identities in clinical text", measure_corpus_in_clinic(chosen.corpus)))
    if chosen.rows:
        alarms, pairs = measure_rows(chosen.rows, chosen.adjudicated)
        write(
            f"\nClinical rows: {alarms.n_rows}; flagged {alarms.n_flagged}, with a true identifier "
            f"{alarms.n_true}\nfalse alarms: {Share(alarms.n_false, alarms.n_rows)}; hits judged "
            f"false {alarms.n_false_pairs}; hits without a judgement {alarms.n_unjudged}\n"
        )
        judged = _judgements(chosen.adjudicated)
        write(
            "".join(f"unjudged: {row},{kind}\n" for row, kind in pairs if (row, kind) not in judged)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

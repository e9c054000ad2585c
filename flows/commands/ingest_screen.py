"""The last screen of an ingest: what became of each file, and the next step that fits that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from catalog.intake.deliveries import arrived_late
from catalog.intake.preview import COUNTS
from catalog.intake.staged_files import shown_names
from catalog.queries.deliveries import batches_of_run
from catalog.readers.files import file_name
from flows.commands.last_screen import tell_end
from flows.commands.output import say, show_rows
from flows.runs.ledger import REFUSED
from flows.runs.run_record import Summary
from flows.workspace.lake_reads import open_lake_to_read
from flows.workspace.settings import Settings
from flows.workspace.workspace import Declarations, load_declarations

Row = dict[str, Any]


def show_ingest(settings: Settings, summary: Summary) -> None:
    """Print what came, on stdout; how the run ended and what to do next, on stderr."""
    with open_lake_to_read(settings) as lake:
        batches = batches_of_run(lake, summary.run_id)
    declared = load_declarations(settings)
    rows = _named(declared, batches)
    counted = [name for name in COUNTS if any(row[name] for row in rows)]
    columns = " ".join(["source", "file", "outcome", *counted, "reason"])
    show_rows(rows, as_json=False, title="new files", columns=columns)
    tell_end(summary)
    for line in _late(settings, declared, batches):
        say(line)
    say("next:")
    for line in _next(declared, batches, summary):
        say(f"  {line}")


def _named(declared: Declarations, batches: Sequence[Row]) -> list[Row]:
    """The batches by source with the names of their files, with folders where two agree."""
    rows = []
    for source, group in groupby(batches, key=itemgetter("source")):
        of_source = list(group)
        uris = [batch["file_uri"] for batch in of_source]
        contract = declared.contracts.get(source)
        names = shown_names(contract, uris) if contract else [*map(file_name, uris)]
        rows += [{**batch, "file": name} for batch, name in zip(of_source, names, strict=True)]
    return rows


def _late(settings: Settings, declared: Declarations, batches: Sequence[Row]) -> Iterator[str]:
    """What came after a file that follows it by name, where no contract says which counts."""
    replacing = {batch["source"] for batch in batches if batch["n_superseding"]}
    if not replacing:
        return
    with open_lake_to_read(settings) as lake:
        for source in sorted(replacing & set(declared.contracts)):
            ids = [batch["batch_id"] for batch in batches if batch["source"] == source]
            for name, n_rows in arrived_late(lake, declared.contracts[source], ids).items():
                rows = "1 row" if n_rows == 1 else f"{n_rows} rows"
                yield (
                    f"NOTE {source}: {name} replaced {rows} of a file that comes after it by name;"
                    f" say in sources/{source}.yaml which counts (files.order)"
                )


def _next(declared: Declarations, batches: Sequence[Row], summary: Summary) -> Iterator[str]:
    """The steps that fit what was ingested, the most urgent first."""
    refused = {batch["source"] for batch in batches if batch["outcome"] == "refused"}
    refused |= {alert.subject for alert in summary.alerts if alert.kind == REFUSED}
    known = {*declared.contracts, *declared.faulty}
    failed = {fault.unit for fault in summary.faults} & known
    for source in sorted(refused):
        yield f"rpe source findings {source}   # the rows of the refused files, by rule"
    for source in sorted(failed | refused):
        yield f"rpe source check {source}   # after the correction: what ingest would do"
    aside = {batch["source"] for batch in batches if batch["n_quarantined"]} - refused
    for source in sorted(aside):
        yield f"rpe source findings {source}   # which rows were set aside, and by which rule"
    for source in sorted(known - set(declared.plan.sources)):
        yield f"name {source} in plan.yaml, as a reference or a target: it was not ingested"
    if any(batch["n_accepted"] for batch in batches):
        yield "rpe nightly   # embed, train and evaluate what has come"
    elif not batches and not failed and not refused:
        yield "rpe source list   # there was no new file; this is what has landed"

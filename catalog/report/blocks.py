"""The blocks of the report as tables: what was decided, what stands, sources, costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from catalog.report import words
from catalog.report.tables import (
    Cell,
    Table,
    code,
    count_of,
    duration,
    in_words,
    moment,
    number,
    plain,
    size,
    strong,
    tag,
    text_cell,
    to_the_second,
)

Row = Mapping[str, Any]
_SIZES = ("peak_memory", "read", "written")


def decisions(rows: Sequence[Row], drawn: Collection[str]) -> Table:
    """What the gate decided tonight; `drawn` are the targets with a card of their own."""
    heads = ("target", "verdict", "challenger", "score", "against base", "against champion",
             "items", "what it means")  # fmt: skip
    return Table(
        "Differences are challenger minus baseline: the mean over groups with its interval by"
        " paired bootstrap, below it the mean over items and the groups that lost much. The"
        " interval describes; the gate decides by its own tests",
        heads,
        [
            (
                _linked(v["target"], drawn),
                tag(v["verdict"]),
                Cell(v["challenger"], note=in_words(v["evidence"])),
                plain(v["score"]),
                Cell(v["against_base"], note=_beside(v, "base")),
                Cell(v["against_champion"], note=_beside(v, "champion")),
                plain(v["n"]),
                text_cell(words.of_decision(v, served_by(v)), note=_more(v)),
            )
            for v in rows
        ],
    )


def standing_table(
    rows: Sequence[Row], drawn: Collection[str], pages: Mapping[str, str], *, versions: str
) -> Table:
    """Decisions of earlier nights that are in force, with since when.

    `pages` leads from runs to reports, `versions` to what is behind what serves.
    """
    heads = ("target", "served by", "last verdict", "since", "score", "why")
    return Table("In force, and not decided by the gate tonight", heads, [
        (
            _linked(v["target"], drawn),
            Cell(served_by(v), note=_since(v), href=versions if v["serves_version"] else ""),
            Cell(v["verdict"], "tag", note=_by(v)),
            Cell(
                moment(v.get("decided_at")).text,
                "time",
                href=pages.get(v.get("run_id", ""), ""),
            ),
            plain(v.get("score")),
            text_cell(words.of_verdict(v), note=_more(v)),
        )
        for v in rows
    ])  # fmt: skip


def spending_table(rows: Sequence[Row]) -> Table:
    """What each target's gate has used of its error budget, and what the next challenger needs."""
    heads = ("target", *words.SPENDING, "what it means")
    cells = [
        (
            strong(s["target_name"], note=in_words(s["evidence"])),
            plain(s["n_tried"]),
            Cell(_of_budget(s), "number"),
            number(s["next_level"], ".2g"),
            Cell(_of_bets(s), "number"),
            number(s["n_groups"], ",", note=f"{s['n_new_groups'] or 0:,} new"),
            number(s["n_lost"], ",", note=_of_loss(s)),
            text_cell(words.of_spending(s)),
        )
        for s in rows
    ]
    return Table("Error budgets by target and evidence", heads, cells, words.SPENDING)


def sources(rows: Sequence[Row], colours: Mapping[str, str], refused: Collection[str]) -> Table:
    """Health of every source, in words; `refused` are those with a refused file."""
    heads = ("source", "state", "last accepted", "rows", "quarantined", "files", "owner")
    return Table("Deliveries so far", heads, [
        (
            strong(s["source"], note=s["title"] or "", colour=colours.get(s["source"], "")),
            Cell(words.of_source(s, refused), "tag",
                 note=_age(s) if s["source"] not in refused else s["last_reason"] or ""),
            moment(s["last_accepted_at"]),
            Cell("" if s["n_rows"] is None else f"{s['n_rows']:,}", "number",
                 note="" if s["n_labelled"] is None else f"{s['n_labelled']:,} with a label"),
            Cell(f"{s['n_quarantined']:,}" if s["n_quarantined"] else "", "number",
                 note=f"{s['n_phi']:,} for identifiers" if s["n_phi"] else ""),
            Cell(f"{s['n_batches']:,}", "number",
                 note=f"{s['n_refused_batches']:,} refused" if s["n_refused_batches"] else ""),
            Cell(s["owner"] or "", note=f"licence {s['license']}" if s["license"] else ""),
        )
        for s in rows
    ])  # fmt: skip


def drifts(rows: Sequence[Row], colours: Mapping[str, str], drifting: Collection[str]) -> Table:
    """How far each source moved with its newest version; of `drifting` it is more than chance."""
    heads = ("source", "times noise", "distance", "noise", "rows", "what it means")
    ordered = sorted(rows, key=lambda row: -(row["noise_ratio"] or 0.0))
    return Table("How far the newest dataset versions moved", heads, [
        (
            strong(d["source"], note=f"as {d['role']}", colour=colours.get(d["source"], "")),
            number(d["noise_ratio"], ".2f"),
            number(d["distance"], note=f"standard error {d['standard_error']:.2g}"),
            number(d["noise"]),
            Cell(f"{d['n_items']:,}", "number", note=f"{d['n_former_items']:,} before"),
            text_cell(words.of_drift(d, is_alert=d["source"] in drifting)),
        )
        for d in ordered
    ])  # fmt: skip


def champions_table(rows: Sequence[Row], colours: Mapping[str, str]) -> Table:
    """What is behind each champion: adapters, dataset versions, files with hash and rows."""
    heads = ("model", "source", "weight", "dataset version", "file", "rows")
    return Table("From each served version to the files behind it", heads, [
        (
            strong(f"models:/{row['model_name']}/{row['model_version']}"),
            Cell(row["source"], colour=colours.get(row["source"], "")),
            number(row["weight"], ".3f"),
            code(row["dataset_version_id"] or ""),
            Cell((row["file_uri"] or "").rsplit("/", 1)[-1],
                 note=f"sha256 {row['file_sha256'][:12]}" if row["file_sha256"] else ""),
            Cell("" if row["n_rows"] is None else f"{row['n_rows']:,}", "number"),
        )
        for row in rows
    ])  # fmt: skip


def costs(steps: Sequence[Row]) -> Table:
    """What each step of the night did and cost."""
    heads = ("step", "done", "failed", "time", "processor time", "peak memory", "read", "written")
    return Table("Costs by step", heads, [
        (
            strong(s["name"]),
            plain(len(s["done"])),
            plain(", ".join(s["failed"])),
            plain(duration(s.get("wall_seconds", 0.0))),
            plain(duration(s.get("cpu_seconds", 0.0))),
            *(plain(size(s.get(f"{what}_bytes", 0))) for what in _SIZES),
        )
        for s in steps
    ])  # fmt: skip


def nights(rows: Sequence[Row], pages: Mapping[str, str]) -> Table:
    """Past nights, the newest first, each with its report where one was written."""
    heads = ("began", "outcome", "time", "rows delivered", "failed", "alerts")
    return Table("A night that finds nothing new writes no report", heads, [
        (
            Cell(moment(n["started_at"]).text, "strong", href=pages.get(n["run_id"], ""),
                 note=n["run_id"]),
            tag(n["outcome"]),
            plain(duration(n["wall_seconds"])),
            plain(f"{n['n_rows'] or 0:,}"),
            plain(n["n_faults"] or ""),
            plain(n["n_alerts"] or ""),
        )
        for n in rows
    ])  # fmt: skip


def anchor(target: str) -> str:
    """Where a target's card stands in the page."""
    return f"target-{target}"


def served_by(verdict: Row) -> str:
    """What answers for a target, in few words."""
    version = verdict["serves_version"]
    return f"Version {version}" if version else "The base"


def _more(verdict: Row) -> str:
    """The reasons without those whose numbers stand beside them."""
    beside = ("Wins", "Ties", "Loses", "There is no champion", "There was no champion")
    lines = str(verdict["reason"]).split("\n")
    is_told = [line.startswith(beside) or words.is_of_losses(line) for line in lines]
    return words.reason_text(
        "\n".join(line for line, is_beside in zip(lines, is_told, strict=True) if not is_beside)
    )


def _beside(verdict: Row, against: str) -> str:
    """The other mean and the losses against base or champion."""
    parts = (verdict[f"{against}_items"], verdict[f"{against}_losses"])
    return words.reason_text("; ".join(part for part in parts if part))


def _linked(target: str, drawn: Collection[str]) -> Cell:
    """A target, leading to its card where one is drawn."""
    return strong(target, href=f"#{anchor(target)}" if target in drawn else "")


def _by(verdict: Row) -> str:
    by = verdict.get("decided_by", "gate")
    return "" if by == "gate" else f"by {by}"


def _since(verdict: Row) -> str:
    at, by = verdict["serves_since"], verdict["serves_by"]
    return "" if at is None else f"since {to_the_second(at)}, by {by}"


def _of_budget(row: Row) -> str:
    if row["spent"] is None:
        return ""
    return f"{row['spent']:.3g} of {row['spent'] + row['unspent']:.3g}"


def _of_bets(row: Row) -> str:
    if row["wealth"] is None or row["wealth_asked"] is None:  # a verdict from before bets
        return ""
    worth = "over 1,000" if row["wealth"] > 1000 else f"{row['wealth']:.3g}"
    return f"{worth} of {row['wealth_asked']:.3g}"


def _of_loss(row: Row) -> str:
    """What the groups lost that are counted, and how many may."""
    if row["n_lost"] is None:
        return ""
    allowed = "" if row["loss_share"] is None else f", {row['loss_share']:.1%} allowed"
    return f"more than {row['loss_size']:g} each; at most {row['loss_upper']:.1%} of all{allowed}"


def _age(row: Row) -> str:
    if row["age_days"] is None:
        return ""
    limit = ", no limit is set"
    if row["max_age_days"] is not None:
        limit = f", {count_of(row['max_age_days'], 'day')} allowed"
    age = "less than a day" if row["age_days"] < 1 else f"{row['age_days']:.1f} days"
    return f"{age} old{limit}"

"""The report: one static HTML file, no server, no script, no network, readable at phone width."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from catalog.report import archive, blocks, queries, words
from catalog.report.facts import read_facts
from catalog.report.tables import count_of, duration, size, to_the_second
from catalog.stores.lake.lake import Lake
from catalog.stores.vectors.vectors import Vectors

LISTED = 14  # nights that the page lists; the archive has them all
Row = Mapping[str, Any]


def write_report(
    lake: Lake, vectors: Vectors, file: Path, *, targets: Sequence[str], min_groups: int
) -> None:
    """Write the page from the lake, whole or not at all; it maps z of `min_groups` or more.

    The page tells of the newest run that found something to do. It is kept a second time under
    `nights/`, once; a page that lies there is never written again.
    """
    template, run = _environment().get_template, queries.read_last_run(lake)
    facts = read_facts(lake, vectors, run or {}, targets, min_groups)
    folder, pages = file.parent / archive.FOLDER, archive.pages_of(file)
    if run and run["run_id"] not in pages:
        html = template("page.html").render(facts | _placed(lake, facts, pages, is_newest=False))
        archive.write_page(folder / archive.page_name(run), html)
        pages = archive.pages_of(file)
    if pages:
        listed = blocks.nights(queries.read_runs(lake, runs=list(pages)), pages)
        archive.write_page(folder / archive.LIST, template("nights.html").render(nights=listed))
    html = template("page.html").render(facts | _placed(lake, facts, pages, is_newest=True))
    archive.write_page(file, html)


def render_newest(
    lake: Lake, vectors: Vectors, file: Path, *, targets: Sequence[str], min_groups: int
) -> str:
    """The newest page as `write_report` would write it to a file, and nothing is written."""
    run, pages = queries.read_last_run(lake), archive.pages_of(file)
    facts = read_facts(lake, vectors, run or {}, targets, min_groups)
    placed = _placed(lake, facts, pages, is_newest=True)
    return _environment().get_template("page.html").render(facts | placed)


def is_written(lake: Lake, file: Path) -> bool:
    """Whether the newest run that found something to do has its report."""
    run = queries.read_last_run(lake)
    return file.exists() and (run is None or run["run_id"] in archive.pages_of(file))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("catalog.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"coded": _coded, "explained": _explained}
    environment.globals.update(at=to_the_second, counted=count_of, duration=duration, size=size)
    return environment


def _coded(text: str) -> Markup:
    """A text in which what stands between backticks is a command."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _explained(text: str) -> Markup:
    """A text with commands, in which the terms of the guards say at the pointer what they mean."""
    html = str(_coded(text))
    for term, sentence in words.terms_in(html).items():
        html = html.replace(term, f'<abbr title="{escape(sentence)}">{term}</abbr>')
    return Markup(html)  # noqa: S704


def _placed(
    lake: Lake, facts: Mapping[str, Any], pages: Mapping[str, str], *, is_newest: bool
) -> dict[str, Any]:
    """What of a page depends on where it lies: links to other reports, and tables with them."""
    prefix = f"{archive.FOLDER}/" if is_newest else ""
    own = facts["run"].get("run_id", "")
    there = {run_id: prefix + name for run_id, name in pages.items()}
    before = [name for run_id, name in there.items() if run_id != own]
    nights = queries.read_nights(lake)
    text = "Each report is kept as it was written."
    if len(nights) > LISTED:
        text += f" These are the last {LISTED} of {len(nights):,} nights."
    standing, versions = facts["before"], "#served" if facts["served"] else ""
    return {
        "newer": "" if is_newest else f"../{archive.NEWEST}",
        "previous": before[-1] if before else "",
        "all_nights": f"{prefix}{archive.LIST}" if own else "",
        "standing": blocks.standing_table(standing, facts["drawn"], there, versions=versions)
        if standing
        else None,
        "nights": blocks.nights(nights[:LISTED], there) if nights else None,
        "nights_told": text,
    }

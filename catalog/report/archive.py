"""Past reports: each lies in a file of its own beside the newest, named by its run and its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from catalog.stores.disk import disk_errors, write_whole
from rpe_core.regular_files import read_regular

FOLDER = "nights"
NEWEST = LIST = "index.html"
_STAMP = "%Y-%m-%dT%H%M%SZ"


def page_name(run: Mapping[str, Any]) -> str:
    """The file of a run's report: by the time at which it ended, so that names sort by time.

    >>> at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    >>> page_name({"run_id": "run:night@0123456789ab", "ended_at": at})
    '2026-01-02T030405Z-night-0123456789ab.html'
    """
    flow, sha12 = run["run_id"].removeprefix("run:").rsplit("@", 1)
    return f"{run['ended_at'].astimezone(UTC):{_STAMP}}-{flow}-{sha12}.html"


def pages_of(report: Path) -> dict[str, str]:
    """Run -> the name of its report in the archive beside the newest one, in order of time."""
    names = sorted(path.name for path in (report.parent / FOLDER).glob("*Z-*-*.html"))
    return {_run_of(name): name for name in names}


def erase_pages(report: Path, *, names: Collection[str], since: datetime | None) -> None:
    """Remove every report that could know of withdrawn data, and those that list them.

    Args:
        report: the newest report, beside which the others lie.
        names: a report that holds one of these words goes.
        since: so does whatever was written from then on: scores, weights and the map of those
            nights were computed with the data; None where they never came in.
    """
    folder, sought = report.parent / FOLDER, [name.encode() for name in names]
    with disk_errors("the reports", folder):
        report.unlink(missing_ok=True)
        (folder / LIST).unlink(missing_ok=True)
        for part in (*report.parent.glob("*.part"), *folder.glob("*.part")):
            part.unlink(missing_ok=True)
        for name in pages_of(report).values():
            path = folder / name
            is_later = since is not None and _ended(name) >= since.replace(microsecond=0)
            if is_later or _holds(path, sought):
                path.unlink(missing_ok=True)


def write_page(path: Path, html: str) -> None:
    """Write a page whole or not at all."""
    with disk_errors("the report", path), write_whole(path) as part:
        part.write_text(html)


def _holds(path: Path, sought: Collection[bytes]) -> bool:
    content = read_regular(path)
    return any(word in content for word in sought)


def _ended(name: str) -> datetime:
    return datetime.strptime(name.split("Z-")[0] + "Z", _STAMP).replace(tzinfo=UTC)


def _run_of(name: str) -> str:
    flow, sha12 = name.removesuffix(".html").split("Z-", 1)[1].rsplit("-", 1)
    return f"run:{flow}@{sha12}"

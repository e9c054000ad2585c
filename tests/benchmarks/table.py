"""The Markdown table of what the benchmarks keep as JSON lines: newest results, targets met."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

Entry = dict[str, Any]  # a line: row, date, machine, versions, and results or an error

HEAD = ("work", "ours", "peer", "ratio", "target", "met")
_BOUND = re.compile(r"\s*(>=|<=)?\s*([0-9.]+)")


def newest(entries: Iterable[Entry]) -> list[Entry]:
    """The last entry of each row, in the order in which rows came first."""
    last: dict[str, Entry] = {}
    for entry in entries:
        last[entry["row"]] = entry
    return list(last.values())


def markdown(entries: Iterable[Entry]) -> str:
    """One line per result, failures too, and below each day and machine that measured them."""
    entries = list(entries)
    lines = [_line(HEAD), "|---|---:|---:|---:|---|---|"]
    for entry in entries:
        lines += [_line(cells(result)) for result in entry.get("results", [])]
        if "error" in entry:
            lines.append(_line((entry["row"], "failed", "", "", "", entry["error"].split(":")[0])))
    return "\n".join([*lines, "", *dict.fromkeys(map(_origin, entries))])


def cells(result: Entry) -> tuple[str, ...]:
    """What the table shows of a result; one from before numbers were kept holds its own texts."""
    if "as_text" in result:
        return tuple(result["as_text"][name] for name in HEAD)
    target, met = result["target"], is_met(result)
    return (
        result["work"],
        seconds(result["ours_seconds"]),
        f"{seconds(result['peer_seconds'])} ({result['peer']})",
        f"{result['ratio']:.3g}" if result["ratio"] < 1000 else f"{result['ratio']:,.0f}",
        target if isinstance(target, str) else f">= {target:g}",
        "not stated" if met is None else "yes" if met else "no",
    )


def is_met(result: Entry) -> bool | None:
    """Whether the ratio keeps the target's bound, unless the row itself says; None without one.

    A bare number is a least ratio. A row whose target asks for more than its ratio sets `is_met`.
    """
    if "is_met" in result:
        return bool(result["is_met"])
    bound = _BOUND.match(str(result["target"]))
    if bound is None:
        return None
    sign, limit = bound.groups()
    return bool(
        result["ratio"] <= float(limit) if sign == "<=" else result["ratio"] >= float(limit)
    )


def seconds(value: float) -> str:
    """A time with three digits, in the unit that reads best.

    >>> seconds(0.01234), seconds(75.04), seconds(0.0000123)
    ('12.3 ms', '75 s', '12.3 us')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size or unit == "us":
            return f"{value / size:.3g} {unit}" if value < 1000 else f"{value:,.0f} s"
    return ""


def _line(parts: Sequence[str]) -> str:
    return "| " + " | ".join(part.replace("|", "\\|") for part in parts) + " |"


def _origin(entry: Entry) -> str:
    machine = entry["machine"]
    return f"{entry['date'][:10]}, {machine['cpu']}, {machine['cores']} cores"

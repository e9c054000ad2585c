"""What the experiments share: run the night of a workspace, tell arms by target as Markdown."""

import sys
from collections.abc import Sequence
from pathlib import Path

from flows.nightly import run_night
from flows.reading import read_rows_of
from flows.settings import Settings


def run_and_tell(home: Path, sources: Sequence[str], arms: Sequence[str], *, metric: str) -> int:
    """Run the night and print its faults, the table and how it ended; the exit code."""
    settings = Settings(home=home)
    summary = run_night(settings)
    for fault in summary.faults:
        print(fault, file=sys.stderr)
    rows = read_rows_of(
        settings,
        "SELECT target_name, arm, value, ci_low, ci_high, n_items FROM mart.leaderboard"
        " WHERE metric = ? ORDER BY target_name, arm",
        [metric],
    )
    print(table(rows, sources, arms))
    print(f"{summary.outcome} in {summary.wall_seconds:.0f} s; report: {summary.report}")
    return summary.exit_code


def table(rows: Sequence[dict], sources: Sequence[str], arms: Sequence[str]) -> str:
    """Arms by target, each with its interval, the mean over targets last."""
    cells = {(r["target_name"], r["arm"]): r for r in rows}
    lines = ["| target | n | " + " | ".join(arms) + " |", "|---" * (len(arms) + 2) + "|"]
    for source in sources:
        found = [cells.get((source, arm)) for arm in arms]
        n = found[0]["n_items"] if found[0] else 0
        shown = [
            f"{r['value']:.3f} [{r['ci_low']:.3f}, {r['ci_high']:.3f}]" if r else "-" for r in found
        ]
        lines.append(f"| {source} | {n} | " + " | ".join(shown) + " |")
    means = [[cells[s, a]["value"] for s in sources if (s, a) in cells] for a in arms]
    shown = [f"{sum(m) / len(m):.3f}" if len(m) == len(sources) else "-" for m in means]
    lines.append("| mean | | " + " | ".join(shown) + " |")
    return "\n".join(lines)

"""Replays of whole workspaces: every ensemble on record, on some number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from flows.targets.replay import replay
from flows.workspace.settings import Settings
from tests.lake_rows import read_rows_of


@contextmanager
def on_threads(n: int) -> Iterator[None]:
    """As many threads for torch and BLAS, as far as this stretch goes."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with threadpool_limits(n, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def outcomes(settings: Settings, *, threads: int) -> dict[str, dict[str, str]]:
    """Target and arm -> part -> what became of it, of every ensemble."""
    rows = read_rows_of(settings, "SELECT ensemble_id, target_name, strategy FROM core.ensembles")
    with on_threads(threads):
        return {
            f"{row['target_name']} {row['strategy']}": {
                part.part: f"{part.outcome}: {part.reason}" if part.reason else part.outcome
                for part in replay(settings, row["ensemble_id"])
            }
            for row in rows
        }


ALL_SAME = dict.fromkeys(("representation", "weights", "merge", "artifact"), "same")

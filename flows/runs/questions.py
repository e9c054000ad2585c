"""The workspace for a question: it may be one that is only read, and nothing is kept in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.runs.run_record import open_run
from flows.workspace.lake_reads import (
    require_current_lake,
)
from flows.workspace.settings import Settings
from flows.workspace.stores import open_to_look
from flows.workspace.workspace import Workspace, load_declarations


@contextmanager
def open_for_question(settings: Settings, *, as_of: datetime | None = None) -> Iterator[Workspace]:
    """The workspace for a question, about now or a moment: it may be one that is only read."""
    declared = load_declarations(settings)
    require_current_lake(settings)
    with open_to_look(settings, keeps_parts=True) as stores, TemporaryDirectory() as scratch:
        plan, contracts, run = declared.plan, declared.contracts, open_run("ask")
        yield Workspace(settings, plan, contracts, stores, run, as_of=as_of, scratch=Path(scratch))

"""Ingest: new files of each source into the lake, or into quarantine with a reason."""

from __future__ import annotations

from catalog.landing import ingest, pending_files
from flows.workspace import Workspace


def pending(workspace: Workspace) -> list[str]:
    """Sources of the plan with a file that was never held against their contract."""
    return [
        source
        for source in workspace.plan.sources
        if source in workspace.contracts
        and pending_files(workspace.stores.lake, workspace.contracts[source])
    ]


def make(workspace: Workspace, source: str) -> str | None:
    """Land every new file of a source in one transaction; the dataset version that stands after it.

    Raises:
        ContractViolated: if a batch was refused; the others have landed.
    """
    contract = workspace.contracts[source]
    return ingest(workspace.stores.lake, contract, run=workspace.run).dataset_version_id

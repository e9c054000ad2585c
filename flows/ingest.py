"""Ingest: new files of each source into the lake, or into quarantine with a reason."""

from __future__ import annotations

from catalog.deliveries import lying_files, pending_files
from catalog.landing import ingest
from flows.workspace import Workspace

LYING = "lying"  # in the memo of a run: source -> what lies at its place


def pending(workspace: Workspace) -> list[str]:
    """Sources of the plan with a file that was never held against their contract."""
    known = [source for source in workspace.plan.sources if source in workspace.contracts]
    contracts = [workspace.contracts[source] for source in known]
    lying = {contract.source: lying_files(contract) for contract in contracts}
    workspace.memo[LYING] = lying  # hashed once a run: what is refused is looked for there too
    files = pending_files(workspace.stores.lake, contracts, lying=lying)
    return [source for source in known if files[source]]


def make(workspace: Workspace, source: str) -> str | None:
    """Land every new file of a source in one transaction; the dataset version that stands after it.

    Raises:
        ContractViolated: if a batch was refused; the others have landed.
    """
    contract = workspace.contracts[source]
    return ingest(workspace.stores.lake, contract, run=workspace.run).dataset_version_id

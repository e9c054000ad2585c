"""Ingest: new files of each source into the lake, or into quarantine with a reason."""

from __future__ import annotations

from catalog.intake.deliveries import Lying, lying_files
from catalog.intake.extracts import bring_extract
from catalog.intake.landing import ingest
from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
from rpe_core.errors import RpeError

LYING = CacheSection[str, list[Lying]]("what lies at a source's place, once the step has looked")
ASKED = CacheSection[str, bool]("whether a source's database was asked")


def pending(workspace: Workspace) -> list[str]:
    """Sources of the plan with a file, or rows of a database, never held against their contract.

    A database that cannot be asked counts, so that `make` gets to say why.
    """
    known = [source for source in workspace.plan.sources if source in workspace.contracts]
    unread = {source for source in known if not _is_asked(workspace, source)}
    contracts = [workspace.contracts[source] for source in known]
    lying = lying_files(workspace.stores.lake, contracts)
    # hashed once a run: what is refused is looked for there too
    workspace.cache.known(LYING).update(lying)
    new = {source for source in known if any(file.is_pending for file in lying[source])}
    return [source for source in known if source in unread | new]


def make(workspace: Workspace, source: str) -> str | None:
    """Land every new file of a source in one transaction; the dataset version that stands after it.

    Raises:
        ContractViolated: if a batch was refused; the others have landed.
        StoreError, InputError: as `bring_extract`, of a database that cannot be asked.
    """
    _ask(workspace, source)
    contract = workspace.contracts[source]
    return ingest(workspace.stores.lake, contract, run=workspace.run).dataset_version_id


def _is_asked(workspace: Workspace, source: str) -> bool:
    try:
        _ask(workspace, source)
    except RpeError:
        return False
    return True


def _ask(workspace: Workspace, source: str) -> None:
    """Bring a new extract of a source that is a query, once a run; of none that is withdrawn."""
    asked = workspace.cache.known(ASKED)
    if source not in asked:
        bring_extract(workspace.stores.lake, workspace.contracts[source])
        asked[source] = True

"""Contracts as files of the workspace: find one, check it with its data, take a new one in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from catalog.contracts.contract import SourceContract
from catalog.contracts.load import load_contract
from catalog.errors import ContractInvalid, Fault
from catalog.intake import extracts
from catalog.intake.drafting import check_sample
from catalog.intake.preview import Forecast, foretell
from catalog.queries.deliveries import health_of_sources
from catalog.queries.withdrawn import withdrawn_sources
from catalog.stores.disk import disk_errors
from catalog.stores.rows import NothingYet, Rows
from catalog.validation.expectations import expectation_faults
from flows.workspace.lake_reads import has_lake, open_lake_to_read, require_lake
from flows.workspace.plan_file import load_plan
from flows.workspace.settings import Settings, require_workspace
from rpe_core.errors import InputError, UnknownName
from rpe_core.regular_files import read_regular

SAMPLE_ROWS = 1000  # of a query


def known_source(settings: Settings, source: str) -> str:
    """The name, if the workspace has a contract of it.

    Raises:
        UnknownName: with the known sources, nearest first.
    """
    require_workspace(settings)
    known = [path.stem for path in sorted(settings.sources_folder.glob("*.yaml"))]
    if source not in known:
        raise UnknownName("source", source, known, where=str(settings.sources_folder))
    return source


def check_contract(settings: Settings, source: str) -> Forecast:
    """What an ingest of the source would do now, held against what stands; nothing is changed.

    Raises:
        UnknownName: the workspace has no contract of this name.
        ContractInvalid: the contract has faults.
    """
    declared = load_contract(settings.sources_folder / f"{known_source(settings, source)}.yaml")
    with extracts.apart(
        extracts.with_extracts_below(declared, settings.extracts_folder)
    ) as contract:
        if not has_lake(settings):
            return _forecast(NothingYet(), contract)
        with open_lake_to_read(settings) as lake:
            return _forecast(lake, contract)


def _forecast(lake: Rows, contract: SourceContract) -> Forecast:
    extracts.bring_extract(lake, contract)
    return foretell(lake, contract)


def list_contracts(settings: Settings) -> list[dict[str, Any]]:
    """Every source with a contract here or on record: its state, its place in the plan, its rows.

    Raises:
        InputError: there is no workspace.
    """
    files = sorted(settings.sources_folder.glob("*.yaml"))
    if not files:
        require_lake(settings)
    health: dict[str, dict[str, Any]] = {}
    withdrawn: frozenset[str] = frozenset()
    if has_lake(settings):
        with open_lake_to_read(settings) as lake:
            health = {row["source"]: row for row in health_of_sources(lake)}
            withdrawn = withdrawn_sources(lake)
    roles = plan_roles(settings)
    known = {path.stem: path for path in files}
    return [
        {
            "source": source,
            "state": _state(health.get(source, {}), known.get(source), source in withdrawn),
            "in_plan": "not read" if roles is None else roles.get(source, "no"),
            "n_rows": 0,
            **{name: cell for name, cell in health.get(source, {}).items() if cell is not None},
        }
        for source in sorted({*known, *health})
    ]


def plan_roles(settings: Settings) -> dict[str, str] | None:
    """Source -> what the plan names it for; None where there is no plan that can be read."""
    if not settings.plan_file.is_file():
        return None
    names = [path.stem for path in settings.sources_folder.glob("*.yaml")]
    try:
        plan = load_plan(settings.plan_file, sources=names)
    except InputError:
        return None
    references = {source for reference in plan.references for source in reference.sources}
    targets = {target.source for target in plan.targets}
    return {
        source: " and ".join(
            role
            for role, named in (("reference", references), ("target", targets))
            if source in named
        )
        for source in plan.sources
    }


def _state(health: dict[str, Any], file: Path | None, is_withdrawn: bool) -> str:
    """Where a source stands, in words."""
    if is_withdrawn:
        return "withdrawn"
    if file is None:
        return "stands, its contract is gone" if health.get("n_rows") else "its contract is gone"
    try:
        load_contract(file)
    except ContractInvalid as error:
        return f"contract has {len(error.faults)} faults"
    if health.get("n_rows"):
        return "stands"
    return "refused" if health.get("last_outcome") == "refused" else "not ingested yet"


def add_contract(settings: Settings, file: Path) -> Path:
    """Take a contract into the workspace, if it and a sample of its data are right.

    Raises:
        ContractInvalid: with every fault of contract or sample.
        InputError: there is no workspace, the file is missing, or the name is taken.
    """
    require_workspace(settings)
    contract: SourceContract = load_contract(file)
    faults = _faults(contract)
    if faults:
        raise ContractInvalid(file.name, faults)
    kept = settings.sources_folder / f"{contract.source}.yaml"
    if kept.exists() and read_regular(kept) != read_regular(file):
        raise InputError(
            f"source {contract.source} is already there with another contract.",
            where=str(kept),
            remedy="edit that file, or choose another source name",
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not kept.exists():
        shutil.copyfile(file, kept)
    return kept


def _faults(contract: SourceContract) -> list[Fault]:
    """What its expectations and a sample of its data have against a contract."""
    with extracts.with_sampled_rows(contract, rows=SAMPLE_ROWS) as sampled:
        return [*expectation_faults(contract), *check_sample(sampled)]


def write_new(file: Path, text: str) -> None:
    """Write a file that is not there yet: a contract that someone filled in is never overwritten.

    Raises:
        InputError: if there is such a file.
        StoreError: if it cannot be written.
    """
    with disk_errors("the file to write", file):
        try:
            with file.open("x") as new_file:
                new_file.write(text)
        except FileExistsError:
            raise InputError(
                "There is such a file already.", where=str(file), remedy="choose another --out"
            ) from None

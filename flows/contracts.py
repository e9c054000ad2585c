"""Contracts as files of the workspace: find one, check it with its data, take a new one in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from catalog.contracts.contract import SourceContract
from catalog.contracts.load import load_contract
from catalog.drafting import check_sample
from catalog.errors import ContractInvalid, Fault
from catalog.stores.disk import disk_errors
from catalog.validation.expectations import expectation_faults
from flows.settings import Settings, require_workspace
from rpe_core.errors import InputError, UnknownName


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


def check_contract(settings: Settings, source: str) -> list[dict[str, Any]]:
    """What a sample of the data has against its contract: counts and names, no values."""
    path = settings.sources_folder / f"{known_source(settings, source)}.yaml"
    return [
        {"path": fault.path, "what": fault.what, "expected": fault.expected}
        for fault in _faults(load_contract(path))
    ]


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
    if kept.exists() and kept.read_bytes() != file.read_bytes():
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
    return [*expectation_faults(contract), *check_sample(contract)]


def write_new(file: Path, text: str) -> None:
    """Write a file that is not there yet: a contract that someone filled in is never overwritten.

    Raises:
        InputError: if there is such a file.
        StoreError: if it cannot be written.
    """
    with disk_errors("the file to write", file):
        try:
            with file.open("x") as place:
                place.write(text)
        except FileExistsError:
            raise InputError(
                "There is such a file already.", where=str(file), remedy="choose another --out"
            ) from None

"""Decisions of people: approve a pending challenger, give a target back its former champion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from catalog.integrity.version_files import Hashes
from catalog.records import promotion
from catalog.stores.registry.model_versions import ModelVersionRef
from catalog.stores.stores import Stores
from flows.runs.run_record import open_run
from flows.verification.sound_version import require_version
from flows.workspace.locking import hold_workspace
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from flows.workspace.workspace import load_declarations
from rpe_core.errors import InputError


def approve(settings: Settings, target: str, *, actor: str) -> str:
    """Let a pending challenger serve; the id of the promotion."""
    return _decide(settings, target, actor, promotion.approve, flow="promote")


def roll_back(settings: Settings, target: str, *, actor: str) -> str:
    """Give a target back the champion that it had before; the id of the promotion."""
    return _decide(settings, target, actor, promotion.roll_back, flow="rollback")


def _decide(
    settings: Settings, target: str, actor: str, decision: Callable[..., Any], *, flow: str
) -> str:
    load_declarations(settings).plan.target(target)
    if not actor.strip():
        raise InputError(
            "A decision needs the name of who decides.", expected="--actor NAME", where=target
        )
    with hold_workspace(settings), open_stores(settings) as stores:
        row = decision(stores, target, actor=actor, run=open_run(flow), require=_require_sound)
    return str(row["promotion_id"])


def _require_sound(stores: Stores, ref: ModelVersionRef) -> None:
    """Raise RecordConflict if a version that is to serve is damaged."""
    require_version(stores.lake, stores.registry, ref, hashes=Hashes())

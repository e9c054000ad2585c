"""Decisions of people: approve a pending challenger, give a target back its former champion."""

from __future__ import annotations

from catalog import promotion
from flows.locking import hold_workspace
from flows.run_record import open_run
from flows.settings import Settings
from flows.wiring import open_stores
from flows.workspace import load_declarations
from rpe_core.errors import InputError


def approve(settings: Settings, target: str, *, actor: str) -> str:
    """Let a pending challenger serve; the id of the promotion."""
    _require(settings, target, actor)
    with hold_workspace(settings):
        stores = open_stores(settings)
        try:
            row = promotion.approve(stores, target, actor=actor, run=open_run("promote"))
            return str(row["promotion_id"])
        finally:
            stores.lake.close()


def roll_back(settings: Settings, target: str, *, actor: str) -> str:
    """Give a target back the champion that it had before; the id of the promotion."""
    _require(settings, target, actor)
    with hold_workspace(settings):
        stores = open_stores(settings)
        try:
            row = promotion.roll_back(stores, target, actor=actor, run=open_run("rollback"))
            return str(row["promotion_id"])
        finally:
            stores.lake.close()


def _require(settings: Settings, target: str, actor: str) -> None:
    load_declarations(settings).plan.target(target)
    if not actor.strip():
        raise InputError(
            "A decision needs the name of who decides.", expected="--actor NAME", where=target
        )

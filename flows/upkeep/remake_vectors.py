"""Mending vectors: a dataset version is encoded again, and filed where z is what is on record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from catalog.integrity.damage import GONE, Damage
from catalog.lineage import source_of
from catalog.queries.adapters import adapter_ids_under, representation_ids_of
from catalog.queries.records import read_record
from catalog.queries.versions import is_data_standing
from catalog.records.cards import representation_row
from catalog.stores.lake.lake import Lake
from catalog.stores.vectors.files import STORE
from flows.steps import embed
from flows.verification.repair_parts import NotMended
from flows.workspace.representations import EmbedUnit
from flows.workspace.workspace import Workspace
from rpe_core.records import Representation

Row = dict[str, Any]
WRITTEN = "its table is written again from its rows"
FORETOLD = "encoded again, and filed where z is what is on record"
IMPORTED = "its z came with an adapter that was imported"
_EQUAL = 1e-9  # relative: sums of other libraries end in other digits, other data do not
_LOOSE = ("norm", "standard_error")


def is_of_file(damage: Damage) -> bool:
    """Whether a file of a table is damaged, and no vector by that alone."""
    return damage.where.startswith(f"{STORE}/")


def by_table(damages: Sequence[Damage]) -> list[Damage]:
    """The first damage of a file for each table."""
    files = [damage for damage in damages if is_of_file(damage)]
    return list({damage.ids: damage for damage in reversed(files)}.values())


def by_id(lake: Lake, damages: list[Damage]) -> list[tuple[str, Damage]]:
    """The representations that are to be filed again, each with the damage that counts."""
    named: dict[str, Damage] = {}
    damages = [damage for damage in damages if not is_of_file(damage)]
    for damage in sorted(damages, key=lambda damage: damage.what != GONE):  # what is changed counts
        named |= dict.fromkeys(_lost(lake, damage.ids), damage)
    return sorted(named.items())


def _lost(lake: Lake, ids: tuple[str, ...]) -> list[str]:
    """Of adapters the representations that they lie under."""
    named = {name for name in ids if name.startswith("representation:")}
    return sorted(named | representation_ids_of(lake, ids))


def mend(workspace: Workspace, representation_id: str, *, is_there: bool) -> str:
    """File a representation and the adapters under it; how its z was found.

    `is_there` says that no vector of it is another than was kept: only a filing of it is gone.

    Raises:
        NotMended: its z cannot be made, or is not the one on record.
    """
    row = read_record(workspace.stores.lake, representation_id)
    vectors = workspace.stores.vectors
    representation = _stored(workspace, row) if is_there else None
    how = "filed again under its adapters"
    if representation is None:
        representation, how = _made(workspace, row), "encoded again"
        vectors.delete([representation_id])
    adapter_ids = adapter_ids_under(workspace.stores.lake, representation_id)
    own: list[tuple[Representation, str | None]] = []
    if row["role"] == "target" or is_made_here(workspace.stores.lake, row):
        own = [(representation, None)]
    vectors.put_many([*own, *((representation, adapter_id) for adapter_id in adapter_ids)])
    return how


def _stored(workspace: Workspace, row: Row) -> Representation | None:
    """What lies in the store under the id, if it is what is on record."""
    representation_id = row["representation_id"]
    if representation_id not in workspace.stores.vectors.keys():  # noqa: SIM118 - a method of ours
        return None
    stored = workspace.stores.vectors.representation(representation_id)
    return stored if not _differs(stored, row) else None


def _made(workspace: Workspace, row: Row) -> Representation:
    """Z once more from the rows, under the base of the plan that is the encoder of then."""
    source = source_of(row["dataset_version_id"])
    if not is_made_here(workspace.stores.lake, row):
        raise NotMended(IMPORTED)
    if source not in workspace.contracts:
        raise NotMended(f"the workspace has no contract of {source}")
    names = [name for name in workspace.plan.bases if workspace.encoder(name) == row["encoder_id"]]
    if not names:
        raise NotMended("the plan has no base that is its encoder")
    unit = EmbedUnit(
        source, names[0], row["role"], row["dataset_version_id"], row["representation_id"]
    )
    made = embed.make(workspace, unit)
    if differing := _differs(made, row):
        raise NotMended(f"encoded again it has another {differing}: data or base are others")
    return made


def is_made_here(lake: Lake, row: Row) -> bool:
    """Whether its dataset version stands in this lake."""
    return is_data_standing(lake, row["dataset_version_id"])


def _differs(representation: Representation, row: Row) -> str:
    """The first column in which a representation is not what is on record; '' where none is."""
    if not np.isfinite([representation.z, representation.variance]).all():
        return "z"
    on_record = representation_row(representation)
    for name, value in on_record.items():
        was = row[name]
        if was is None or name in ("n_groups", "shares_json"):  # the lake alone holds them
            continue
        is_same = math.isclose(value, was, rel_tol=_EQUAL) if name in _LOOSE else value == was
        if not is_same:
            return name
    return ""

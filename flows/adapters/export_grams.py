"""Export of Gram matrices: what an adapter's modules were fed, for `rpe merge --method regmean`."""

from __future__ import annotations

import shutil
from pathlib import Path

from catalog.errors import RecordNotFound
from catalog.queries import current
from flows.library.donor_grams import gram_files
from flows.runs.questions import open_for_question
from flows.workspace.settings import Settings
from rpe_core.errors import InputError


def export_grams(settings: Settings, adapter_id: str, out: Path) -> Path:
    """Write the file of Gram matrices of an adapter; it holds sums over its training rows alone.

    Raises:
        RecordNotFound: no standing adapter has this id.
        InputError: it was imported, it was trained on fewer groups than the plan publishes, its
            base is not the plan's, or the place is taken.
    """
    if out.exists():
        raise InputError("The file's place is taken.", where=str(out), remedy="choose a new one")
    with open_for_question(settings) as workspace:
        row = current.adapters(workspace.stores.lake, [adapter_id]).get(adapter_id)
        if row is None or row["retracted_at"] is not None:
            raise RecordNotFound(
                "No standing adapter has this id.", remedy="`rpe adapters list` shows them"
            )
        names = [n for n, base in workspace.bases.items() if base.base_id == row["base_id"]]
        if not names:
            raise InputError("The plan has not the base of this adapter.", where=row["base_id"])
        (file,) = gram_files(workspace, names[0], [adapter_id])
        if file is None:
            least = workspace.plan.publishing.min_groups
            raise InputError(
                "This adapter has no Gram matrices to write.",
                where=adapter_id,
                expected=f"one that was trained here on at least {least} groups,"
                " by `publishing: min_groups` of plan.yaml",
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, out)
    return out

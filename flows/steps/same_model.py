"""Served: which version is a challenger's very model, whatever its ensemble is called.

An ensemble is named by what it was made from: data, candidates, strategy. Its model is what it
answers by, and the same one comes of other data and by other strategies.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from catalog.queries import current
from catalog.stores.registry.model_versions import ModelVersionRef, ref_of
from catalog.stores.served_model import read_config, served_sha256, served_task
from flows.steps.evaluate import Arm, EvaluateUnit
from flows.workspace.workspace import Workspace
from rpe_core.errors import RpeError

Row = dict[str, Any]


class ServedModels:
    """The versions of some targets, read in one question, to be compared with challengers."""

    def __init__(self, workspace: Workspace, targets: Sequence[str]) -> None:
        self._workspace = workspace
        lake = workspace.stores.lake
        self._versions = current.served_versions(lake, targets) if targets else []

    def twin(
        self, unit: EvaluateUnit, challenger: Arm, ensemble_ids: Collection[str]
    ) -> ModelVersionRef | None:
        """The version of one of these ensembles that is the very model of a challenger."""
        name, weights = unit.target.name, self._weights(challenger)
        for row in self._versions:
            is_asked = row["target_name"] == name and row["ensemble_id"] in ensemble_ids
            # weights first: most differ there, and nothing has to be read
            if is_asked and row["weights_sha256"] == weights:
                ref = ref_of(row)
                known = row["served_sha256"] or self._read(ref, row)
                if known == self._sha256(unit, challenger):
                    return ref
        return None

    def _weights(self, challenger: Arm) -> str:
        """The hash of a challenger's weights; '' of the base."""
        if not challenger.record_id:
            return ""
        return str(self._workspace.standing.ensembles[challenger.record_id]["weights_sha256"])

    def _sha256(self, unit: EvaluateUnit, challenger: Arm) -> str:
        """What a version of the challenger would answer by, under the plan and contract of now."""
        base, task = unit.target.base, unit.target.task
        folder = self._workspace.stores.artifacts.folder(challenger.artifact_sha256)
        config, declared = read_config(folder), served_task(base, task)
        return served_sha256(self._weights(challenger), config, base.sha256, declared)

    def _read(self, ref: ModelVersionRef, row: Row) -> str:
        """What an unrecorded version answers by, as its files say; '' without them."""
        registry = self._workspace.stores.registry
        try:
            files = [
                json.loads(registry.read(ref, f"artifacts/{file}"))
                for file in ("task.json", "adapter/adapter_config.json")
            ]
        except (RpeError, ValueError, OSError):
            return ""
        task, config = files
        return served_sha256(row["weights_sha256"], config, row["base_sha256"], task)

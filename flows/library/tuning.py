"""Tuning: parameters that say `loo`, chosen over a target's library and remembered with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flows.library.answers import LabelledRows, validation_rows
from flows.library.calibration import CalibrationSet
from flows.workspace.workspace import Workspace
from rpe_core.records import Candidate, StrategySpec
from rpe_core.weighting.strategies import LOO
from rpe_core.weighting.tuning import (
    MIN_REFERENCES,
    Alternative,
    Setting,
    Tuning,
    settings_of,
    tune_by_reconstruction,
    tune_by_scores,
)

MAX_SCORED = 16  # labelled references that are served for every setting; of more, spaced ones
Score = Callable[[Candidate, Setting, LabelledRows], float]


@dataclass(frozen=True)
class LabelledReference:
    """A reference of a library, and the rows that a setting is scored on."""

    reference: Candidate
    labelled: LabelledRows


def is_tuned(spec: StrategySpec, k: int | str) -> bool:
    """Whether anything about this strategy is to be chosen."""
    return k == LOO or LOO in spec.parameters.values()


def recorded_tuning(workspace: Workspace, ensemble_id: str) -> Tuning | None:
    """What was chosen when this ensemble was made, or None before."""
    row = workspace.standing.ensembles.get(ensemble_id)
    return read_tuning(row["parameters"]) if row else None


def read_tuning(parameters: str) -> Tuning | None:
    """What was chosen, as core.ensembles.parameters tells it; None where nothing was open."""
    tuning = json.loads(parameters).get("tuning")
    if tuning is None:
        return None
    tried = tuple(Alternative(**alternative) for alternative in tuning["alternatives"])
    return Tuning(tuning["criterion"], tuning["chosen"], tried)


def tune(
    workspace: Workspace,
    library: CalibrationSet,
    spec: StrategySpec,
    *,
    k: int | str,
    score: Score,
) -> Tuning:
    """Choose by the references' own scores; without enough labels by reconstruction or default.

    Every labelled reference is served from the others with every setting, and scored on its
    validation rows: `score(reference, setting, labelled)`, higher is better.
    """
    settings = settings_of(spec, k=k, n_references=len(set(library.sources)))
    scored = _labelled(workspace, library)
    if len(scored) < MIN_REFERENCES or len(settings) < 2:
        return tune_by_reconstruction(library.matrix, library.sources, spec, k=k)
    return tune_by_scores(
        [
            (setting, [score(entry.reference, setting, entry.labelled) for entry in scored])
            for setting in settings
        ]
    )


def _labelled(workspace: Workspace, library: CalibrationSet) -> list[LabelledReference]:
    labelled_references = []
    for reference in library.references:
        contract = workspace.contracts.get(reference.source)
        if contract is None:
            continue
        labelled = validation_rows(workspace, contract, reference.dataset_version_id)
        if len(labelled):
            labelled_references.append(LabelledReference(reference, labelled))
    return labelled_references[:: max(1, -(-len(labelled_references) // MAX_SCORED))]


def tuning_record(tuning: Tuning) -> dict[str, Any]:
    """The choice with its alternatives, as it stands in the ensemble's parameters."""
    return {
        "criterion": tuning.criterion,
        "chosen": dict(tuning.chosen),
        "alternatives": [
            {
                "setting": dict(alternative.setting),
                "value": alternative.value,
                "n_references": alternative.n_references,
            }
            for alternative in tuning.alternatives
        ],
    }

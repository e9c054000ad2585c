"""Trials: what the gate of a target was asked before, and what that leaves to the next one.

A lineage is a target, its source and the kind of evidence. All its trials count, whatever the
metric: the test set of a source only grows, and a larger one holds what was looked at before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from catalog.lineage import source_of
from catalog.queries import current
from flows.steps.evaluate import EvaluateUnit
from flows.workspace.workspace import Workspace
from rpe_core.evaluation.gates import GateHistory, GatePolicy, Trial
from rpe_core.evaluation.metrics import Floats
from rpe_core.evaluation.spending import level
from rpe_core.fingerprint import canonical_json
from rpe_core.records import Comparison

Row = dict[str, Any]


@dataclass(frozen=True)
class Trials:
    """Rows of core.comparisons that count as trials of one lineage, oldest first."""

    rows: Sequence[Row] = ()
    groups: frozenset[str] = field(default_factory=frozenset)  # that they used

    def past(
        self,
        challenger_id: str,
        compared: Mapping[str, Comparison],
        baseline_id: str,
        *,
        cap: float | None = None,
    ) -> GateHistory:
        """What stands before this challenger, and of bets against this baseline, scores so capped.

        `compared` is by the baseline's ensemble. The very same comparisons again (of a library that
        changed elsewhere) are no other chance: the challenger keeps its place.
        """
        places = [self._place(challenger_id, *entry) for entry in compared.items()]
        n_tried = max(places) - 1 if all(places) else max(self._numbers, default=0)
        asked = (baseline_id, compared[baseline_id].metric, cap)
        gains = [
            read_gains(row)
            for row in self.rows
            if (row["baseline_ensemble_id"], row["metric"], row["cap"]) == asked
        ]
        return GateHistory(
            n_tried, self.groups, np.sum([GateHistory().log_capitals, *gains], axis=0)
        )

    def _place(self, challenger_id: str, baseline_id: str, comparison: Comparison) -> int:
        """The number that the same comparison had when it was made first; 0 if it is new."""
        wanted = {
            **asdict(comparison),
            "ensemble_id": challenger_id,
            "baseline_ensemble_id": baseline_id,
        }
        same = (row for row in self.rows if wanted.items() <= row.items())
        return next((int(row["n_tried"]) for row in same), 0)

    @cached_property
    def _numbers(self) -> list[int]:
        return [int(row["n_tried"]) for row in self.rows]


def trials_of(workspace: Workspace, units: Sequence[EvaluateUnit]) -> list[Trials]:
    """What was tried of each target, in their order; two questions to the lake, or one more each.

    Only targets that were tried before ask for the groups that they used.
    """
    lake = workspace.stores.lake
    names = [unit.target.name for unit in units]
    rows = current.trials(lake, names)
    trials = []
    for unit in units:
        target, split = unit.target, unit.gate_split
        mine = [
            row
            for row in rows
            if (row["target_name"], row["evidence"]) == (target.name, unit.evidence)
            and source_of(row["dataset_version_id"]) == target.spec.source
        ]
        evaluations = sorted({row["evaluation_id"] for row in mine if row["evaluation_id"]})
        groups = current.groups_of(lake, evaluations, split) if evaluations else frozenset()
        trials.append(Trials(mine, groups))
    return trials


def read_gains(row: Row) -> Floats:
    """What a trial's bets gained; nothing of an older gate, whose bets proved something else.

    Its trials count all the same: as challengers that were tried, and as groups that were used.
    """
    none = GateHistory().log_capitals
    gains = np.asarray(json.loads(row["log_gains_json"]), dtype=np.float64)
    return gains if gains.shape == none.shape else none


def trial_row(policy: GatePolicy, trial: Trial) -> Row:
    """The columns of core.comparisons that say what a trial cost and what vouched for it."""
    n_tried = trial.n_tried
    return {
        "n_tried": n_tried,
        "level": level(n_tried, policy.budget) if n_tried else None,
        "p_value": trial.p_value if n_tried else None,
        "test": trial.test if n_tried else None,
        "n_new_groups": trial.n_new_groups,
        "wealth": trial.wealth,
        "wealth_asked": 1.0 / policy.budget,
        "log_gains_json": canonical_json(trial.log_gains.tolist()),
        "item_difference": trial.item_difference,
        "cap": policy.cap,
        "n_lost": trial.losses.n_lost,
        "loss_size": trial.losses.size,
        "loss_upper": trial.losses.upper,
        "loss_share": policy.max_loss.share if policy.max_loss else None,
        "n_groups_needed": trial.n_groups_needed,
    }

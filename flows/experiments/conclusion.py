"""Conclude: the last step of an experiment puts its tables on record in one commit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from catalog.queries import current
from catalog.queries.evaluations import has_experiment
from flows.runs.chunks import StepFailed
from flows.steps import evaluate
from flows.steps.evaluate import EvaluateUnit
from flows.steps.scoring import items_by_arm
from flows.workspace.workspace import Workspace
from rpe_core.evaluation.expectations import ExpectationFinding
from rpe_core.evaluation.metrics import Items, gate_metric
from rpe_core.fingerprint import canonical_json, fingerprint, make_id

Row = dict[str, Any]
Units = Mapping[str, EvaluateUnit]  # by name of the target


class ExperimentQuestion(Protocol):
    """What an experiment was asked."""

    @property
    def kind(self) -> str:
        """What sort of experiment it is."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources, sorted."""

    @property
    def base(self) -> str:
        """The base's name in the plan."""

    @property
    def declared(self) -> dict[str, Any]:
        """All that is asked, as plain values."""


@dataclass(frozen=True)
class Concluded:
    """The rows of an experiment by table."""

    tables: Mapping[str, Sequence[Row]]


class Experiment(ABC):
    """The evaluations of one protocol, and what follows from them."""

    def __init__(
        self,
        workspace: Workspace,
        protocol: ExperimentQuestion,
        *,
        recipe_id: str,
        made_of: Mapping[str, Any],
    ) -> None:
        self.workspace, self.kind, self.recipe_id = workspace, protocol.kind, recipe_id
        self.task_type = workspace.contracts[protocol.sources[0]].task.type
        self.metric = gate_metric("auto", self.task_type)
        self._asked, self._items = protocol, dict[str, dict[str, Items]]()
        base = workspace.bases[protocol.base]
        self.base_id = base.base_id
        made = {"protocol": protocol.declared, "base": base.sha256, **made_of}
        self.experiment_id = make_id("experiment", self.kind, fingerprint(made))

    def __str__(self) -> str:
        return self.kind

    @abstractmethod
    def tables(self) -> Mapping[str, Sequence[Row]]:
        """The rows of its own tables."""

    def conclude(self) -> Concluded:
        """All its rows."""
        filed = {"experiment_id": self.experiment_id}
        tables = {"experiments": [self._own_row()], **self.tables()}
        return Concluded(
            {name: [{**filed, **r} for r in table_rows] for name, table_rows in tables.items()}
        )

    def items(self, unit: EvaluateUnit) -> dict[str, Items]:
        """What each arm answered on the test rows of a target."""
        items = self._items.get(unit.evaluation_id)
        if items is None:
            rows = current.item_scores(self.workspace.stores.lake, unit.evaluation_id, "test")
            items = self._items[unit.evaluation_id] = items_by_arm(rows)
        return items

    def _own_row(self) -> Row:
        return {
            "run_id": self.workspace.run.run_id,
            "kind": self.kind,
            "sources_json": canonical_json(self._asked.sources),
            "base_id": self.base_id,
            "recipe_id": self.recipe_id,
            "task_type": self.task_type,
            "metric": self.metric,
            "protocol_json": canonical_json(self._asked.declared),
        }


class Conclusion:
    """The last step of an experiment: pending until all that it rests on is on record."""

    def __init__(self, make_experiment: Callable[[Workspace, Units], Experiment]) -> None:
        self._make_experiment = make_experiment
        self.experiment_id = ""  # known once every target is evaluated

    def pending(self, workspace: Workspace) -> list[Experiment]:
        """The experiment, unless it is on record.

        Raises:
            StepFailed: a target was not evaluated.
        """
        units = {unit.target.name: unit for unit in evaluate.units_of(workspace)}
        done = workspace.standing.evaluation_ids
        missing = [
            target.name
            for target in workspace.plan.targets
            if target.name not in units or units[target.name].evaluation_id not in done
        ]
        if missing:
            raise StepFailed(
                "Not every target of the experiment was evaluated.", where=", ".join(missing)
            )
        experiment = self._make_experiment(workspace, units)
        self.experiment_id = experiment.experiment_id
        is_done = has_experiment(workspace.stores.lake, self.experiment_id)
        return [] if is_done else [experiment]

    def make(self, workspace: Workspace, experiment: Experiment) -> Concluded:
        """All its rows."""
        return experiment.conclude()

    def keep(self, workspace: Workspace, made: Sequence[Concluded]) -> None:
        """Put them on record in one commit."""
        with workspace.stores.lake.transaction(message="conclude", run=workspace.run) as commit:
            for experiment in made:
                for table, rows in experiment.tables.items():
                    commit.insert_new(table, rows)


def finding_row(finding: ExpectationFinding, metric: str) -> Row:
    """A row of core.experiment_findings of a statement that a paired difference decides."""
    return {
        "finding": finding.name,
        "statement": finding.statement,
        "verdict": finding.verdict,
        "metric": metric,
        "quantity": "difference",
        "value": finding.difference,
        "ci_low": finding.low,
        "ci_high": finding.high,
        "p_value": None,
        "n": finding.n_items,
        "n_clusters": finding.n_groups,
        "details": finding.details,
    }

"""Named reads of experiments, and their tables as rows: for the report and for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from catalog.stores.lake.lake import Lake

Row = dict[str, Any]
MARKS = {"win": "+", "tie": "=", "loss": "-"}
_ORDER = ("base", "sft", "average", "nearest", "similarity", "linear", "linear_l1", "sft_ensemble")
_REFERENCE = "reference:"
METHODS = "adapter_methods"
COSTS = {  # quantity -> its heading, because its unit stands beside each value
    "n_parameters": "parameters",
    "rank": "rank",
    "train_seconds": "training",
    "peak_memory_bytes": "peak memory",
}
_FINDINGS = "FROM core.experiment_findings WHERE experiment_id = ? ORDER BY quantity, finding"


@dataclass(frozen=True)
class ExperimentTables:
    """One experiment as it is read: its row, and the rows of its tables."""

    views: ClassVar = ("experiment_scores", "experiment_weights", "experiment_transfer")
    experiment: Row
    scores: Sequence[Row]
    weights: Sequence[Row]
    transfer: Sequence[Row]
    findings: Sequence[Row]

    @property
    def rows(self) -> Sequence[Row]:
        """What a program is told first."""
        return self.scores

    @property
    def sources(self) -> list[str]:
        """The sources, each a target."""
        return list(json.loads(self.experiment["sources_json"]))

    @property
    def metrics(self) -> list[str]:
        """The metric that decides, then the others."""
        decides = self.experiment["metric"]
        others = sorted({row["metric"] for row in self.scores} - {decides})
        return [decides, *others]

    @property
    def arms(self) -> list[str]:
        """The arms that every target has: the paper's in its order, then the others by name."""
        arms = {row["arm"] for row in self.scores if not row["arm"].startswith(_REFERENCE)}
        own = [arm for arm in arms if arm not in _ORDER]
        return [arm for arm in _ORDER if arm in arms] + sorted(own)

    @property
    def distances(self) -> list[str]:
        """The distances that were measured."""
        return sorted({row["kind"] for row in self.transfer})

    def score_table(self, metric: str) -> list[Row]:
        """Targets by arms, each cell a row of scores; then the mean, then all items as one set."""
        cells = {(r["source"], r["arm"]): r for r in self.scores if r["metric"] == metric}
        table: list[Row] = [
            {"target": source, **_counts(cells.get((source, "base")))}
            | {arm: cells.get((source, arm)) for arm in self.arms}
            for source in self.sources
        ]
        mean: Row = {"target": "mean", **_counts(None)}
        for arm in self.arms:
            values = [row[arm]["value"] for row in table if row[arm]]
            mean[arm] = {"value": sum(values) / len(values)} if values else None
        pooled = {arm: cells.get(("", arm)) for arm in self.arms}
        return [*table, mean, {"target": "all items", **_counts(pooled["base"]), **pooled}]

    def weight_table(self) -> list[Row]:
        """Targets and arms by references: the weight of each, none where it did not enter."""
        cells: dict[tuple[str, str], Row] = {}
        for row in self.weights:
            cell = cells.setdefault((row["arm"], row["source"]), {})
            cell[row["reference"]] = row["weight"]
        arms = [arm for arm in self.arms if any(arm == a for a, _ in cells)]
        return [
            {"arm": arm, "target": source, **{s: cells[arm, source].get(s) for s in self.sources}}
            for arm in arms
            for source in self.sources
            if (arm, source) in cells
        ]

    def distance_table(self, kind: str) -> list[Row]:
        """Targets by references: a row of the transfer view each, none of a source to itself."""
        cells = {(r["source"], r["reference"]): r for r in self.transfer if r["kind"] == kind}
        return [{"target": a, **{b: cells.get((a, b)) for b in self.sources}} for a in self.sources]

    def nearest_table(self) -> list[Row]:
        """Per target the reference that each distance picks, with its score by itself."""
        picked = {(r["source"], r["kind"]): r for r in self.transfer if r["is_nearest"]}
        return [
            {"target": source, **{kind: picked.get((source, kind)) for kind in self.distances}}
            for source in self.sources
        ]


def _counts(row: Row | None) -> Row:
    return {"n": row and row["n_items"], "groups": row and row["n_groups"]}


@dataclass(frozen=True)
class MethodComparisonTable:
    """A comparison of adapter methods as it is read: its row, a row a quantity, its findings."""

    views: ClassVar = ("experiment_methods",)
    experiment: Row
    rows: Sequence[Row]
    findings: Sequence[Row]

    @property
    def sources(self) -> list[str]:
        """The sources."""
        return list(json.loads(self.experiment["sources_json"]))

    @property
    def asked(self) -> Row:
        """What was asked: `yardstick`, `n_parameters`, `recipes`, `strategies`, `seeds`."""
        return dict(json.loads(self.experiment["protocol_json"]))

    @property
    def columns(self) -> list[str]:
        """The quantities: scores first, then what they cost."""
        merged = [f"{name}{end}" for name in self.asked["strategies"] for end in ("", "_gap")]
        return ["own", "elsewhere", *merged, *COSTS]

    def table(self, source: str = "") -> list[Row]:
        """Methods by quantities, each cell a row; the one compared with first, then by name."""
        cells = {(r["method"], r["quantity"]): r for r in self.rows if r["source"] == source}
        yardstick = self.asked["yardstick"]
        methods = sorted({method for method, _ in cells}, key=lambda m: (m != yardstick, m))
        return [
            {
                "method": method,
                "r": self.asked["recipes"][method]["r"],
                **{name: cells.get((method, name)) for name in self.columns},
            }
            for method in methods
        ]


def newest_experiments(lake: Lake) -> list[str]:
    """The id of the newest experiment of each kind."""
    rows = lake.rows(
        "SELECT experiment_id FROM core.experiments WHERE retracted_at IS NULL"
        " QUALIFY row_number() OVER (PARTITION BY kind"
        " ORDER BY recorded_at DESC, experiment_id DESC) = 1 ORDER BY kind"
    )
    return [row["experiment_id"] for row in rows]


def read_experiment(lake: Lake, experiment_id: str) -> ExperimentTables | MethodComparisonTable:
    """All tables of an experiment that is on record."""

    def read(table: str) -> list[Row]:
        return lake.rows(f"FROM {table} WHERE experiment_id = ? ORDER BY ALL", [experiment_id])

    (experiment,) = read("core.experiments")
    if experiment["kind"] == METHODS:
        quantities = read("mart.experiment_methods")
        return MethodComparisonTable(experiment, quantities, lake.rows(_FINDINGS, [experiment_id]))
    return ExperimentTables(
        experiment,
        read("mart.experiment_scores"),
        read("mart.experiment_weights"),
        read("mart.experiment_transfer"),
        lake.rows(_FINDINGS, [experiment_id]),
    )


def score_text(cell: Mapping[str, Any] | None, *, with_interval: bool = False) -> str:
    """A score in few characters: value, interval, verdicts against base and against average.

    >>> score_text({"value": 0.5, "base_result": "win", "average_result": "tie"})
    '0.500 +='
    """
    if cell is None:
        return ""
    text = f"{cell['value']:.3f}"
    if with_interval and "ci_low" in cell:
        text += f" [{cell['ci_low']:.3f}, {cell['ci_high']:.3f}]"
    marks = [MARKS[cell[f"{b}_result"]] for b in ("base", "average") if f"{b}_result" in cell]
    return f"{text} {''.join(marks)}".rstrip()


def quantity_text(cell: Mapping[str, Any] | None, *, with_interval: bool = False) -> str:
    """A quantity in few characters: value, interval, verdict against the method compared with.

    >>> row = {"quantity": "own", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "result": "tie"}
    >>> quantity_text(row, with_interval=True)
    '0.500 [0.400, 0.600] ='
    >>> quantity_text({"quantity": "peak_memory_bytes", "value": 2.5e8, "result": ""})
    '250 MB'
    """
    if cell is None:
        return ""
    if cell["quantity"] in COSTS:
        if cell["value"] is None:
            return "not known"
        if cell["quantity"] == "peak_memory_bytes":
            return f"{cell['value'] / 1e6:.0f} MB"
        is_time = cell["quantity"] == "train_seconds"
        return f"{cell['value']:.1f} s" if is_time else f"{cell['value']:.0f}"
    sign = "+" if cell["quantity"] == "elsewhere" or cell["quantity"].endswith("_gap") else ""
    text = f"{cell['value']:{sign}.3f}"
    if with_interval:
        text += f" [{cell['ci_low']:{sign}.3f}, {cell['ci_high']:{sign}.3f}]"
    return f"{text} {MARKS.get(cell['result'], '')}".rstrip()


def heading_of(quantity: str) -> str:
    """What stands over a quantity.

    >>> heading_of("average_gap"), heading_of("peak_memory_bytes")
    ('average gap', 'peak memory')
    """
    return COSTS.get(quantity, quantity.replace("_", " "))


def finding_text(finding: Mapping[str, Any]) -> str:
    """The value of a finding with its interval, and p where there is one.

    >>> finding_text({"value": -0.5, "ci_low": -0.75, "ci_high": None, "p_value": 0.25})
    '-0.500 p = 0.25'
    """
    text = "" if finding["value"] is None else f"{finding['value']:+.3f}"
    if finding["ci_low"] is not None and finding["ci_high"] is not None:
        text += f" [{finding['ci_low']:+.3f}, {finding['ci_high']:+.3f}]"
    return text if finding["p_value"] is None else f"{text} p = {finding['p_value']:.2g}"

"""The comparison's tables: what each adapter method reaches, keeps, merges to and costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flows.experiments.conclusion import Experiment, Row, Units, finding_row
from flows.experiments.method_protocol import MethodProtocol
from flows.steps.scoring import BASE_ARM, CONFIDENCE, OWN_ARM, REFERENCE_ARM
from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.method_measures import (
    MeasuredItems,
    join_measured,
    mean_or_none,
    means_by_seed,
    seed_range,
)
from rpe_core.evaluation.method_statements import RULES, Compared, check_statements
from rpe_core.evaluation.metrics import Items
from rpe_core.merging.peft_folders import read_adapter

ALL = ""  # in the place of a source
RANKS = CacheSection[str, int]("sums of the ranks of adapters, by id")
Measured = Callable[[str, str, Sequence[int]], MeasuredItems]  # of a method, a source and seeds
NOT_COMPARED: Row = {
    **dict.fromkeys(("difference", "difference_ci_low", "difference_ci_high")),
    "result": "",
}


class MethodComparison(Experiment):
    """What follows from the evaluations of every method, seed and source."""

    def __init__(self, workspace: Workspace, protocol: MethodProtocol, units: Units) -> None:
        self.protocol, self.units = protocol, units
        made_of = {
            "evaluations": {name: unit.evaluation_id for name, unit in units.items()},
            "rules": RULES,
        }
        super().__init__(workspace, protocol, recipe_id="", made_of=made_of)

    def tables(self) -> Mapping[str, Sequence[Row]]:
        """A row for each method, source and quantity; what came of what was stated."""
        sources = (*self.protocol.sources, ALL)
        rows = [
            {"method": method, "source": source, "n_seeds": len(self.protocol.seeds), **row}
            for method in self.protocol.recipes
            for source in sources
            for row in (*self._scored(method, source), *self._cost(method, source))
        ]
        return {"experiment_methods": rows, "experiment_findings": list(self._findings())}

    def _answers(self, method: str, seed: int, source: str) -> dict[str, Items]:
        """The arms of a source as target of a method's adapters."""
        return self.items(self.units[self.protocol.target_name(method, seed, source)])

    def _elsewhere(self, method: str, source: str, seeds: Sequence[int]) -> MeasuredItems:
        """Adapters of a source (of each for ALL) on the rows of the others, against the base."""
        parts = []
        for seed in seeds:
            for other in self.protocol.sources:
                answers = self._answers(method, seed, other)
                references = [f"{REFERENCE_ARM}{s}" for s in self._of(source) if s != other]
                parts += [MeasuredItems(answers[name], answers[BASE_ARM]) for name in references]
        return join_measured(parts)

    def _arm(self, arm: str, baseline: str | None = None) -> Measured:
        """Of an arm on its own targets, against another one if it is told."""

        def measured(method: str, source: str, seeds: Sequence[int]) -> MeasuredItems:
            arms = [self._answers(method, seed, s) for seed in seeds for s in self._of(source)]
            return join_measured(
                [MeasuredItems(items[arm], items[baseline] if baseline else None) for items in arms]
            )

        return measured

    def _of(self, source: str) -> tuple[str, ...]:
        return self.protocol.sources if source == ALL else (source,)

    @property
    def _compared(self) -> dict[str, Measured]:
        merged = {name: self._arm(name) for name in self.protocol.strategies}
        return {"own": self._arm(OWN_ARM), "elsewhere": self._elsewhere, **merged}

    @property
    def _gaps(self) -> dict[str, Measured]:
        return {f"{name}_gap": self._arm(name, OWN_ARM) for name in self.protocol.strategies}

    def _scored(self, method: str, source: str) -> Iterator[Row]:
        seeds = self.protocol.seeds
        for quantity, measured in {**self._compared, **self._gaps}.items():
            mine = measured(method, source, seeds)
            by_seed = [measured(method, source, [seed]).value(self.metric) for seed in seeds]
            value, low, high = mine.interval(self.metric, confidence=CONFIDENCE)
            yield {
                "quantity": quantity,
                "value": value,
                "ci_low": low,
                "ci_high": high,
                **_seed_columns(by_seed),
                "n_items": mine.items.n_items,
                "n_groups": mine.items.n_groups,
                **(
                    self._versus(mine, measured, method, source)
                    if quantity in self._compared
                    else NOT_COMPARED
                ),
            }

    def _versus(self, mine: MeasuredItems, measured: Measured, method: str, source: str) -> Row:
        """The paired difference to the yardstick."""
        yardstick = self.protocol.yardstick
        if method == yardstick:
            return NOT_COMPARED
        other = measured(yardstick, source, self.protocol.seeds)
        comparison = compare(
            mine.items, other.items, self.metric, confidence=CONFIDENCE, mean_over="items"
        )
        return {
            "difference": comparison.difference,
            "difference_ci_low": comparison.ci_low,
            "difference_ci_high": comparison.ci_high,
            "result": comparison.result,
        }

    def _cost(self, method: str, source: str) -> Iterator[Row]:
        rows = [self._adapters(method, seed, source) for seed in self.protocol.seeds]
        for quantity in ("n_parameters", "rank", "train_seconds", "peak_memory_bytes"):
            by_seed = means_by_seed(
                [[row[quantity] for row in adapter_rows] for adapter_rows in rows]
            )
            yield {
                "quantity": quantity,
                "value": mean_or_none(by_seed),
                "ci_low": None,
                "ci_high": None,
                **_seed_columns(by_seed),
                "n_items": sum(map(len, rows)),
                "n_groups": 0,
                **NOT_COMPARED,
            }

    def _adapters(self, method: str, seed: int, source: str) -> list[dict[str, Any]]:
        """What the adapters of a seed took, with the sum of the ranks that are filed as `rank`."""
        names = [self.protocol.target_name(method, seed, s) for s in self._of(source)]
        chosen = [arm for name in names for arm in self.units[name].arms if arm.name == OWN_ARM]
        known = self.workspace.adapter_rows(arm.record_id for arm in chosen)
        return [{**row, "rank": self._rank(row)} for row in known.values()]

    def _rank(self, row: Mapping[str, Any]) -> int:
        artifacts, sha256 = self.workspace.stores.artifacts, row["artifact_sha256"]
        return self.workspace.cache.get(
            RANKS, row["adapter_id"], lambda: read_adapter(artifacts.folder(sha256)).total_rank
        )

    def _findings(self) -> Iterator[Row]:
        """What was stated before, and whether it holds."""
        seeds = self.protocol.seeds
        compared = {
            method: Compared(
                own=self._arm(OWN_ARM)(method, ALL, seeds).items,
                elsewhere=self._elsewhere(method, ALL, seeds).items,
                open_share=self._open_share(method),
            )
            for method in self.protocol.recipes
        }
        for finding in check_statements(compared, self.metric, confidence=CONFIDENCE):
            yield finding_row(finding, self.metric)

    def _open_share(self, method: str) -> float | None:
        """The mean share of ranks that training left open; none where none can be closed."""
        shares = []
        for seed in self.protocol.seeds:
            for row in self._adapters(method, seed, ALL):
                folder = self.workspace.stores.artifacts.folder(row["artifact_sha256"])
                last = json.loads((folder / "training.json").read_text())["epochs"][-1]
                if "rank_at_most" in last:
                    shares.append(last["rank"] / last["rank_at_most"])
        return mean_or_none(shares)


def _seed_columns(by_seed: Sequence[float]) -> Row:
    seeds = seed_range(by_seed)
    return {"seed_low": seeds.low, "seed_high": seeds.high}

"""The comparison's tables: what each adapter method reaches, keeps, merges to and costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flows.experiments.conclusion import Experiment, Row, Units, finding_row
from flows.experiments.method_protocol import MethodProtocol
from flows.steps.scoring import BASE_ARM, CONFIDENCE, OWN_ARM, REFERENCE_ARM
from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
from rpe_core.evaluation.bootstrap import score_interval
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.method_statements import RULES, Compared, check_statements
from rpe_core.evaluation.metrics import Items, find_metric, pool
from rpe_core.merging.folders import read_adapter

ALL = ""  # in the place of a source
RANKS = CacheSection[str, int]("sums of the ranks of adapters, by id")
Pair = tuple[Items, Items | None]  # what was answered, and what it is measured against
Pairs = Callable[[str, str, Sequence[int]], Pair]  # of a method, a source and seeds
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

    def _elsewhere(self, method: str, source: str, seeds: Sequence[int]) -> Pair:
        """Adapters of a source (of each for ALL) on the rows of the others, against the base."""
        parts = []
        for seed in seeds:
            for other in self.protocol.sources:
                found = self._answers(method, seed, other)
                references = [f"{REFERENCE_ARM}{s}" for s in self._of(source) if s != other]
                parts += [(found[reference], found[BASE_ARM]) for reference in references]
        return _joined(parts)

    def _arm(self, arm: str, baseline: str | None = None) -> Pairs:
        """Of an arm on its own targets, against another one if it is told."""

        def pairs(method: str, source: str, seeds: Sequence[int]) -> Pair:
            found = [self._answers(method, seed, s) for seed in seeds for s in self._of(source)]
            return _joined([(one[arm], one[baseline] if baseline else None) for one in found])

        return pairs

    def _of(self, source: str) -> tuple[str, ...]:
        return self.protocol.sources if source == ALL else (source,)

    @property
    def _compared(self) -> dict[str, Pairs]:
        merged = {name: self._arm(name) for name in self.protocol.strategies}
        return {"own": self._arm(OWN_ARM), "elsewhere": self._elsewhere, **merged}

    @property
    def _gaps(self) -> dict[str, Pairs]:
        return {f"{name}_gap": self._arm(name, OWN_ARM) for name in self.protocol.strategies}

    def _scored(self, method: str, source: str) -> Iterator[Row]:
        seeds = self.protocol.seeds
        for quantity, pairs in {**self._compared, **self._gaps}.items():
            mine = pairs(method, source, seeds)
            by_seed = [_value(pairs(method, source, [seed]), self.metric) for seed in seeds]
            yield {
                "quantity": quantity,
                **_interval(mine, self.metric),
                **_spread(by_seed),
                "n_items": mine[0].n_items,
                "n_groups": mine[0].n_groups,
                **(
                    self._versus(mine, pairs, method, source)
                    if quantity in self._compared
                    else NOT_COMPARED
                ),
            }

    def _versus(self, mine: Pair, pairs: Pairs, method: str, source: str) -> Row:
        """The paired difference to the yardstick."""
        yardstick = self.protocol.yardstick
        if method == yardstick:
            return NOT_COMPARED
        other = pairs(yardstick, source, self.protocol.seeds)
        found = compare(mine[0], other[0], self.metric, confidence=CONFIDENCE, mean_over="items")
        return {
            "difference": found.difference,
            "difference_ci_low": found.ci_low,
            "difference_ci_high": found.ci_high,
            "result": found.result,
        }

    def _cost(self, method: str, source: str) -> Iterator[Row]:
        rows = [self._adapters(method, seed, source) for seed in self.protocol.seeds]
        for quantity in ("n_parameters", "rank", "train_seconds", "peak_memory_bytes"):
            is_known = all(row[quantity] is not None for found in rows for row in found)
            by_seed = [
                float(np.mean([row[quantity] for row in found])) for found in rows if is_known
            ]
            yield {
                "quantity": quantity,
                "value": float(np.mean(by_seed)) if is_known else None,
                "ci_low": None,
                "ci_high": None,
                **_spread(by_seed),
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
        found = {
            method: Compared(
                own=self._arm(OWN_ARM)(method, ALL, seeds)[0],
                elsewhere=self._elsewhere(method, ALL, seeds)[0],
                open_share=self._open_share(method),
            )
            for method in self.protocol.recipes
        }
        for one in check_statements(found, self.metric, confidence=CONFIDENCE):
            yield finding_row(one, self.metric)

    def _open_share(self, method: str) -> float | None:
        """The mean share of ranks that training left open; none where none can be closed."""
        shares = []
        for seed in self.protocol.seeds:
            for row in self._adapters(method, seed, ALL):
                folder = self.workspace.stores.artifacts.folder(row["artifact_sha256"])
                last = json.loads((folder / "training.json").read_text())["epochs"][-1]
                if "rank_at_most" in last:
                    shares.append(last["rank"] / last["rank_at_most"])
        return float(np.mean(shares)) if shares else None


def _joined(parts: Sequence[Pair]) -> Pair:
    """Pairs as one: an item is there once for each seed and adapter, in its own group."""
    baselines = [baseline for _, baseline in parts if baseline is not None]
    return pool([items for items, _ in parts]), pool(baselines) if baselines else None


def _value(pair: Pair, metric: str) -> float:
    items, baseline = pair
    found = find_metric(metric)
    return found.value(items) - (found.value(baseline) if baseline else 0.0)


def _interval(pair: Pair, metric: str) -> Row:
    items, baseline = pair
    if baseline is None:
        value, low, high = score_interval(items, metric, confidence=CONFIDENCE, seed=0)
    else:
        told = compare(items, baseline, metric, confidence=CONFIDENCE, mean_over="items")
        value, low, high = told.difference, told.ci_low, told.ci_high
    return {"value": value, "ci_low": low, "ci_high": high}


def _spread(by_seed: Sequence[float]) -> Row:
    return {"seed_low": min(by_seed, default=None), "seed_high": max(by_seed, default=None)}

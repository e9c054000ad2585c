"""Nights of a target as the lake records them: runs, evaluations, verdicts, persons' acts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from catalog.stores.lake.lake import Lake
from tests.catalog.lakes import NOON

Row = dict[str, Any]
STEPS = json.dumps([{"name": "promote", "done": [], "failed": []}], separators=(",", ":"))


def day(number: float) -> datetime:
    """Noon of the n-th day."""
    return NOON + timedelta(days=number)


@dataclass
class Nights:
    """A target that is evaluated, judged and served, one commit a night."""

    lake: Lake
    target: str = "site-d"
    metric: str = "accuracy"
    is_higher_better: bool = True
    split: str = "test"
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def ensemble(self, name: str) -> str:
        """The id of an ensemble of the target; '' of none."""
        return f"ensemble:{self.target}@{name}" if name else ""

    def run(self, number: float, *, flow: str = "night", **more: Any) -> str:
        """A run that ended on this day."""
        run_id = f"run:{flow}@{number}"
        self._add("runs", **{
            "run_id": run_id, "flow": flow, "outcome": "ok", "started_at": day(number),
            "recorded_at": day(number + 0.1), "steps_json": STEPS, "faults_json": "[]",
            "alerts_json": "[]", **more,
        })  # fmt: skip
        return run_id

    def evaluation(
        self, number: float, scores: Mapping[str, float], ensembles: Mapping[str, str]
    ) -> str:
        """Scores of arms on this day; `ensembles` says which one is behind an arm."""
        evaluation_id = f"{self.target} e{number}"
        for arm, value in scores.items():
            name = ensembles.get(arm, "") if self.split == "test" else ""
            self._score(number, evaluation_id, arm, self.ensemble(name), value)
            self._score(number, evaluation_id, arm, self.ensemble(name), 0.5, slice="scanner=abc")
            self._score(number, evaluation_id, arm, self.ensemble(name), 0.6, split="validation")
            if self.split == "leave_one_out" and arm in ensembles and arm != "auto":
                self._add("choices", choice_id=evaluation_id, target_name=self.target,
                          dataset_version_id=f"dataset:d@{number}", candidate=arm,
                          ensemble_id=self.ensemble(ensembles[arm]),
                          is_chosen=ensembles[arm] == ensembles.get("auto"))  # fmt: skip
        for arm, name in ensembles.items():
            if arm not in ("auto", "champion"):
                self._add("ensembles", ensemble_id=self.ensemble(name), target_name=self.target,
                          strategy=arm, recorded_at=day(number))  # fmt: skip
        return evaluation_id

    def verdict(self, number: float, action: str, arm: str, name: str, **more: Any) -> None:
        """What the gate or a person said on this day of an ensemble."""
        is_judged = bool(name) and action in ("promoted", "refused", "pending")
        champion = more.pop("champion", "")
        if is_judged:
            for against in ["", champion][: 1 + bool(champion)]:
                self._compare(number, arm, name, against)
        version = more.pop("version", None)
        if version:
            self._add("model_versions", model_name=self.target, model_version=version,
                      kind="ensemble", record_id=self.ensemble(name))  # fmt: skip
        self._add("promotions", **{
            "promotion_id": f"{self.target} p{number}", "run_id": f"run:night@{int(number)}",
            "target_name": self.target, "arm": arm, "ensemble_id": self.ensemble(name),
            "champion_ensemble_id": self.ensemble(champion), "action": action,
            "evidence": "labels" if self.split == "test" else "leave_one_out", "actor": "gate",
            "reasons": f"Because of day {number}.", "model_name": self.target if name else "",
            "model_version": version or "", "recorded_at": day(number), **more,
        })  # fmt: skip

    def write(self) -> None:
        """Put what was told so far into the lake, by its own door."""
        with self.lake.transaction(message="test", run=None) as commit:
            for table, rows in self.rows.items():
                commit.insert_new(table, rows)
        self.rows.clear()

    def _score(
        self, number: float, evaluation_id: str, arm: str, ensemble: str, value: float, **more: Any
    ) -> None:
        own = {"metric": self.metric, "is_higher_better": self.is_higher_better}
        other = {"metric": "another", "is_higher_better": True}
        for metric, score in ((own, value), (other, 0.4)):
            self._add("scores", **{
                "run_id": f"run:night@{int(number)}", "evaluation_id": evaluation_id,
                "target_name": self.target, "dataset_version_id": f"dataset:d@{number}",
                "split": self.split, "slice": "", "arm": arm, "ensemble_id": ensemble,
                "metric_version": "1", "value": score, "ci_low": score - 0.1,
                "ci_high": score + 0.1, "n_items": 50, "n_groups": 40,
                "recorded_at": day(number), **metric, **more,
            })  # fmt: skip

    def _compare(self, number: float, arm: str, name: str, against: str) -> None:
        self._add("comparisons", comparison_id=f"{self.target} {number} {against}",
                  run_id=f"run:night@{int(number)}", target_name=self.target, metric=self.metric,
                  arm=arm, ensemble_id=self.ensemble(name), n_tried=1, n_items=50, n_groups=40,
                  evidence="labels" if self.split == "test" else "leave_one_out",
                  baseline_arm="linear" if against else "base", confidence=0.95,
                  baseline_ensemble_id=self.ensemble(against), difference=0.2, ci_low=0.1,
                  ci_high=0.3, result="win", recorded_at=day(number),
                  evaluation_id=f"{self.target} e{int(number)}")  # fmt: skip

    def _add(self, table: str, **row: Any) -> None:
        self.rows.setdefault(table, []).append(row)

"""Leave-one-out's tables: scores with verdicts, distances, findings, from what was evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from catalog.queries.evaluations import scores_on_test_rows
from flows.experiments.conclusion import Experiment, Row, Units, finding_row
from flows.experiments.leave_one_out_protocol import Protocol
from flows.runs.chunks import StepFailed
from flows.steps import embed
from flows.steps.evaluate import EvaluateUnit
from flows.steps.scoring import BASE_ARM, CONFIDENCE, OWN_ARM, REFERENCE_ARM, score_row
from flows.workspace.representations import embed_unit_of
from flows.workspace.workspace import Workspace
from rpe_core.distance import DATASET_DISTANCES, Matrix
from rpe_core.evaluation.correlation import Correlation, correlate_pairs
from rpe_core.evaluation.dataset_pairs import distance_matrix, nearest_others
from rpe_core.evaluation.expectations import RULES, check_expectations, pool_arm
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.metrics import METRICS, Items, find_metric

DISTANCE_ITEMS = 256  # training rows of a source whose single features are compared
NEAREST_ARM = "nearest:"  # with the distance after it: the reference that it picks, by itself
SIGNIFICANCE = 0.05


class LeaveOneOut(Experiment):
    """What follows from the evaluations of the leave-one-out protocol."""

    def __init__(self, workspace: Workspace, protocol: Protocol, units: Units) -> None:
        self.protocol = protocol
        self.units = {source: units[protocol.target_name(source)] for source in protocol.sources}
        recipe_id = workspace.plan.recipe(protocol.recipe).recipe_id
        made_of = {
            "recipe": recipe_id,
            "evaluations": {s: unit.evaluation_id for s, unit in self.units.items()},
            "datasets": {s: unit.target.version.sha256 for s, unit in self.units.items()},
            "distance_items": DISTANCE_ITEMS,
            "rules": RULES,
        }
        super().__init__(workspace, protocol, recipe_id=recipe_id, made_of=made_of)

    def tables(self) -> Mapping[str, Sequence[Row]]:
        """Scores with verdicts, distances with the references that they pick, findings."""
        arms = {source: dict(self.items(unit)) for source, unit in self.units.items()}
        scores = {source: self._scores(unit) for source, unit in self.units.items()}
        features = {source: self._features(source) for source in self.protocol.sources}
        far = {
            kind: distance_matrix(list(features.values()), DATASET_DISTANCES[kind])
            for kind in self.protocol.distances
        }
        for kind, matrix in far.items():
            for source, nearest in zip(self.protocol.sources, nearest_others(matrix), strict=True):
                name = f"{NEAREST_ARM}{kind}"
                picked = f"{REFERENCE_ARM}{self.protocol.sources[nearest]}"
                arms[source][name] = arms[source][picked]
                scores[source] += [{**r, "arm": name} for r in scores[source] if r["arm"] == picked]
        rows = [row for source in arms for row in self._compared(arms[source], scores[source])]
        return {
            "experiment_scores": [*rows, *self._pooled(arms)],
            "experiment_distances": list(self._distance_rows(far, features)),
            "experiment_findings": [*self._expected(arms), *self._correlated(far, scores)],
        }

    def _scores(self, unit: EvaluateUnit) -> list[Row]:
        """What the evaluation itself recorded on all test rows."""
        rows = scores_on_test_rows(self.workspace.stores.lake, unit.evaluation_id)
        return [{**row, "source": unit.target.spec.source} for row in rows]

    def _features(self, source: str) -> Matrix:
        unit = embed_unit_of(self.workspace, source, self.protocol.base, "reference")
        if unit is None:
            raise StepFailed("A source of the experiment has no data.", where=source)
        return embed.features_of(self.workspace, unit, limit=DISTANCE_ITEMS)

    def _compared(self, arms: Mapping[str, Items], scores: Sequence[Row]) -> Iterator[Row]:
        """Rows of scores with the verdicts against base and average."""
        for row in scores:
            yield {**row, **_verdicts(arms, row["arm"], row["metric"])}

    def _pooled(self, arms: Mapping[str, Mapping[str, Items]]) -> Iterator[Row]:
        """Rows of scores over the items of all targets, of the arms that every target has."""
        everywhere = set.intersection(*(set(by_arm) for by_arm in arms.values()))
        pooled = {arm: pool_arm(arms, arm) for arm in sorted(everywhere)}
        for arm, items in pooled.items():
            for metric in sorted(METRICS):
                if set(METRICS[metric].needs) <= set(items.statistics):
                    common = {"source": "", "arm": arm, "evaluation_id": "", "ensemble_id": ""}
                    row = score_row(items, metric, common)
                    yield {**row, **_verdicts(pooled, arm, metric)}

    def _distance_rows(
        self, far: Mapping[str, Matrix], features: Mapping[str, Matrix]
    ) -> Iterator[Row]:
        for kind, matrix in far.items():
            for i, source in enumerate(self.protocol.sources):
                for j, reference in enumerate(self.protocol.sources):
                    if i != j:
                        yield {
                            "kind": kind,
                            "source": source,
                            "reference": reference,
                            "distance": float(matrix[i, j]),
                            "n_items": len(features[source]),
                            "n_reference_items": len(features[reference]),
                        }

    def _expected(self, arms: Mapping[str, Mapping[str, Items]]) -> Iterator[Row]:
        for finding in check_expectations(arms, self.metric, confidence=CONFIDENCE):
            yield finding_row(finding, self.metric)

    def _correlated(
        self, far: Mapping[str, Matrix], scores: Mapping[str, Sequence[Row]]
    ) -> Iterator[Row]:
        """Whether nearer references score better, by each distance."""
        sign = 1.0 if find_metric(self.metric).is_higher_better else -1.0
        single = {
            (source, row["arm"]): sign * row["value"]
            for source, rows in scores.items()
            for row in rows
            if row["metric"] == self.metric
        }
        sources = self.protocol.sources
        transfer = np.array(
            [[single[a, OWN_ARM if a == b else f"{REFERENCE_ARM}{b}"] for b in sources]
             for a in sources]
        )  # fmt: skip
        for kind, matrix in far.items():
            correlation = correlate_pairs(matrix, transfer, confidence=CONFIDENCE)
            yield {**_correlation_row(kind, correlation), "metric": self.metric}


def _verdicts(arms: Mapping[str, Items], arm: str, metric: str) -> Row:
    row: Row = {}
    for baseline in (BASE_ARM, "average"):
        comparison = compare(
            arms[arm], arms[baseline], metric, confidence=CONFIDENCE, mean_over="items"
        )
        row[f"{baseline}_difference"] = comparison.difference
        row[f"{baseline}_ci_low"], row[f"{baseline}_ci_high"] = (
            comparison.ci_low,
            comparison.ci_high,
        )
        row[f"{baseline}_result"] = comparison.result
    return row


def _correlation_row(kind: str, correlation: Correlation) -> Row:
    return {
        "finding": f"nearer_is_better:{kind}",
        "statement": f"References that are nearer by the {kind} distance score better",
        "verdict": correlation.falls(significance=SIGNIFICANCE),
        "quantity": "rho",
        "value": correlation.rho,
        "ci_low": correlation.low,
        "ci_high": correlation.high,
        "p_value": correlation.p_value,
        "n": correlation.n_pairs,
        "n_clusters": correlation.n_targets,
        "details": "Spearman's rho of distance and score (higher is better) over ordered pairs;"
        " interval by bootstrap over targets, p by permutation of the datasets;"
        f" holds if the interval lies below zero and p <= {SIGNIFICANCE}",
    }

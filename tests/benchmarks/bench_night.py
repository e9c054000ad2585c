"""The night's own overhead by target, against the same arithmetic in one script; many targets.

Both sides see the same ingested rows, the same 50 adapters, the same base of two small layers and
two strategies. The night also keeps everything: representations, ensembles, scores by item, a
registered version, a verdict and aliases for each target. Ingest is timed apart.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalog.intake import landing
from flows.night.nightly import run_night
from flows.runs.run_record import open_run
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.ensemble import draft_ensemble
from rpe_core.evaluation.gates import GateHistory, decide, put_to_test
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.metrics import make_items
from rpe_core.families import attachment
from rpe_core.merging.merge import merge
from rpe_core.records import Candidate
from rpe_core.representation import mean_feature
from rpe_core.weighting.calibration import calibrate_library
from rpe_core.weighting.guards import check_domain
from tests.benchmarks.night_world import make_night_world
from tests.lake_rows import read_rows_of
from tests.oracles.nearest import nearest_references

ADAPTERS = 50
STEPS = ("embed", "ensemble", "evaluate", "promote")
Row = dict[str, Any]


@dataclass(frozen=True)
class References:
    """Every adapter of the library in memory: id, source, folder, and z (n, d)."""

    ids: list[str]
    sources: list[str]
    folders: dict[str, Path]
    z: np.ndarray

    def nearest(self, z: np.ndarray, k: int) -> list[Candidate]:
        """The k nearest as candidates."""
        order, distances = nearest_references(z, self.z, k=k)
        return [
            Candidate(self.ids[i], self.sources[i], "", float(distance), tuple(self.z[i]))
            for i, distance in zip(order, distances, strict=True)
        ]


def row_night_of_200_targets(workdir: Path) -> Row:
    """The overhead by target, a registered version each; the target is 300 ms."""
    return _overhead(workdir, 200)


def row_night_of_1000_targets(workdir: Path) -> Row:
    """The overhead by target of a thousand targets, and a second night without a change."""
    return _overhead(workdir, 1000)


def _overhead(workdir: Path, n: int) -> Row:
    settings = make_night_world(workdir / "world", n_targets=n, n_adapters=ADAPTERS)
    ingest_seconds = _timed(settings, ("ingest",))
    script_seconds = _script(settings, n)
    night_seconds = _timed(settings, STEPS)
    unchanged_seconds = _timed(settings, ("ingest", *STEPS))
    added = (night_seconds - script_seconds) / n
    return {
        "work": f"a night's overhead by target, {n} targets, {ADAPTERS} adapters",
        "peer": "one script, same arithmetic",
        "ours_seconds": night_seconds / n,
        "peer_seconds": script_seconds / n,
        "ratio": 0.3 / added,
        "target": 1.0,
        "extra": {
            "added_seconds_by_target": added,
            "ingest_seconds_by_source": ingest_seconds / n,
            "unchanged_night_seconds": unchanged_seconds,
            "registered_versions": _versions(settings),
        },
    }


def _timed(settings: Settings, steps: tuple[str, ...]) -> float:
    began = time.monotonic()
    summary = run_night(settings, only=steps)
    seconds = time.monotonic() - began
    if summary.faults:
        raise RuntimeError(f"{len(summary.faults)} units failed, the first: {summary.faults[0]}")
    return seconds


def _script(settings: Settings, n: int) -> float:
    """Encode, retrieve, weigh, merge, answer, score and gate, in memory but for the merges."""
    declared = load_declarations(settings)
    stores = open_stores(settings)
    try:
        workspace = Workspace(
            settings, declared.plan, declared.contracts, stores, open_run("benchmark")
        )
        data = [_rows(workspace, target.source) for target in declared.plan.targets]
        references = _references(workspace)
        began = time.monotonic()
        within = calibrate_library(references.z, references.sources)
        for target, (texts, expected, groups) in zip(declared.plan.targets, data, strict=True):
            _adapt(workspace, target, references, within, texts, expected, groups)
        return time.monotonic() - began
    finally:
        stores.lake.close()


def _adapt(
    workspace: Workspace,
    target: Any,
    references: References,
    within: Any,
    texts: list[str],
    expected: np.ndarray,
    groups: np.ndarray,
) -> None:
    family, base = workspace.family(target.base), workspace.loaded(target.base)
    task = family.prepare(base, workspace.contracts[target.source].task_spec.declared)
    z = mean_feature(family.encode(base, texts)).mean
    candidates = references.nearest(z, target.k_most)
    domain = check_domain(candidates[0].distance, within)
    items = {"base": make_items(family.predict(base, task, texts).argmax(axis=1), expected, groups)}
    for strategy in target.specs:
        draft = draft_ensemble(z, candidates, strategy, domain=domain)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "adapter"
            members = [(references.folders[m.adapter_id], m.weight) for m in draft.members]
            merge([(f, w) for f, w in members if w], folder)
            attachment.attach(base, str(folder))
            answers = family.predict(base, task, texts)
            attachment.detach(base)
        items[strategy.name] = make_items(answers.argmax(axis=1), expected, groups)
    gate = workspace.plan.gate
    policy = gate.policy("accuracy")
    against = compare(items[strategy.name], items["base"], "accuracy", confidence=gate.confidence)
    trial = put_to_test(policy, against, items[strategy.name], items["base"], GateHistory())
    decide(policy, trial, None)


def _rows(workspace: Workspace, source: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, label indices and groups of a source's dataset version."""
    task = workspace.contracts[source].task
    version = workspace.standing.versions[source]["dataset_version_id"]
    columns = [task.input, task.target]
    rows = landing.read_rows(workspace.stores.lake, version, columns=columns)
    index = {label: i for i, label in enumerate(task.labels)}
    expected = [index[label] for label in rows.column(task.target).to_pylist()]
    groups = rows.column("_group_sha256").to_pylist()
    return rows.column(task.input).to_pylist(), np.array(expected), np.array(groups)


def _references(workspace: Workspace) -> References:
    stores = workspace.stores
    rows = stores.lake.rows(
        "SELECT adapter_id, source, representation_id, artifact_sha256 FROM core.adapters"
        " ORDER BY adapter_id"
    )
    return References(
        [row["adapter_id"] for row in rows],
        [row["source"] for row in rows],
        {row["adapter_id"]: stores.artifacts.folder(row["artifact_sha256"]) for row in rows},
        np.array([stores.vectors.representation(row["representation_id"]).z for row in rows]),
    )


def _versions(settings: Settings) -> int:
    (row,) = read_rows_of(
        settings, "SELECT count(*) AS n FROM core.model_versions WHERE kind = 'ensemble'"
    )
    return int(row["n"])

"""What each experiment of `results/` asks, as plain values: where they change, its rows are stale.

A protocol holds what is declared: contracts, plan, recipes, arms, worlds, seeds. The code that
answers is no part of it; that a release answers otherwise is for a new run to show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from catalog import examples
from flows.experiments.leave_one_out_protocol import ARMS
from rpe_core.adapters.table import ADAPTER_METHODS
from rpe_core.evaluation.gates import GatePolicy
from rpe_core.evaluation.metrics import METRICS
from tests.experiments import domain_guard, gate_histories, medquad, mts_dialog, nuclei
from tests.experiments.deid import measure, planted
from tests.experiments.deid.held_out import FORMS, HELD_OUT, plant_held_out
from tests.experiments.deid.recall_table import N_HELD_OUT, N_PLANTED
from tests.experiments.gate_worlds import HOPES, MERITS, NULLS, World

EXAMPLES = Path(examples.__file__).parent
COMPARED = (
    *("lora", "corda", "eva", "hydra", "lora_plus", "miss", "olora", "pissa", "promptsrc", "sora"),
)
SEEDS = (0, 1, 2)
DRAWN = (20, 50)  # histories and groups by which a world is known


def _leave_one_out(declared: Mapping[str, Any], metric: str) -> dict[str, Any]:
    return {**declared, "arms": list(ARMS), "metric": [metric, METRICS[metric].version]}


def _demo(name: str, metric: str) -> dict[str, Any]:
    files = sorted((EXAMPLES / name).rglob("*.yaml"))
    declared = {
        str(path.relative_to(EXAMPLES)): yaml.safe_load(path.read_text("utf-8")) for path in files
    }
    return _leave_one_out(declared, metric)


def _medquad(sources: tuple[str, ...], recipes: tuple[str, ...]) -> dict[str, Any]:
    contracts = {name: yaml.safe_load(medquad.contract_of(name, Path("DATA"))) for name in sources}
    return {"contracts": contracts, "plan": _with_recipes(medquad.plan_text(), recipes)}


def _mts_dialog(sources: tuple[str, ...], recipes: tuple[str, ...]) -> dict[str, Any]:
    contracts = {
        name: yaml.safe_load(mts_dialog.CONTRACT.format(source=name, data="DATA"))
        for name in sources
    }
    plan = mts_dialog.PLAN.format(model="MODEL", sources=", ".join(mts_dialog.SECTIONS))
    return {"contracts": contracts, "plan": _with_recipes(plan, recipes)}


def _nuclei() -> dict[str, Any]:
    plan = nuclei.PLAN.format(model="MODEL", sources=", ".join(nuclei.SITES))
    contracts = {
        name: yaml.safe_load(nuclei.CONTRACT.format(source=name, links="LINKS"))
        for name in nuclei.SITES
    }
    declared = {"contracts": contracts, "plan": yaml.safe_load(plan)}
    return _leave_one_out(declared, "dice")


def _with_recipes(plan: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The plan with those of its recipes that the experiment uses."""
    said: dict[str, Any] = yaml.safe_load(plan)
    return {**said, "recipes": {name: said["recipes"][name] for name in names}}


def _methods(declared: Mapping[str, Any], metric: str) -> dict[str, Any]:
    defaults = {
        name: {key: option.default for key, option in ADAPTER_METHODS[name].options.items()}
        for name in COMPARED
    }
    asked = {"methods": defaults, "seeds": list(SEEDS), "strategies": ["average", "linear_l1"]}
    return {**declared, **asked, "metric": [metric, METRICS[metric].version]}


def _gate_histories() -> dict[str, Any]:
    worlds = {**NULLS, **MERITS, **{name: make(60) for name, make in HOPES.items()}}
    return {
        "whole": gate_histories.WHOLE,
        "policy": asdict(GatePolicy("accuracy")),
        "groups": list(gate_histories.GROUPS),
        "nights": list(gate_histories.NIGHTS),
        "searched": [gate_histories.SEARCHED, gate_histories.LOSSES, gate_histories.CHANCES],
        "ties": list(gate_histories.TIED),
        "worlds": {name: _world(world) for name, world in worlds.items()},
    }


def _world(world: World) -> list[Any]:
    """A world by its numbers and by what it draws, to four digits."""
    drawn = [draw(np.random.default_rng(0), DRAWN, 0) for draw in (world.at(1), world.at(200))]
    scores = [np.round([part.ours, part.base, part.is_there], 4) + 0.0 for part in drawn]
    told = hashlib.sha256(np.concatenate(scores, axis=None).tobytes()).hexdigest()
    return [world.n_first, world.n_nightly, world.metric, world.since, told]


def _domain_guard() -> dict[str, Any]:
    numbers: dict[str, Any] = {"sentences": domain_guard.SENTENCES, "pool": domain_guard.POOL}
    numbers |= {"concentration": domain_guard.CONCENTRATION, "sizes": domain_guard.SIZES}
    numbers |= domain_guard.WHOLE
    text = yaml.safe_load((EXAMPLES / "text" / "vocabulary.yaml").read_text("utf-8"))
    return {**numbers, "foreign": dict(domain_guard.FOREIGN), "clinical": text}


def _planted_text() -> dict[str, Any]:
    """The text that recall is measured on, by its hash."""
    rows = [row for kind in planted.KINDS for row in planted.plant(kind, N_PLANTED, seed=0)]
    rows += [
        row
        for kind in HELD_OUT
        for form in FORMS
        for row in plant_held_out(kind, form, N_HELD_OUT, seed=0)
    ]
    told = "\n".join(f"{row.identifier} {row.start} {row.end} {row.text}" for row in rows)
    return {"planted": hashlib.sha256(told.encode()).hexdigest()}


def _corpus() -> dict[str, Any]:
    return {"identifiers": measure.CORPUS_KINDS, "into_clinic": measure.PLANTED_FROM_CORPUS}


_OF_MEDQUAD = ("cdc", "nhlbi", "niddk", "seniorhealth")
_OF_MTS = ("fam_sochx", "genhx", "ros", "allergy")
PROTOCOLS: Mapping[str, Callable[[], Any]] = {
    "reports_leave_one_out": lambda: _demo("reports", "rouge_l"),
    "prostate_leave_one_out": lambda: _demo("prostate", "dice"),
    "mts_dialog_leave_one_out": lambda: _leave_one_out(
        _mts_dialog(mts_dialog.SECTIONS, ("lora8",)), "rouge_l"
    ),
    "mts_dialog_methods": lambda: _methods(_mts_dialog(_OF_MTS, ("lora8", "sora8")), "rouge_l"),
    "nuclei_leave_one_out": _nuclei,
    "medquad_night": lambda: _medquad(medquad.SOURCES, ("lora8",)),
    "medquad_methods": lambda: _methods(_medquad(_OF_MEDQUAD, ("lora8", "sora8")), "accuracy"),
    "gate_histories": _gate_histories,
    "domain_guard": _domain_guard,
    "deidentification_planted": _planted_text,
    "deidentification_corpus": _corpus,
}

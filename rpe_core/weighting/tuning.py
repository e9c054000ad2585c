"""Choosing temperature, lambda2 and k by leave-one-out over the library; what was not chosen stays.

Where the references' own scores are known they decide. Where they are not, features stand in: the
weights of a left-out reference are fitted on one half of the coordinates and judged on the other,
because on the coordinates that they were fitted to, no penalty at all would always win.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from rpe_core.distance import Matrix, Vector, comparable, squared_distances
from rpe_core.errors import InputError
from rpe_core.records import StrategySpec
from rpe_core.weighting.similarity import median_temperature
from rpe_core.weighting.solvers.active_set import point_on
from rpe_core.weighting.solvers.gram import RIDGE
from rpe_core.weighting.solvers.linear_l1 import LAMBDA2, linear_l1_path
from rpe_core.weighting.strategies import LOO, weigh

Criterion = Literal["leave_one_out_score", "held_out_reconstruction", "default"]
Setting = Mapping[str, float]

MIN_REFERENCES = 5  # below, leave-one-out is noise and the defaults stand
MAX_REFERENCES = 64  # that are left out in turn; of more, evenly spaced ones
DEFAULTS: Setting = {"k": 4, "temperature": 1.0, "lambda2": LAMBDA2}
GRIDS: Mapping[str, tuple[float, ...]] = {
    "k": (1, 2, 3, 4, 6, 8, 12, 16),
    "temperature": (0.1, 0.2, 0.5, 1.0, 2.0, 5.0),  # in units of the candidates' median d^2
    "lambda2": (0.0, 0.01, 0.03, 0.1, 0.3, 1.0),  # in units of tr(C)/k
}
_SAME = 1e-12  # means closer than this, relatively, differ by rounding only


@dataclass(frozen=True)
class Alternative:
    """A setting that was tried, the mean of the criterion over the references, and how many."""

    setting: Setting
    value: float
    n_references: int


@dataclass(frozen=True)
class Tuning:
    """What was chosen, by which criterion, and everything that it was chosen from.

    `leave_one_out_score` is a mean score, more is better; `held_out_reconstruction` a relative
    error, less is better; `default` tried nothing. Temperature is in units of the candidates'
    median squared distance, lambda2 in units of tr(C)/k.
    """

    criterion: Criterion
    chosen: Setting
    alternatives: tuple[Alternative, ...] = ()


def settings_of(spec: StrategySpec, *, k: int | str, n_references: int) -> list[Setting]:
    """Every setting to try, the default first; one empty setting where nothing says `loo`.

    A library of n references serves a left-out one from at most n - 1.

    >>> settings_of(StrategySpec("s", "similarity", {"temperature": "loo"}), k=4, n_references=9)[0]
    {'temperature': 1.0}
    """
    names = [name for name, value in spec.parameters.items() if value == LOO]
    grids = {name: GRIDS[name] for name in sorted(names)}
    if k == LOO:
        grids["k"] = tuple(size for size in GRIDS["k"] if size < max(2, n_references))
    settings = [dict(zip(grids, values, strict=True)) for values in product(*grids.values())]
    return sorted(settings, key=_oddness)


def resolve(
    spec: StrategySpec, setting: Setting, target: Vector, references: Matrix
) -> StrategySpec:
    """The strategy with numbers in place of `loo`, for this target (d,) and references (k, d)."""
    numbers: dict[str, float] = {}
    if "temperature" in setting:
        numbers["temperature"] = setting["temperature"] * median_temperature(target, references)
    if "lambda2" in setting:
        numbers["lambda2"] = setting["lambda2"]
    return StrategySpec(spec.name, spec.kind, {**spec.parameters, **numbers})


def in_general(spec: StrategySpec, setting: Setting) -> StrategySpec:
    """The strategy with the setting for no target in particular: a temperature of one median."""
    given = {name: value for name, value in spec.parameters.items() if value != LOO}
    chosen = {"lambda2": setting["lambda2"]} if "lambda2" in setting else {}
    return StrategySpec(spec.name, spec.kind, {**given, **chosen})


def tune_by_scores(table: Sequence[tuple[Setting, Sequence[float]]]) -> Tuning:
    """The setting with the best mean score over left-out references, of equals the first.

    >>> tune_by_scores([({"k": 4}, [0.5, 0.7]), ({"k": 2}, [0.9, 0.8])]).chosen
    {'k': 2}

    Raises:
        InputError: nothing to choose from, or a score that is not finite.
    """
    return _best(table, "leave_one_out_score", sign=-1.0)


def tune_by_reconstruction(
    library: Matrix, sources: Sequence[str], spec: StrategySpec, *, k: int | str
) -> Tuning:
    """The setting whose weights carry over best from half of the coordinates to the other half.

    For each reference, served from its k nearest of other sources, the value is the root mean of
    ||z_i - sum w_j z_j||^2 / ||z_i - mean z||^2 over held-out halves (even and odd coordinates in
    turn). With fewer than 5 references, or one coordinate, the defaults stand.
    """
    _, matrix = comparable(np.zeros(np.shape(library)[-1]), library)
    settings = settings_of(spec, k=k, n_references=len(set(sources)))
    if len(set(sources)) < MIN_REFERENCES or matrix.shape[1] < 2 or len(settings) < 2:
        return Tuning("default", settings[0])
    errors: list[list[float]] = [[] for _ in settings]
    step = -(-len(matrix) // MAX_REFERENCES)
    for i in range(0, len(matrix), step):
        others = np.array([j for j in range(len(matrix)) if sources[j] != sources[i]])
        order = np.argsort(squared_distances(matrix[i], matrix[others]), kind="stable")
        ranked = matrix[others[order]]
        for fitted in (slice(0, None, 2), slice(1, None, 2)):
            held_out = _held_out_errors(
                matrix[i], ranked, matrix.mean(axis=0), fitted, spec, settings, k
            )
            for gathered, error in zip(errors, held_out, strict=True):
                gathered.append(error)
    table = list(zip(settings, errors, strict=True))
    tuning = _best(table, "held_out_reconstruction", sign=1.0)
    return Tuning(
        tuning.criterion,
        tuning.chosen,
        tuple(
            Alternative(a.setting, math.sqrt(a.value), a.n_references // 2)
            for a in tuning.alternatives
        ),
    )


def _held_out_errors(
    z: Vector,
    ranked: Matrix,
    centre: Vector,
    fitted: slice,
    spec: StrategySpec,
    settings: Sequence[Setting],
    k: int | str,
) -> list[float]:
    """Squared relative error of each setting on the coordinates that its weights have not seen."""
    held = np.ones(len(z), dtype=bool)
    held[fitted] = False
    unit = float(((z - centre)[held] ** 2).sum()) or 1.0
    errors = []
    paths: dict[int, tuple[Vector, Matrix]] = {}
    for setting in settings:
        size = int(setting.get("k", 0) or k)
        references = ranked[:size]
        weights = _weights(spec, setting, z[fitted], references[:, fitted], paths)
        gap = z[held] - weights @ references[:, held]
        errors.append(float(gap @ gap) / unit)
    return errors


def _weights(
    spec: StrategySpec,
    setting: Setting,
    target: Vector,
    references: Matrix,
    paths: dict[int, tuple[Vector, Matrix]],
) -> Vector:
    """Weights by a setting; one path serves every lambda2 of as many references."""
    if "lambda2" not in setting or spec.parameters.get("mode") == "lasso_then_renorm":
        return weigh(resolve(spec, setting, target, references), target, references).weights
    if len(references) not in paths:
        ridge = float(spec.parameters.get("ridge", RIDGE))
        path = linear_l1_path(target, references, ridge=ridge)
        paths[len(references)] = path.lambda2, path.weights
    return point_on(*paths[len(references)], setting["lambda2"])


def _best(
    table: Sequence[tuple[Setting, Sequence[float]]], criterion: Criterion, *, sign: float
) -> Tuning:
    if not table or not all(values and np.isfinite(values).all() for _, values in table):
        raise InputError("There is nothing to choose from.", expected="finite values per setting")
    tried = tuple(
        Alternative(setting, math.fsum(values) / len(values), len(values))
        for setting, values in table
    )
    best = min(sign * setting.value for setting in tried)
    chosen = next(a for a in tried if sign * a.value <= best + _SAME * max(1.0, abs(best)))
    return Tuning(criterion, chosen.setting, tried)


def _oddness(setting: Setting) -> tuple[float, ...]:
    """How far a setting is from the default; of equals the smaller values go first."""
    steps = [abs(GRIDS[n].index(v) - GRIDS[n].index(DEFAULTS[n])) for n, v in setting.items()]
    return (float(sum(steps)), *setting.values())

"""The table of weighting strategies: names and parameters in, weights that sum to one out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rpe_core.declared_values import Option, ValueRule, either, number, one_of, read_values
from rpe_core.distance import Matrix, Vector, comparable
from rpe_core.errors import (
    DeclarationError,
    Fault,
    InputError,
    UnknownName,
    known_names,
    shown_name,
)
from rpe_core.records import StrategySpec
from rpe_core.weighting.baselines import average_weights, nearest_weights
from rpe_core.weighting.similarity import median_temperature, similarity_weights
from rpe_core.weighting.solvers.gram import RIDGE
from rpe_core.weighting.solvers.linear import LinearSolution, linear_weights, residual_ratio
from rpe_core.weighting.solvers.linear_l1 import LAMBDA2, lasso_weights, linear_l1_weights

LOO = "loo"  # in place of a number: chosen by leave-one-out over the library, see tuning.py
MAX_SUM_ERROR = 1e-9
Details = dict[str, float | str]


@dataclass(frozen=True)
class Weighting:
    """Weights w (k,), summing to one, and what they were made with and how well they fit.

    `details` holds the parameters in use (temperature, lambda2, scale, mode, ridge), always
    `residual_ratio` and `l1_norm`, and where a problem was solved `kkt_residual_ratio` and
    `duality_gap`.
    """

    weights: Vector
    details: Details


@dataclass(frozen=True)
class Strategy:
    """A way to weigh; `is_fitted` tells whether it aims at the target's representation.

    `weigh_with(target, references, parameters)` returns the weights and its own details; the
    parameters are complete. One whose default is None is derived from the data.
    """

    name: str
    doc: str
    weigh_with: Callable[[Vector, Matrix, Mapping[str, Any]], tuple[Vector, Details]]
    is_fitted: bool = False
    parameters: Mapping[str, Option] = field(default_factory=dict)


def weigh(strategy: StrategySpec, target: Vector, references: Matrix) -> Weighting:
    """The weights of the references (k, d) for the target (d,), by the strategy named.

    >>> weigh(StrategySpec("average", "average"), np.zeros(1), np.array([[0.0], [3.0]])).weights
    array([0.5, 0.5])

    Raises:
        UnknownName: the kind is no key of STRATEGIES.
        InputError: a parameter is wrong (all faults told), shapes differ, a number is not finite.
    """
    if strategy.kind not in STRATEGIES:
        raise UnknownName("strategy", strategy.kind, STRATEGIES)
    faults = check_parameters(strategy.kind, strategy.parameters)
    if faults:
        raise DeclarationError(f"strategy {shown_name(strategy.name)}", faults)
    if LOO in strategy.parameters.values():
        raise InputError(
            "A parameter is still to be chosen.",
            where=f"strategy {shown_name(strategy.name)}",
            expected="a number in place of loo",
            remedy="tuning.py chooses one over a library",
        )
    entry = STRATEGIES[strategy.kind]
    given = {name: parameter.default for name, parameter in entry.parameters.items()}
    vector, matrix = comparable(target, references)
    weights, details = entry.weigh_with(vector, matrix, {**given, **strategy.parameters})
    if not abs(float(weights.sum()) - 1.0) <= MAX_SUM_ERROR:
        raise InputError("The weights do not sum to one.", remedy="raise the parameter `ridge`")
    details["residual_ratio"] = residual_ratio(vector, matrix, weights)
    details["l1_norm"] = float(np.abs(weights).sum())
    return Weighting(weights, details)


def check_parameters(kind: str, parameters: Mapping[str, Any]) -> list[Fault]:
    """All faults of the parameters of a strategy; the path of a fault is the parameter's name.

    >>> [str(fault) for fault in check_parameters("similarity", {"temperature": -1.0})]
    ['temperature: is not valid (a finite number > 0, or loo)']

    Raises:
        UnknownName: the kind is no key of STRATEGIES.
    """
    if kind not in STRATEGIES:
        raise UnknownName("strategy", kind, STRATEGIES)
    known = STRATEGIES[kind].parameters
    rules = {name: option.rule for name, option in known.items()}
    faults = []
    for name, value in parameters.items():
        if name in known:
            faults += read_values({name: value}, rules, what="is not valid")[1]
        else:
            choices = known_names(str(name), known) if known else "no parameters"
            faults.append(Fault(shown_name(str(name)), f"is no parameter of {kind}", choices))
    if parameters.get("lambda2") == LOO and parameters.get("scale") == "raw":
        faults.append(Fault("scale", "cannot be raw where lambda2 is loo", "normalised"))
    return faults


def _choice(default: str, *others: str) -> Option:
    choices = (default, *others)
    return Option(ValueRule(one_of(choices), " or ".join(choices)), default)


_TINY = 1e-300
_TEMPERATURE = Option(
    ValueRule(either(LOO, number(lambda x: x >= _TINY)), "a finite number > 0, or loo"), None
)
_LAMBDA2 = Option(
    ValueRule(either(LOO, number(lambda x: x >= 0.0)), "a finite number >= 0, or loo"), LAMBDA2
)
_RIDGE = Option(ValueRule(number(lambda x: 1e-12 <= x <= 1.0), "a number from 1e-12 to 1"), RIDGE)


def _average(target: Vector, references: Matrix, _: Mapping[str, Any]) -> tuple[Vector, Details]:
    return average_weights(target, references), {}


def _nearest(target: Vector, references: Matrix, _: Mapping[str, Any]) -> tuple[Vector, Details]:
    return nearest_weights(target, references), {}


def _similarity(
    target: Vector, references: Matrix, given: Mapping[str, Any]
) -> tuple[Vector, Details]:
    chosen = given["temperature"]
    temperature = median_temperature(target, references) if chosen is None else float(chosen)
    weights = similarity_weights(target, references, temperature=temperature)
    return weights, {"temperature": temperature}


def _linear(target: Vector, references: Matrix, given: Mapping[str, Any]) -> tuple[Vector, Details]:
    ridge = float(given["ridge"])
    solution = linear_weights(target, references, ridge=ridge)
    return solution.weights, {"ridge": ridge, **_optimality(solution)}


def _linear_l1(
    target: Vector, references: Matrix, given: Mapping[str, Any]
) -> tuple[Vector, Details]:
    solve = lasso_weights if given["mode"] == "lasso_then_renorm" else linear_l1_weights
    lambda2, ridge, scale = float(given["lambda2"]), float(given["ridge"]), str(given["scale"])
    solution = solve(target, references, lambda2=lambda2, is_raw=scale == "raw", ridge=ridge)
    return solution.weights, {
        "lambda2": lambda2,
        "scale": scale,
        "mode": str(given["mode"]),
        "ridge": ridge,
        **_optimality(solution),
    }


def _optimality(solution: LinearSolution) -> Details:
    return {
        "kkt_residual_ratio": solution.kkt_residual_ratio,
        "duality_gap": solution.duality_gap,
    }


STRATEGIES: dict[str, Strategy] = {
    entry.name: entry
    for entry in (
        Strategy("average", "all candidates weigh the same", _average),
        Strategy("nearest", "the nearest candidate alone", _nearest),
        Strategy(
            "similarity",
            "softmax(-d²/temperature); temperature defaults to the median d² of the candidates",
            _similarity,
            parameters={"temperature": _TEMPERATURE},
        ),
        Strategy(
            "linear",
            "least squares in feature space; weights sum to one and may be negative",
            _linear,
            is_fitted=True,
            parameters={"ridge": _RIDGE},
        ),
        Strategy(
            "linear_l1",
            "`linear` with an l1 penalty that holds negative weights back, solved exactly; the KKT"
            " residual is stored with the weights",
            _linear_l1,
            is_fitted=True,
            parameters={
                "lambda2": _LAMBDA2,
                "scale": _choice("normalised", "raw"),
                "mode": _choice("exact_qp", "lasso_then_renorm"),
                "ridge": _RIDGE,
            },
        ),
    )
}

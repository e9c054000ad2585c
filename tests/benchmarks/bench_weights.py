"""lin+R against scipy's SLSQP and cvxpy with OSQP and Clarabel, on the same Gram matrix in one run.

Objectives must agree before times are compared. Every solver starts from nothing and runs on one
thread; cvxpy is timed as its user would time it, its own reported solver time stands beside it.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from rpe_core.one_thread import one_thread
from rpe_core.weighting.solvers.active_set import minimise_l1
from rpe_core.weighting.solvers.gram import RIDGE, gram
from rpe_core.weighting.solvers.homotopy import affine_path
from rpe_core.weighting.solvers.linear import with_residuals
from rpe_core.weighting.solvers.linear_l1 import linear_l1_path

FEATURES = 1024
PART = 0.1  # of the largest breakpoint: inside the path, where some weights are negative
SAME = 1e-8  # objectives nearer than this are equal
PEER_LIMIT_SECONDS = 300.0
Solver = Callable[[np.ndarray, float], tuple[np.ndarray, float]]


def row_lin_r_8(workdir: Path) -> dict[str, Any]:
    """Eight references."""
    return _row(8, {"slsqp": _slsqp, "osqp": _osqp, "clarabel": _clarabel}, runs=9)


def row_lin_r_64(workdir: Path) -> dict[str, Any]:
    """Sixty-four references."""
    return _row(64, {"slsqp": _slsqp, "osqp": _osqp, "clarabel": _clarabel}, runs=7)


def row_lin_r_512(workdir: Path) -> dict[str, Any]:
    """Five hundred and twelve references; SLSQP takes minutes and runs once."""
    return _row(512, {"slsqp": _slsqp, "osqp": _osqp, "clarabel": _clarabel}, runs=1)


def row_lin_r_2048(workdir: Path) -> dict[str, Any]:
    """More references than features; the peers run once, for at most five minutes each."""
    return _row(2048, {"osqp": _osqp, "clarabel": _clarabel}, runs=1)


def row_path_64(workdir: Path) -> dict[str, Any]:
    """The whole path of sixty-four references against one cold solve."""
    return _path_row(64)


def row_path_512(workdir: Path) -> dict[str, Any]:
    """The whole path of five hundred and twelve references against one cold solve."""
    return _path_row(512)


def row_path_2048(workdir: Path) -> dict[str, Any]:
    """The whole path of two thousand and forty-eight references against one cold solve."""
    return _path_row(2048)


def _row(k: int, peers: Mapping[str, Solver], *, runs: int) -> dict[str, Any]:
    quadratic, lambda2 = _problem(k)
    ours, weights = _timed(lambda: _ours(quadratic, lambda2), runs=7)
    best = _objective(quadratic, weights, lambda2)
    extra: dict[str, Any] = {"k": k, "d": FEATURES, "lambda2": lambda2, "objective": best}
    seconds = {}
    for name, solve in peers.items():
        took, (found, inner) = _timed(lambda solve=solve: solve(quadratic, lambda2), runs=runs)
        excess = _objective(quadratic, found / found.sum(), lambda2) - best
        seconds[name] = took
        extra[name] = {"seconds": took, "solver_seconds": inner, "objective_excess": excess}
        extra[name]["is_same"] = bool(abs(excess) <= SAME)
        extra[name]["ratio"] = took / ours
    solution = with_residuals(quadratic, weights, lambda2=lambda2, floor=RIDGE)
    extra["kkt_residual_ratio"] = solution.kkt_residual_ratio
    extra["duality_gap"] = solution.duality_gap
    fastest = min(seconds, key=lambda name: seconds[name])
    return {
        "work": f"lin+R, k = {k}",
        "peer": fastest,
        "ours_seconds": ours,
        "peer_seconds": seconds[fastest],
        "ratio": seconds[fastest] / ours,
        "target": ">= 20, objective to 1e-8" if k >= 64 else "objective to 1e-8",
        "extra": extra,
    }


def _path_row(k: int) -> dict[str, Any]:
    target, references = _features(k)
    path, found = _timed(lambda: linear_l1_path(target, references), runs=3)
    quadratic = gram(target, references, ridge=RIDGE).matrix
    cold = {}
    for part in (1.0, 0.5, PART, 0.01, 0.0):
        lambda2 = part * float(found.lambda2[-1])
        cold[str(part)], _ = _timed(lambda value=lambda2: _ours(quadratic, value), runs=3)
    forming, _ = _timed(lambda: gram(target, references, ridge=RIDGE), runs=3)
    alone = cold[str(PART)] + forming
    return {
        "work": f"whole path of lin+R, k = {k}, features in, every breakpoint judged",
        "peer": f"one cold solve at {PART} of the largest breakpoint, ours",
        "ours_seconds": path,
        "peer_seconds": alone,
        "ratio": path / alone,
        "target": "<= 10",
        "extra": {
            "k": k,
            "d": FEATURES,
            "n_breakpoints": len(found.lambda2),
            "worst_kkt_residual_ratio": float(found.kkt_residual_ratio.max()),
            "worst_duality_gap": float(found.duality_gap.max()),
            "gram_seconds": forming,
            "cold_seconds_by_part_of_largest_breakpoint": cold,
            "path_ratio_by_part": {part: path / (s + forming) for part, s in cold.items()},
        },
    }


def _features(k: int) -> tuple[np.ndarray, np.ndarray]:
    """References at random, and a target beyond them: a signed combination with noise."""
    rng = np.random.default_rng(k)
    references = rng.normal(size=(k, FEATURES))
    signed = rng.normal(size=k) / np.sqrt(k)
    signed += (1.0 - signed.sum()) / k
    return signed @ references + 0.5 * rng.normal(size=FEATURES), references


def _problem(k: int) -> tuple[np.ndarray, float]:
    quadratic = gram(*_features(k), ridge=RIDGE).matrix
    return quadratic, PART * float(affine_path(quadratic)[0][-1])


def _objective(quadratic: np.ndarray, w: np.ndarray, lambda2: float) -> float:
    return float(w @ quadratic @ w + lambda2 * np.abs(w).sum())


def _timed(action: Callable[[], Any], *, runs: int) -> tuple[float, Any]:
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        result = action()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def _ours(quadratic: np.ndarray, lambda2: float) -> np.ndarray:
    """Solve and judge, as `linear_l1_weights` does once the Gram matrix stands."""
    nothing = np.zeros(len(quadratic))
    with one_thread():
        raw = minimise_l1(quadratic, nothing, lambda2=lambda2, is_affine=True)
        return with_residuals(quadratic, raw / raw.sum(), lambda2=lambda2, floor=RIDGE).weights


def _slsqp(quadratic: np.ndarray, lambda2: float) -> tuple[np.ndarray, float]:
    """w = p - n with p, n >= 0, from the average, with exact gradients."""
    k = len(quadratic)

    def value(pn: np.ndarray) -> float:
        w = pn[:k] - pn[k:]
        return float(w @ quadratic @ w + lambda2 * pn.sum())

    def slope(pn: np.ndarray) -> np.ndarray:
        g = 2 * quadratic @ (pn[:k] - pn[k:])
        return np.concatenate([g + lambda2, lambda2 - g])

    signs = np.concatenate([np.ones(k), -np.ones(k)])
    start = time.perf_counter()
    found = minimize(
        value,
        np.concatenate([np.full(k, 1 / k), np.zeros(k)]),
        jac=slope,
        bounds=[(0, None)] * (2 * k),
        constraints={"type": "eq", "fun": lambda pn: signs @ pn - 1, "jac": lambda pn: signs},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    return found.x[:k] - found.x[k:], time.perf_counter() - start


def _osqp(quadratic: np.ndarray, lambda2: float) -> tuple[np.ndarray, float]:
    accuracy = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iter": 1_000_000, "polishing": True}
    return _cvxpy(quadratic, lambda2, "OSQP", {**accuracy, "time_limit": PEER_LIMIT_SECONDS})


def _clarabel(quadratic: np.ndarray, lambda2: float) -> tuple[np.ndarray, float]:
    accuracy = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9, "max_threads": 1}
    return _cvxpy(quadratic, lambda2, "CLARABEL", {**accuracy, "time_limit": PEER_LIMIT_SECONDS})


def _cvxpy(
    quadratic: np.ndarray, lambda2: float, solver: str, options: Mapping[str, Any]
) -> tuple[np.ndarray, float]:
    # a peer of the benchmarks, in no other extra
    import cvxpy

    w = cvxpy.Variable(len(quadratic))
    objective = cvxpy.quad_form(w, cvxpy.psd_wrap(quadratic)) + lambda2 * cvxpy.norm1(w)
    problem = cvxpy.Problem(cvxpy.Minimize(objective), [cvxpy.sum(w) == 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a run cut short tells so by its objective
        problem.solve(solver=solver, **options)
    return np.asarray(w.value), float(problem.solver_stats.solve_time or 0.0)

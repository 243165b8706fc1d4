"""Objectives of SciPy's solvers: a function of tensors, whose gradient is taken, against functions
whose gradient was written by hand, in Numba.

    python -m benchmarks.scipy_objectives

Prints microseconds of processor time for an evaluation of value and gradient, and for 50 steps of
`minimize(method="L-BFGS-B", jac=True)`: medians of interleaved rounds. SciPy's BLAS has one thread:
threads of it that wait for work would be most of what is measured.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numba  # noqa: E402
import numpy as np  # noqa: E402
from scipy.optimize import minimize  # noqa: E402

import tracegrad as tg  # noqa: E402

ROUNDS = 9
Objective = Callable[..., tuple[float, np.ndarray]]


class Problem(NamedTuple):
    name: str
    start: np.ndarray
    args: tuple
    objectives: dict[str, Objective]


# ---- Rosenbrock's function
def rosenbrock(x: tg.Tensor) -> tg.Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


@numba.njit
def rosenbrock_by_hand(x):
    value, gradient = 0.0, np.zeros(len(x))
    for k in range(len(x) - 1):
        a, b = x[k + 1] - x[k] ** 2, 1 - x[k]
        value += 100 * a**2 + b**2
        gradient[k] -= 400 * a * x[k] + 2 * b
        gradient[k + 1] += 200 * a
    return value, gradient


# ---- logistic regression
def logistic(w: tg.Tensor, x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
    return tg.nn.functional.softplus(-y * (x @ w)).mean() + 1e-3 * (w @ w)


@numba.njit
def logistic_by_hand(w, x, y):
    value, gradient = 0.0, np.zeros(len(w))
    for i in range(len(y)):
        margin = 0.0
        for j in range(len(w)):
            margin += x[i, j] * w[j]
        margin *= y[i]
        value += np.log1p(np.exp(-margin)) if margin > 0 else np.log1p(np.exp(margin)) - margin
        slope = -y[i] / (1 + np.exp(margin)) / len(y)
        for j in range(len(w)):
            gradient[j] += slope * x[i, j]
    square = 0.0
    for j in range(len(w)):
        square += w[j] * w[j]
        gradient[j] += 2e-3 * w[j]
    return value / len(y) + 1e-3 * square, gradient


def problems() -> list[Problem]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 20))
    y = np.sign(x @ rng.standard_normal(20) + rng.standard_normal(1000))
    curve: dict[str, Objective] = {
        "tracegrad": tg.scipy.value_and_grad(rosenbrock), "Numba": rosenbrock_by_hand
    }
    fit: dict[str, Objective] = {
        "tracegrad": tg.scipy.value_and_grad(logistic), "Numba": logistic_by_hand
    }
    return [
        Problem("Rosenbrock, 10 unknowns", np.zeros(10), (), curve),
        Problem("Rosenbrock, 1000 unknowns", np.zeros(1000), (), curve),
        Problem("logistic regression, 1000 x 20", np.zeros(20), (x, y), fit),
    ]


def seconds(call: Callable[[], object], count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - began) / count


def measured(problem: Problem) -> dict[str, tuple[float, float]]:
    """For each objective, the seconds of an evaluation and of a minimisation."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in problem.objectives}
    at = problem.start + 0.1
    for round_ in range(ROUNDS + 1):
        for name, f in problem.objectives.items():

            def evaluate(f: Objective = f) -> object:
                return f(at, *problem.args)

            def solve(f: Objective = f) -> object:
                options = {"maxiter": 50}
                return minimize(
                    f, problem.start, problem.args, "L-BFGS-B", jac=True, options=options
                )

            pair = seconds(evaluate, 300), seconds(solve, 3)
            if round_:  # the first one compiles
                times[name].append(pair)
    return {
        name: (statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs))
        for name, pairs in times.items()
    }


def main() -> None:
    for problem in problems():
        print(problem.name)
        for name, (evaluation, solution) in measured(problem).items():
            print(f"  {name:10} {evaluation * 1e6:8.1f} {solution * 1e6:8.0f}")


if __name__ == "__main__":
    main()

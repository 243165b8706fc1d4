"""How samples of the gamma and beta distributions depend on their parameters, as primitives; see
sampling.py. Computed in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy

from .. import sampling
from ..op import TRANSCENDENTAL, OpDef, Rule, Types, elementwise

NAMES = {
    "choose": np.where, "gammaln": lambda x: scipy.special.gammaln(x), "acos": np.arccos,
    "cos": np.cos, "exp": np.exp, "floor": np.floor, "log": np.log, "log1p": np.log1p,
    "magnitude": np.abs, "sqrt": np.sqrt,
    "tail_of_gamma": lambda a, x, lower: np.where(
        lower, scipy.special.gammainc(a, x), scipy.special.gammaincc(a, x)
    ),
    "tail_of_beta": lambda a, b, x, lower: np.where(
        lower, scipy.special.betainc(a, b, x), scipy.special.betaincc(a, b, x)
    ),
}


def _undifferentiable(name: str) -> Rule:
    def refuse(*_: Any) -> Any:
        raise NotImplementedError(f"the derivative for '{name}' is not implemented.")

    return refuse


def _slope(name: str, formula: Callable[..., Any], word: str, arity: int) -> OpDef:
    inner = sampling.bound(formula, **NAMES)

    def value(*arrays: np.ndarray) -> np.ndarray:
        return inner(*(np.asarray(x, np.float64) for x in arrays)).astype(arrays[0].dtype)

    operands = ", ".join(f"{{{k}}}" for k in range(arity))
    return elementwise(
        name, ref=value, expr=f"{name}({operands})", types=Types.FLOAT, cost=40 * TRANSCENDENTAL,
        domain=(0.5, 3), vjp=(_undifferentiable(word),) * arity,
    )


gamma_slope = _slope("gamma_slope", sampling.gamma_slope, "_standard_gamma_grad", 2)
beta_slope = _slope("beta_slope", sampling.beta_slope, "_dirichlet_grad", 3)

"""How samples of the gamma and beta distributions depend on their parameters, as primitives; see
sampling.py. Computed in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import sampling
from ..op import TRANSCENDENTAL, OpDef, Rule, Types, elementwise


def _undifferentiable(name: str) -> Rule:
    def refuse(*_: Any) -> Any:
        raise NotImplementedError(f"the derivative for '{name}' is not implemented.")

    return refuse


def _slope(name: str, formula: Callable[..., Any], word: str, arity: int) -> OpDef:
    def value(*arrays: np.ndarray) -> np.ndarray:
        return formula(*(np.asarray(x, np.float64) for x in arrays)).astype(arrays[0].dtype)

    operands = ", ".join(f"{{{k}}}" for k in range(arity))
    return elementwise(
        name, ref=value, expr=f"{name}({operands})", types=Types.FLOAT, cost=40 * TRANSCENDENTAL,
        domain=(0.5, 3), vjp=(_undifferentiable(word),) * arity,
    )


gamma_slope = _slope("gamma_slope", sampling.gamma_slope, "_standard_gamma_grad", 2)
beta_slope = _slope("beta_slope", sampling.beta_slope, "_dirichlet_grad", 3)

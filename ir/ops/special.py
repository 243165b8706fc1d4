"""Special functions as primitives: those whose value is no short formula of the elementary ones.

Everything else of torch.special is a composite of these (tracegrad/functions/special.py).
Derivatives are from the NIST Digital Library of Mathematical Functions (DLMF), by the equations
named here. References are SciPy's. Kernels call the same code (runtime/cpu/special.py) or have
formulas of their own (vector_*.py), which differ by a few units of the last place.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any

import numpy as np
import scipy

from ..op import TRANSCENDENTAL, OpDef, Rule, Types, elementwise, floats_only
from .elementwise import exp, log, sign, where
from .slopes import gamma_slope

# of vector code for the error function's family, and for the gamma function's; of a call of SciPy
ERROR, GAMMA, CALL = 20 * TRANSCENDENTAL, 100 * TRANSCENDENTAL, 500 * TRANSCENDENTAL


def _special(name: str, *rules: Rule | None, of: str = "", ref: Callable[..., Any] | None = None,
             word: str = "", public: str = "", domain: tuple[float, float] = (-3.0, 3.0),
             cost: int = CALL, **fields: Any) -> OpDef:
    """A primitive that SciPy knows as `of`, kernels as `word` and torch by the names in
    `public`, by default `special.name`; NaN where it is not defined.
    """

    # `scipy.special` is loaded when it is first used: it would be a third of the time to import us
    def value(*arrays: np.ndarray) -> np.ndarray:
        return getattr(scipy.special, of or name)(*arrays)

    names = public or f"special.{name}"
    operands = ", ".join(f"{{{k}}}" for k in range(len(rules)))
    expr = f"{word or name}({operands})"
    return elementwise(name, ref=ref or value, expr=expr, types=Types.FLOAT, cost=cost,
                       domain=domain, vjp=rules, public=tuple(names.split()), **fields)


# ---- the error function's family: DLMF 7.2, 7.10
def _erfinv(x: np.ndarray) -> np.ndarray:
    return np.copysign(scipy.special.erfinv(x), x)  # SciPy's of -0.0 is 0.0


# torch computes it again in backward, which shows if the output is changed through `.data`
erfinv = _special("erfinv", lambda g, y, x: g * exp(erfinv(x) ** 2) * (pi**0.5 / 2),
                  ref=_erfinv, public="erfinv", domain=(-0.9, 0.9), cost=ERROR)
erfcx = _special("erfcx", lambda g, y, x: g * (2 * x * y - 2 / pi**0.5), cost=ERROR)
ndtri = _special("ndtri", lambda g, y, x: g * exp(y * y * 0.5) * (2 * pi) ** 0.5, domain=(0.1, 0.9),
                 cost=ERROR)


# ---- the gamma function's family: DLMF 5.2, 5.15, 8.2, 25.11.17
TINY = 1e-30


def _lgamma(x: np.ndarray) -> np.ndarray:
    size = np.abs(x)  # gammaln overflows next to zero
    y = scipy.special.gammaln(np.where(np.isneginf(x), size, x))
    return np.where((size > 0) & (size < TINY), -np.log(size), y)


DEEP = -20.0  # zeta's terms are not summed one by one from here


def _zeta(s: np.ndarray, q: np.ndarray) -> np.ndarray:
    """SciPy's, which takes -q steps where q is negative: there, with q = f - n and 0 <= f < 1, the
    first n terms are a difference of zetas by DLMF 25.11.4, since (f - k)**s = (-1)**s (k - f)**s.
    """
    zeta = scipy.special.zeta
    deep = (q < DEEP) & (s > 1) & (s == np.floor(s)) & np.isfinite(q)
    if not deep.any():
        return zeta(s, q)
    wide = np.asarray(q, np.float64)
    f = np.where(deep, wide - np.floor(wide), 0.5)
    rest = zeta(np.minimum(s, 99.0), np.where(deep, 1 - wide, 1))  # nothing, for greater s
    terms = zeta(s, 1 - f) - rest
    far = zeta(s, f) + np.where(s % 2 == 1, -terms, terms)
    return np.where(deep, far, zeta(s, np.where(deep, 1, q))).astype(q.dtype)


def _igamma_slope(g: Any, a: Any, x: Any) -> Any:
    return g * exp((a - 1) * log(x) - x - lgamma(a))


lgamma = _special("lgamma", lambda g, y, x: g * digamma(x), ref=_lgamma,
                  public="lgamma special.gammaln", domain=(0.5, 3), cost=GAMMA)
digamma = _special("digamma", lambda g, y, x: g * zeta(2.0, x), of="psi",
                   public="digamma special.psi", domain=(0.5, 3), cost=GAMMA)
# zeta(s, q) of Hurwitz; polygamma is made of it. Nobody gives a derivative in s in closed form.
zeta = _special("zeta", None, lambda g, y, s, q: -g * s * zeta(s + 1, q), ref=_zeta,
                word="hurwitz", domain=(1.5, 3))
igamma = _special("igamma", lambda g, y, a, x: _igamma_slope(-g * gamma_slope(a, x), a, x),
                  lambda g, y, a, x: _igamma_slope(g, a, x), of="gammainc",
                  public="igamma special.gammainc", domain=(0.5, 3), refused=floats_only("igamma"))
igammac = _special("igammac", lambda g, y, a, x: _igamma_slope(g * gamma_slope(a, x), a, x),
                   lambda g, y, a, x: -_igamma_slope(g, a, x), of="gammaincc",
                   public="igammac special.gammaincc", domain=(0.5, 3),
                   refused=floats_only("igammac"))


# ---- Bessel functions: DLMF 10.6, 10.29; i0e and i1e are i0 and i1 times exp(-|x|)
def _first_order(below: OpDef, scaled: bool = False) -> Rule:
    """The rule of the function of order one, given that of order zero: y' = y0 - y / x."""

    def rule(g: Any, y: Any, x: Any) -> Any:
        near = abs(x) <= 1e-15  # 0 in float16
        safe = where(near, 1, x)
        down = below(safe) - y / safe
        return g * where(near, 0.5, down - y * sign(safe) if scaled else down)

    return rule


# kernels have types that are called i1 and the like
i0 = _special("i0", lambda g, y, x: g * i1(x), word="bessel_i0",
             public="i0 special.modified_bessel_i0")
i1 = _special("i1", _first_order(i0), word="bessel_i1",
             public="special.i1 special.modified_bessel_i1")
i0e = _special("i0e", lambda g, y, x: g * (i1e(x) - sign(x) * y), word="bessel_i0e")
i1e = _special("i1e", _first_order(i0e, scaled=True), word="bessel_i1e")
bessel_j0 = _special("bessel_j0", lambda g, y, x: -g * bessel_j1(x), of="j0")
bessel_j1 = _special("bessel_j1", _first_order(bessel_j0), of="j1")

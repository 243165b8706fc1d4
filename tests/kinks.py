"""Cases of the primitives of ir/ops/kinks.py for the gradient test: name -> [(function, shapes)].

Each is handed its own value, computed without a history.
"""

from __future__ import annotations

import math

from tracegrad.ir import dtype as dt
from tracegrad.ir.node import constant
from tracegrad.ir.ops import elementwise as E, kinks as K, reduce as R

ONE = (((),), ((5,),), ((2, 3),), ((0, 3),))
TWO = [(s, s) for (s,) in ONE]
THREE = [(s, s, s) for (s,) in ONE]


def valued(op, value):
    """The primitive as a function of its other operands, given what its value is."""
    return lambda *xs: op(E.stop_gradient(value(*xs)), *xs)


def passing(x, c):
    return K.passing(E.stop_gradient(E.where(c > 0, x * x, 1.0)), c > 0, x * x)


def slope(x):
    return K.slope(E.stop_gradient(2.5 * x), x, constant(2.5, dt.float64, x.shape)) ** 2


FORMULAS = {
    "silu": lambda x: x * E.sigmoid(x),
    "mish": lambda x: x * E.tanh(E.log1p(E.exp(x))),
    "gelu": lambda x: 0.5 * x * (1 + E.erf(x * math.sqrt(0.5))),
    "gelu_tanh": lambda x: 0.5 * x * K.gelu_tanh(x),
    "logsigmoid": lambda x: E.log(E.sigmoid(x)),
}


def curve(of):
    return lambda x: K.curve(E.stop_gradient(FORMULAS[of](x)), x, of=of) ** 2


def squares(x):
    mean = R.sum(x, dims=rest(x)) / math.prod(x.shape[1:])
    away = x - R.spread(mean, x.shape, rest(x))
    return K.squares(E.stop_gradient(R.sum(away * away, dims=rest(x))), x) ** 2


def reached(x):
    return K.reached(E.stop_gradient(R.max(x, dims=rest(x))), x) ** 2


def farthest(x):
    return K.farthest(E.stop_gradient(R.max(E.abs(x), dims=rest(x))), x) ** 2


def rest(x):
    return tuple(range(1, len(x.shape)))


def length(op, p):
    """The p-norm along all axes but the first."""

    def norm(x):
        size = E.stop_gradient(R.sum(E.abs(x) ** p, dims=rest(x)) ** (1 / p))
        return op(size, x) if p == 2 else op(size, x, constant(p, dt.float64, size.shape))

    return norm


SOME = (((2, 3),), ((4,),), ((2, 3, 2),))


CASES = {
    name: [(f, s) for s in shapes]
    for name, f, shapes in (
        ("steps", lambda x: K.steps(E.floor(E.stop_gradient(x)), x) * x, ONE),
        ("passing", passing, TWO),
        ("root", lambda x: valued(K.root, E.sqrt)(x * x + 1.0), ONE),
        ("slope", slope, ONE),
        ("squares", squares, SOME),
        ("reached", reached, SOME),
        ("farthest", farthest, SOME),
        ("length", length(K.length, 2), SOME),
        *((f"length_{name}", length(op, p), SOME)
          for (_, op), name, p in zip(
              K.lengths, ("below_1", "below_2", "above_2"), (0.5, 1.5, 3.5), strict=True)),
        ("logaddexp", valued(K.logaddexp, lambda a, b: E.log(E.exp(a) + E.exp(b))), TWO),
        ("logaddexp2", valued(K.logaddexp2, lambda a, b: E.log2(2.0**a + 2.0**b)), TWO),
        ("lerp", valued(K.lerp, lambda a, b, w: a + w * (b - a)), THREE),
        ("xlogy", lambda a, b: K.x_log_y(a, b * b), TWO),
        ("xlog1py", lambda a, b: K.x_log1p_y(a, b * b), TWO),
        *((f"{name}_{kind}", lambda a, b, rule=rule: rule(a, b * b + 0.5), TWO)
          for name, rule in (("xlogy", K.x_log_y_forward), ("xlog1py", K.x_log1p_y_forward))
          for kind in ("forward", "linear")),  # the linear one is the derivative in a
        ("entr", lambda x: valued(K.entr, lambda x: -x * E.log(x))(x * x + 0.5), ONE),
    )
}
CASES["curve"] = [(curve(of), s) for of in FORMULAS for s in ONE]

"""Values that are computed otherwise, with the derivative that torch gives them where the formula
of the value has none or another: at kinks, at ties, where logarithms and roots end.

As in implicit.py, the first operand is the value; that of `steps` and `passing` has a history of
its own, so that several follow one another. The others have its shape, except where it is said.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf, pi, prod, sqrt
from typing import Any

from .elementwise import (
    cast,
    eq,
    erf,
    exp,
    gt,
    isnan,
    le,
    log,
    log1p,
    logical_and,
    pow as power,
    sigmoid,
    sign,
    stop_gradient,
    tanh,
    where,
)
from .implicit import implicit, read
from .reduce import spread, sum as sum_
from .source import zeros_like

# steps(y, x): y changes with x, of any shape, in steps alone; the gradient is zero
steps = implicit(
    "steps", (lambda g, y, v, x: g, lambda g, y, v, x: zeros_like(g, x)), "StepsBackward0"
)

# passing(y, c, x): y is x where c holds, as far as the gradient goes
passing = implicit(
    "passing", (lambda g, y, v, c, x: g, None, lambda g, y, v, c, x: where(c, g, 0)),
    "WhereBackward0",
)

# root(y, x): y = sqrt(x), with no gradient where x is 0
root = implicit(
    "root", (None, lambda g, y, v, x: where(eq(y, 0), 0, g / (2 * y))), "SqrtBackward0"
)

# slope(y, x, s): y has the derivative s, which may have one
slope = implicit(
    "slope", (lambda g, y, v, x, s: g, lambda g, y, v, x, s: g * s, read), "MulBackward0"
)


def log1p_exp(z: Any) -> Any:
    """log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)); `where` keeps it smooth at 0, abs would
    not.
    """
    positive = gt(z, 0)
    return where(positive, z, 0) + log1p(exp(where(positive, -z, z)))


def log1p_exp_slope(z: Any) -> Any:
    """sigmoid(z), by the exponential that log1p_exp has."""
    positive = gt(z, 0)
    e = exp(where(positive, -z, z))
    return where(positive, 1, e) / (1 + e)


def gelu_tanh(x: Any) -> Any:
    """Twice what `gelu` multiplies x with."""
    return 1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))


def _silu_slope(x: Any) -> Any:
    s = sigmoid(x)
    return s * (1 + x * (1 - s))


def _mish_slope(x: Any) -> Any:
    t = tanh(log1p_exp(x))
    return t + x * log1p_exp_slope(x) * (1 - t * t)


def _gelu_slope(x: Any) -> Any:
    return 0.5 * (1 + erf(x * sqrt(0.5))) + x * (sqrt(0.5 / pi) * exp(x * x * -0.5))


def _gelu_tanh_slope(x: Any) -> Any:
    p = gelu_tanh(x)
    return 0.5 * p + x * (p * (2 - p) * (sqrt(0.5 / pi) * (1 + 3 * 0.044715 * (x * x))))


SLOPES: dict[str, Callable[[Any], Any]] = {
    "silu": _silu_slope, "mish": _mish_slope, "gelu": _gelu_slope, "gelu_tanh": _gelu_tanh_slope,
    "logsigmoid": lambda x: log1p_exp_slope(-x),
}

# curve(y, x, of=): y is an activation of x. The gradient is one product: a sum of two, as the
# formula of the value has it, is NaN of an infinite gradient if they differ in sign
curve = implicit(
    "curve", (None, lambda g, y, v, x, *, of: g * SLOPES[of](x)), "MulBackward0",
    *({"of": name} for name in SLOPES),
)


# ---- of y for the last axes of x, which has more of them
def _along(y: Any, x: Any) -> Callable[[Any], Any]:
    """A function that repeats what has y's shape along these axes."""
    dims = tuple(range(len(y.shape), len(x.shape)))
    return lambda t: spread(t, x.shape, dims)


def _reached(g: Any, y: Any, v: Any, x: Any) -> Any:
    along = _along(y, x)
    hit = where(isnan(along(y)), isnan(x), eq(x, along(y)))
    count = sum_(cast(hit, dtype=x.dtype), dims=tuple(range(len(y.shape), len(x.shape))))
    return where(hit, along(g / count), 0)  # hit * an infinity is NaN where nothing was reached


# reached(y, x): y is a number out of x; all that equal it share the gradient, and so does every NaN
# where y is NaN
reached = implicit("reached", (None, _reached), "EvenlyDistributeBackward0")

# farthest(y, x): y is the size of a number out of x, likewise
farthest = implicit(
    "farthest", (None, lambda g, y, v, x: sign(x) * _reached(g, y, v, abs(x))),
    "LinalgVectorNormBackward0",
)


def _squares(g: Any, y: Any, v: Any, x: Any) -> Any:
    along, dims = _along(y, x), tuple(range(len(y.shape), len(x.shape)))
    mean = sum_(x, dims=dims) / (prod(x.shape[d] for d in dims) or 1)
    return along(2 * g) * (x - along(mean))


# squares(y, x): y = sum((x - mean of x) ** 2)
squares = implicit("squares", (None, _squares), "VarBackward0")


def _length(g: Any, y: Any, v: Any, x: Any) -> Any:
    along = _along(y, x)
    return along(g) * where(eq(along(y), 0), 0, x / along(y))


# length(y, x): y = sum(x ** 2) ** (1 / 2)
length = implicit("length", (None, _length), "LinalgVectorNormBackward0")


def _length_of_order(high: float) -> Any:
    """length_..(y, x, p): y = sum(|x| ** p) ** (1 / p), for p below `high` and not below 1 or 2."""

    def rule(g: Any, y: Any, v: Any, x: Any, p: Any) -> Any:
        along = _along(y, x)
        if high <= 1:
            return (sign(x) * where(eq(x, 0), 0, power(abs(x), along(p - 1)))
                    * along(g * power(y, 1 - p)))
        over = along(where(eq(y, 0), 0, g / power(y, p - 1)))
        if high <= 2:
            return sign(x) * power(abs(x), along(p - 1)) * over
        return x * power(abs(x), along(p - 2)) * over

    name = f"length_below_{high}" if high < inf else "length_above_2"
    return implicit(name, (None, rule, None), "LinalgVectorNormBackward0")


lengths = [(high, _length_of_order(high)) for high in (1, 2, inf)]


# ---- of two

# lerp(y, a, b, w): y = a + w * (b - a), by whichever formula
lerp = implicit(
    "lerp",
    (None, lambda g, y, v, a, b, w: g * (1 - w), lambda g, y, v, a, b, w: g * w,
     lambda g, y, v, a, b, w: g * (b - a)),
    "LerpBackward0",
)

# logaddexp(y, a, b): y = log(exp(a) + exp(b)), and logaddexp2 with 2 ** a
logaddexp = implicit(
    "logaddexp",
    (None, lambda g, y, v, a, b: g / (1 + exp(b - a)), lambda g, y, v, a, b: g / (1 + exp(a - b))),
    "LogaddexpBackward0",
)
logaddexp2 = implicit(
    "logaddexp2",
    (None, lambda g, y, v, a, b: g / (1 + 2.0 ** (b - a)),
     lambda g, y, v, a, b: g / (1 + 2.0 ** (a - b))),
    "Logaddexp2Backward0",
)


def _x_log(name: str, log_of: Any, shift: float, title: str) -> tuple[Any, Any]:
    """xlogy(y, a, b): y = a * log(b), and 0 where a is; xlog1py with log(1 + b). And the same for
    forward mode, whose derivative in a is linear also where log(b) is infinite or NaN.
    """

    def applied(op: Any, a: Any, b: Any) -> Any:
        dead = logical_and(eq(a, 0), eq(b, b))
        return op(stop_gradient(where(dead, 0, a * log_of(b))), a, b)

    def in_a(inner: Callable[[], Any], g: Any, a: Any, b: Any) -> Any:
        return where(logical_and(eq(a, 0), le(b, -shift)), 0, applied(inner(), g, b))

    def in_b(g: Any, y: Any, v: Any, a: Any, b: Any) -> Any:
        return g * a / (b + shift if shift else b)

    op = implicit(name, (None, lambda g, y, v, a, b: in_a(lambda: op, g, a, b), in_b), title)
    linear = implicit(
        f"{name}_linear", (None, lambda g, y, v, a, b: applied(linear, g, b), in_b), title
    )
    forward = implicit(
        f"{name}_forward", (None, lambda g, y, v, a, b: in_a(lambda: linear, g, a, b), in_b), title
    )
    return partial(applied, op), partial(applied, forward)


x_log_y, x_log_y_forward = _x_log("xlogy", log, 0.0, "XlogyBackward0")
x_log1p_y, x_log1p_y_forward = _x_log("xlog1py", log1p, 1.0, "SpecialXlog1PyBackward0")

# entr(y, x): y = -x log(x), 0 at 0 and -inf below it
entr = implicit(
    "entr", (None, lambda g, y, v, x: g * -(1 + log(x))), "SpecialEntrBackward0"
)

"""Where the rule of each primitive with a derivative may go wrong: zeros, ties, edges of domains,
infinities, NaN, matrices without full rank. Four tables, by what is right there:

SMOOTH   the function has derivatives, known from differences
CHOSEN   elementwise primitives, for which torch chooses; by the name of torch's function
PUBLIC   functions made of the other primitives, for which torch chooses
NONE     there is no derivative, and what we say is not finite
"""

from __future__ import annotations

import kinks
import matrices
import numpy as np
from registry import CASES

from tracegrad.ir import dtype as dt, ops
from tracegrad.ir.node import constant
from tracegrad.ir.op import Kind
from tracegrad.ir.ops import (
    determinants as D,
    elementwise as E,
    implicit as I,
    linalg as L,
    reduce as R,
)
from tracegrad.ir.ops.contract import dot, transpose
from tracegrad.ir.ops.matrices import identity
from tracegrad.ir.value import REGISTRY

INF, NAN = np.inf, np.nan
NUMBERS = np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, INF, -INF, NAN])


def whole(shapes, seed):
    """Arrays of -1, 0, 1 and 2: full of zeros and ties."""
    rng = np.random.default_rng(seed)
    return [rng.choice([-1.0, 0.0, 0.0, 1.0, 2.0], s) for s in shapes]


def zeros(shapes, seed):
    return [np.zeros(s) for s in shapes]


# ---- polynomials, whatever the numbers are
SMOOTH = {
    op.name: [(f, draw(shapes, k)) for k, (f, shapes) in enumerate(CASES[op.name])
              for draw in (whole, zeros) if all(np.prod(s) for s in shapes)]
    for op in REGISTRY.values()
    if op.name in CASES and op.vjp is not None
    and op.kind in (Kind.MOVEMENT, Kind.PREFIX, Kind.CONTRACT, Kind.INDEX)
}
SMOOTH["index_reduce"] = [(f, draw(shapes, 0)) for f, shapes in CASES["index_reduce"][:1]
                          for draw in (whole, zeros)]
SMOOTH["index_reduce"] += [
    (SMOOTH["index_reduce"][0][0], [np.array(x), np.array(v)])
    for x, v in (([[2.0, 0, 3, 1]] * 2, [[0.0, 5, 0], [2, 0, 0]]),
                 ([[1.0, 0, 0, 1]] * 2, [[0.0, 5, 7], [2, 0, 4]]))
]
SMOOTH["sum"] = [(f, zeros(s, 0)) for f, s in CASES["sum"] if all(np.prod(t) for t in s)]
SMOOTH["prod"] = [(f, draw(s, k)) for k, (f, s) in enumerate(CASES["prod"])
                  for draw in (whole, zeros) if all(np.prod(t) for t in s)]
SMOOTH["prod"] += [
    (lambda x: R.prod(x, dims=(0,)), [np.array(x)])
    for x in ([0.0, 2, 3, 4], [0.0, 2, 0, 4], [0.0, 0, 0, 4], [0.0, 0, 0, 0], [0.0], [2.0, -0.0])
]
SMOOTH["bessel_j0"] = [(ops.special.bessel_j0, [np.array([0.0, -0.0, 2.0, -2.0])])]
SMOOTH["bessel_j1"] = [(ops.special.bessel_j1, [np.array([0.0, -0.0, 2.0, -2.0])])]
SMOOTH["pow"] = [(lambda x, p=p: x**p, [np.array([0.0, -0.0, 1.0, -1.0])]) for p in (2.0, 3.0, 4.0)]
SMOOTH["slope"] = [(kinks.slope, zeros(((3,),), 0))]
SMOOTH["curve"] = [(kinks.curve(of), zeros(((3,),), 0)) for of in kinks.FORMULAS]
SMOOTH["squares"] = [(kinks.squares, [np.array(x)]) for x in ([[1.0, 1, 1]], [[0.0]], [[3.0], [4]])]
SMOOTH["lerp"] = [(kinks.CASES["lerp"][0][0], zeros(((3,),) * 3, 0))]
SMOOTH["logaddexp"] = [(kinks.CASES["logaddexp"][0][0], zeros(((3,),) * 2, 0))]
SMOOTH["logaddexp2"] = [(kinks.CASES["logaddexp2"][0][0], zeros(((3,),) * 2, 0))]
for _name in ("xlogy_forward", "xlogy_linear", "xlog1py_forward", "xlog1py_linear"):
    # where the logarithm ends, test_forward_mode compares with torch
    SMOOTH[_name] = [(kinks.CASES[_name][0][0], zeros(((3,),) * 2, 0))]


# ---- matrices
def of_rank(n, rank, seed=0):
    rng = np.random.default_rng(seed)
    left, right = rng.integers(-2, 3, (n, rank)), rng.integers(-2, 3, (rank, n))
    return (left @ right).astype(np.float64)


SINGULAR = [
    np.zeros((2, 2)), np.ones((2, 2)), np.zeros((3, 3)), np.ones((3, 3)), np.diag([1.0, 2, 0]),
    np.diag([3.0, 0, 0]), np.array([[0.0, 1, 2], [0, 3, 4], [0, 6, 8]]), np.eye(3)[[2, 0, 1]],
    *(of_rank(n, r, n + r) for n in (3, 4, 5) for r in range(1, n)),
    np.stack([np.diag([1.0, 0, 2]), np.zeros((3, 3)), np.eye(3)]), np.array([[0.0]]),
]


def packed(a):
    return matrices.packed(a)


SMOOTH["det"] = [(lambda x: D.determinant(x, packed(x)), [a]) for a in SINGULAR]
SMOOTH["cofactor"] = [(lambda x: D.cofactors(x, packed(x)), [a]) for a in (
    np.eye(3), np.diag([1.0, 2, 1]), np.diag([2.0, 2, 2, 1]))]
SMOOTH["det_curvature"] = [
    (lambda x, g: D.curvature(x, packed(x), g), [a, np.zeros_like(a)])
    for a in (np.eye(3), np.diag([1.0, 2, 1]))
]


def symmetric(x):
    return x + transpose(x)


def values(x):
    w, v = L.eigh_factors(L.eigh(symmetric(x), upper=False, check=None), x.shape[-1])
    return I.eigenvalues(E.stop_gradient(w), symmetric(x), v)


def vectors(x):
    return L.eigh_factors(L.eigh(symmetric(x), upper=False, check=None), x.shape[-1])[1]


def singular_values(x):
    u, s, vh = L.svd_factors(L.svd(x, full=False, check=None), tuple(x.shape), False)
    return I.singular_values(E.stop_gradient(s), x, u, vh)


def left_vectors(x):
    return L.svd_factors(L.svd(x, full=False, check=None), tuple(x.shape), False)[0]


for _name in ("cholesky", "triangular_solve", "lu", "solve", "inverse", "cholesky_solve",
              "logabsdet", "pinv"):
    SMOOTH[_name] = [
        (f, zeros(shapes, 0)) for f, shapes in matrices.CASES[_name]
        if all(np.prod(s) for s in shapes) and shapes[0][-1] == shapes[0][-2]
    ]
SMOOTH["eigenvalues"] = [(values, [np.diag([1.0, 2, 3])])]
SMOOTH["singular_values"] = [(singular_values, [np.diag([3.0, 2, 1])])]


# ---- where there is none
def spread_out(x):
    """A matrix from its own parts: its derivative goes through those of the vectors."""
    w, v = L.eigh_factors(L.eigh(symmetric(x), upper=False, check=None), x.shape[-1])
    return dot(v, dot(E.where(E.eq(*ops.matrices.grid(x)), 1, 0 * x) * ops.matrices.row(w),
                      transpose(v)))


NONE = {  # name -> [(function, arrays, the order that does not exist)]
    "eigh": [(vectors, [np.eye(3)], 1), (spread_out, [np.eye(3)], 1)],
    "eigenvalues": [(values, [np.eye(3)], 2)],
    "qr": [(lambda x: L.qr(x, complete=False), [np.ones((2, 2))], 1)],
    "svd": [(left_vectors, [np.eye(3)], 1), (left_vectors, [np.zeros((3, 2))], 1)],
    "singular_values": [(singular_values, [np.eye(3)], 2)],
    "det_curvature": [
        (lambda x: D.curvature(x, packed(x), identity(x, tuple(x.shape))), [a], 1)
        for a in (np.diag([1.0, 2, 0, 0]), 1e-3 * of_rank(4, 2))
    ],
}


# ---- what torch chooses: name -> torch's function
SAME = """
    abs acos acosh asin asinh atan atanh atan2 ceil copysign cos cosh digamma erf erfc erfinv exp
    expm1 floor fmod hypot i0 lgamma log log10 log1p log2 maximum minimum neg nextafter pow
    reciprocal relu remainder round rsqrt sigmoid sign sin sinh sqrt tan tanh trunc
    add sub mul div
""".split()
SPECIAL = ("erfcx", "i0e", "i1", "i1e", "ndtri")


def constant_like(value, x):
    """A constant beside an operand of either kind."""
    return constant(value, dt.float64) if not hasattr(x, "requires_grad") else value


CHOSEN = {
    **{name: (REGISTRY[name], lambda t, *xs, n=name: getattr(t, n)(*xs)) for name in SAME},
    **{name: (REGISTRY[name], lambda t, x, n=name: getattr(t.special, n)(x)) for name in SPECIAL},
    "where": (lambda a, b: E.where(a > b, a, b), lambda t, a, b: t.where(a > b, a, b)),
    "cast": (lambda x: E.cast(x, dtype=dt.float64), lambda t, x: x.to(t.float64)),
    **{op.name: (op, lambda t, x: x.clone()) for op in (E.copy, E.to_host, E.to_device)},
    "floor_div": (E.floor_div, lambda t, a, b: t.div(a, b, rounding_mode="floor")),
    "ldexp": (lambda x: E.ldexp(x, constant_like(2.0, x)),
              lambda t, x: t.ldexp(x, t.tensor(2.0, dtype=t.float64))),
    "zeta": (lambda x: ops.special.zeta(constant_like(2.5, x), x),
             lambda t, x: t.special.zeta(t.tensor(2.5, dtype=t.float64), x)),
    "igamma": (lambda x: ops.special.igamma(constant_like(2.5, x), x),
               lambda t, x: t.igamma(t.tensor(2.5, dtype=t.float64), x)),
    "igammac": (lambda x: ops.special.igammac(constant_like(2.5, x), x),
                lambda t, x: t.igammac(t.tensor(2.5, dtype=t.float64), x)),
}


def _poles(x):
    return (x > 0) & np.isfinite(x)


BINARY = set("""add atan2 copysign div floor_div fmod hypot maximum minimum mul nextafter pow
    remainder sub where""".split())
# where torch's derivative is not that of its value: at poles its trigamma is some large number, and
# its i1 has a slope at NaN
LEFT_OUT = {
    "digamma": _poles, "lgamma": _poles, "zeta": _poles, "igamma": _poles, "igammac": _poles,
    **dict.fromkeys(("i0", "i0e", "i1", "i1e"), np.isfinite),
}


def points(name):
    if name in BINARY:
        return [a.ravel() for a in np.meshgrid(NUMBERS, NUMBERS)]
    return [NUMBERS[LEFT_OUT[name](NUMBERS)] if name in LEFT_OUT else NUMBERS]


# ---- functions for which torch chooses: primitive -> [(function of library and tensors, arrays)]
ROWS = [
    [1.0, -2.0, 3.0, 0.5], [0.0, 0.0, -0.0], [2.0, 1.0, 2.0, -2.0], [1.0, 1.0, 1.0], [3.0], [0.0],
    [1.0, NAN, 2.0], [-INF, -INF], [0.0, 2.0, 3.0], [0.0, 2.0, 0.0], [-1.0, -1.0, 0.0],
]
ENDLESS = [[1.0, INF, 2.0], [INF, -INF, 1.0], [INF, INF, 1.0]]


def on_rows(*functions, rows=ROWS):
    return [(f, [np.array(row)]) for f in functions for row in rows]


def on_grid(*functions, operands=2, numbers=NUMBERS):
    grid = [a.ravel() for a in np.meshgrid(*[numbers] * operands)]
    return [(f, grid) for f in functions]


def norm(p):
    return lambda t, x: t.linalg.vector_norm(x, p)


def losses(name, **options):
    return lambda t, a, b: getattr(t.nn.functional, name)(a, b, reduction="none", **options)


FINITE = NUMBERS[np.isfinite(NUMBERS)]
PUBLIC = {
    "max": on_rows(lambda t, x: t.amax(x), lambda t, x: t.max(x, 0)[0],
                   lambda t, x: t.cummax(x, 0)[0], lambda t, x: t.aminmax(x)[1]),
    "min": on_rows(lambda t, x: t.amin(x), lambda t, x: t.min(x, 0)[0],
                   lambda t, x: t.cummin(x, 0)[0]),
    "reached": on_rows(lambda t, x: t.max(x), lambda t, x: t.min(x), lambda t, x: t.median(x),
                       lambda t, x: t.nanmedian(x), rows=ROWS + ENDLESS),
    "steps": on_rows(lambda t, x: t.angle(x), lambda t, x: t.frac(x))
    + on_grid(lambda t, a, b: t.div(a, b, rounding_mode="trunc")),
    "passing": on_grid(lambda t, a, b: a.clamp(min=b), lambda t, a, b: a.clamp(max=b),
                       lambda t, a, b: a.clamp(b, b), lambda t, a, b: t.clamp(a, a, b))
    + on_grid(lambda t, a, b, c: a.clamp(b, c), operands=3, numbers=NUMBERS[[0, 2, 3, 9, 11]])
    + on_rows(lambda t, x: x.clamp(0, 1), lambda t, x: x.clamp(1, -1),
              rows=[NUMBERS])
    + on_rows(lambda t, x: t.nn.functional.hardtanh(x), lambda t, x: t.nn.functional.relu6(x),
              rows=[NUMBERS[:-1]]),
    "root": on_rows(lambda t, x: t.std(x), lambda t, x: t.std(x, correction=0),
                    lambda t, x: sum(t.std_mean(x)), lambda t, x: t.std(x, correction=None)),
    "squares": on_rows(lambda t, x: t.var(x), lambda t, x: t.var(x, correction=0),
                       lambda t, x: t.var(x.reshape(1, -1), 1, keepdim=True), lambda t, x: t.cov(x),
                       rows=ROWS + ENDLESS[:2]),
    "slope": on_rows(lambda t, x: t.var(x, correction=9), lambda t, x: t.std(x, correction=9)),
    "length": on_rows(norm(2), lambda t, x: t.dist(x, x.detach().flip(0)),
                      lambda t, x: t.nn.functional.normalize(x, dim=0),
                      lambda t, x: t.linalg.norm(x.reshape(1, -1)),
                      lambda t, x: t.nn.functional.cosine_similarity(x, x, dim=0)),
    "length_below_1": on_rows(norm(0.5), norm(-1), norm(-2)),
    "length_below_2": on_rows(norm(1.5), lambda t, x: t.dist(x, x.detach().flip(0), 1.5)),
    "length_above_2": on_rows(norm(3), norm(3.5)),
    "farthest": on_rows(norm(INF), norm(-INF), rows=ROWS + ENDLESS),
    "lerp": on_grid(lambda t, a, b, w: t.lerp(a, b, w), operands=3)
    + on_grid(lambda t, a, b: t.lerp(a, b, 0.25), lambda t, a, b: t.lerp(a, b, 0.75)),
    "logaddexp": on_grid(lambda t, a, b: t.logaddexp(a, b)),
    "logaddexp2": on_grid(lambda t, a, b: t.logaddexp2(a, b)),
    "xlogy": on_grid(lambda t, a, b: t.xlogy(a, b)),
    "xlog1py": on_grid(lambda t, a, b: t.special.xlog1py(a, b)),
    "entr": on_rows(lambda t, x: t.special.entr(x), rows=[NUMBERS]),
    "index_reduce": [
        (lambda t, x, v, how=how: t.index_reduce(x, 0, t.tensor([0, 0, 1, 1, 2]), v, how),
         [np.array([1.0, 2, 3, 4]), np.array([1.0, 1, 2, 0, v])])
        for how in ("amax", "amin") for v in (5.0, NAN)
    ],
    "prod": on_rows(lambda t, x: t.prod(x), lambda t, x: t.prod(x, 0),
                    rows=[r for r in ROWS if np.isfinite(r).all()]),
    "relu": on_rows(*(lambda t, x, n=n: getattr(t.nn.functional, n)(x) for n in """
        elu selu celu gelu hardshrink hardswish leaky_relu logsigmoid relu rrelu silu
        softplus softshrink softsign tanhshrink""".split()), rows=[FINITE, NUMBERS[:-3]]),
    "abs": on_grid(*(losses(n) for n in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")),
                   losses("smooth_l1_loss", beta=0.5), losses("huber_loss", delta=0.5),
                   numbers=FINITE),
    "exp": on_rows(lambda t, x: t.softmax(x, 0), lambda t, x: t.log_softmax(x, 0),
                   lambda t, x: t.logsumexp(x, 0), rows=ROWS + ENDLESS),
}

"""The NumPy oracle against PyTorch where they might differ: NaN, infinities, signed zeros, ties,
kinks, halves.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from graphs import arity, gradients

from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import constant, input_node
from tracegrad.ir.op import Kind, Types
from tracegrad.ir.ops import slopes, special
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.value import REGISTRY

torch = pytest.importorskip("torch")

SPECIAL = np.array(
    [
        np.nan,
        np.inf,
        -np.inf,
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        3.0,
        100.0,
        -100.0,
        1e-42,
    ]
)
NAMES = {
    "copy": "clone",
    "floor_div": "floor_divide",
    "shift_left": "bitwise_left_shift",
    "erf": "erf",
    "shift_right": "bitwise_right_shift",
    "stop_gradient": "detach_copy",
    "to_host": "clone",
    "to_device": "clone",
}
# SciPy's answers at the corners of special functions are not always torch's, and its polygamma is
# exact to ten digits; tests/test_pointwise.py compares them where both are at home, and ldexp,
# whose exponents are whole numbers
ELEMENTWISE = [
    op
    for op in REGISTRY.values()
    if op.kind is Kind.ELEMENTWISE
    and op.check is None
    and op.name not in ("cast", "where", "ldexp")
    and op not in vars(special).values()
    and op not in vars(slopes).values()
    and op.vjp is not None
    or op.types in (Types.COMPARE, Types.LOGICAL)
]


def torch_function(op):
    return getattr(torch, NAMES.get(op.name, op.name))


def assert_equal(got, want, arrays, rtol, atol=0.0, signs=True):
    """Equal up to rounding, NaN with NaN, and zeros of one sign; the message lists what is not."""
    with np.errstate(invalid="ignore"):
        close = np.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    if signs:
        close &= (got != 0) | (want != 0) | (np.signbit(got) == np.signbit(want))
    bad = [
        (*(a.flat[k] for a in arrays), "->", got.flat[k], "not", want.flat[k])
        for k in np.flatnonzero(~close)
    ]
    assert not bad, "\n".join(" ".join(map(str, row)) for row in bad)


def operands(op, dtype):
    if arity(op) == 1:
        return (SPECIAL.astype(dtype),)
    a, b = np.array(list(itertools.product(SPECIAL, SPECIAL))).T
    return a.astype(dtype), b.astype(dtype)


@pytest.mark.parametrize("op", ELEMENTWISE, ids=repr)
def test_the_oracle_agrees_with_torch_on_special_numbers(op):
    for dtype in ("f4", "f8"):
        arrays = operands(op, dtype)
        if op.types is Types.LOGICAL:
            arrays = tuple(a > 0 for a in arrays)
        xs = tuple(input_node(a.shape, dt.of_numpy(a.dtype)) for a in arrays)
        (got,) = interpret(Graph(xs, (op(*xs),)), *arrays)
        want = torch_function(op)(*map(torch.from_numpy, arrays)).numpy()
        assert got.dtype == want.dtype
        rtol = {"f4": 3e-6, "f8": 1e-12}[dtype]
        # torch's float32 gives NaN for subnormal divisors, and its zeros their own sign
        if op.name in ("remainder", "fmod"):
            want = np.where(np.isin(arrays[1], np.float32(1e-42)), got, want)
        signs = got.dtype.kind == "f" and op.name not in ("remainder", "fmod")
        # torch's float32 sigmoid(-100) is 1 / inf; ours is the subnormal number that it should be
        atol = 1e-43 if op.name == "sigmoid" else 1e-44
        assert_equal(got, want, arrays, rtol, atol=atol, signs=signs)


KINKS = np.array([0.0, 1.0, -1.0, 0.5, 2.0, -2.0])
DIFFERENTIABLE = [
    op
    for op in ELEMENTWISE
    if op.vjp is not None and any(op.vjp) and op.name != "floor_div"  # torch refuses to derive it
]


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=repr)
def test_gradients_at_kinks_and_ties_are_torch_s(op):
    if arity(op) == 1:
        arrays = (KINKS,)
    else:
        arrays = tuple(np.array(list(itertools.product(KINKS, KINKS))).T)
    xs = tuple(input_node(a.shape, dt.float64) for a in arrays)
    total = sum_(op(*xs), dims=(0,))
    found = gradients([(total, constant(1.0, dt.float64))], xs)
    got = interpret(Graph(xs, found), *arrays)
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    torch_function(op)(*tensors).sum().backward()
    for g, t in zip(got, tensors, strict=True):
        assert_equal(g, t.grad.numpy(), arrays, rtol=1e-12, signs=False)


@pytest.mark.parametrize(
    ("name", "theirs"), [("max", "amax"), ("min", "amin"), ("prod", "prod"), ("sum", "sum")]
)
@pytest.mark.parametrize("rows", [[[1, 3, 3, 2]], [[0, 0, 2, 1]], [[0, 5, 2, 1]], [[4, 4, 4, 4]]])
def test_gradients_of_reductions_share_ties_as_torch_does(name, theirs, rows):
    a = np.array(rows, "f8")
    x = input_node(a.shape, dt.float64)
    y = REGISTRY[name](x, dims=(1,))
    (g,) = gradients([(sum_(y * 3.0, dims=(0,)), constant(1.0, dt.float64))], [x])
    t = torch.tensor(a, requires_grad=True)
    (getattr(torch, theirs)(t, dim=1) * 3).sum().backward()
    np.testing.assert_allclose(interpret(Graph((x,), (g,)), a)[0], t.grad.numpy(), rtol=1e-12)


def torch_type(d):
    return getattr(torch, d.name)


@pytest.mark.parametrize(("a", "b"), list(itertools.product(dt.ALL, dt.ALL)), ids=repr)
def test_promotion_is_torch_s(a, b):
    assert torch_type(dt.promote(a, b)) is torch.promote_types(torch_type(a), torch_type(b))


@pytest.mark.parametrize("half", [dt.float16, dt.bfloat16], ids=repr)
def test_halves_round_as_torch_rounds(half):
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    a = np.concatenate(
        [
            bits.view("f4"),
            SPECIAL.astype("f4"),
            np.float32([65519, 65520, 65535, 3.4e38, 6e-8, 2.9e-8]),
        ]
    )
    theirs = torch.from_numpy(a).to(torch_type(half))
    np.testing.assert_array_equal(half.decode(half.encode(a)), theirs.float().numpy())
    finite = ~np.isnan(a)
    np.testing.assert_array_equal(
        half.encode(a).view("i2")[finite], theirs.view(torch.int16).numpy()[finite]
    )


@pytest.mark.parametrize("half", [dt.float16, dt.bfloat16], ids=repr)
@pytest.mark.parametrize("name", ["add", "mul", "div", "exp", "tanh"])
def test_half_arithmetic_is_done_in_float32_and_rounded_once(half, name):
    op = REGISTRY[name]
    a = np.random.default_rng(1).normal(size=(arity(op), 500)).astype("f4")
    arrays = [half.encode(r) for r in a]
    xs = tuple(input_node(r.shape, half) for r in arrays)
    (got,) = interpret(Graph(xs, (op(*xs),)), *arrays)
    want = torch_function(op)(*(torch.from_numpy(r).to(torch_type(half)) for r in a))
    same = half.decode(got) == want.float().numpy()
    assert same.mean() > 0.995  # the last bit of a float32 exp may differ before it is rounded

"""scan, while_loop, cond, map, associative_scan and fori_loop: values, first and second derivatives
of programs against loops in torch.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from both_autograds import gradients, numbers, same

import tracegrad as tg

torch = pytest.importorskip("torch")


def _while(cond_fn, body_fn, carried_inputs, **_):
    values = tuple(carried_inputs)
    while cond_fn(*values):
        values = tuple(body_fn(*values))
    return values


def _fori(lower, upper, body_fn, init):
    for i in range(int(lower), int(upper)):
        init = body_fn(torch.tensor(i), init)
    return init


def _map(f, xs, *args):
    leaves = [xs] if isinstance(xs, torch.Tensor) else xs
    rows = zip(*leaves, strict=True)
    ys = [f(row[0] if isinstance(xs, torch.Tensor) else row, *args) for row in rows]
    if isinstance(ys[0], torch.Tensor):
        return torch.stack(ys)
    return tuple(torch.stack(column) for column in zip(*ys, strict=True))


def _associative(combine_fn, xs, dim, reverse=False, combine_mode="pointwise"):
    import importlib

    module = importlib.import_module("torch._higher_order_ops.associative_scan")
    return module._fake_associative_scan(combine_fn, xs, dim, reverse)


def _witness():
    import importlib

    module = importlib.import_module("torch._higher_order_ops.scan")

    def scan(combine_fn, init, xs, *, dim=0, reverse=False, checkpoints=None):
        return module._fake_scan(combine_fn, init, xs, dim, reverse)

    def cond(pred, true_fn, false_fn, operands=()):
        return true_fn(*operands) if pred else false_fn(*operands)

    return SimpleNamespace(**{
        **vars(torch), "scan": scan, "while_loop": _while, "cond": cond, "map": _map,
        "associative_scan": _associative, "fori_loop": _fori,
    })


TORCH = _witness()
RNG = np.random.default_rng(3)
X, W, B = RNG.standard_normal((5, 3)), RNG.standard_normal((3, 3)) / 2, RNG.standard_normal(3)


# ---- programs of x (5, 3), w (3, 3), b (3), which give tensors
def recurrence(T, x, w, b):
    return T.scan(lambda h, v: (T.tanh(h @ w + v + b), h * 2), T.zeros(3, dtype=x.dtype), x)


def backwards(T, x, w, b):
    return T.scan(lambda h, v: (T.tanh(h @ w + v), h * v), b, x, reverse=True)


def along_another_dimension(T, x, w, b):
    return T.scan(lambda h, v: (h * v.sin() + 1, h.exp()), T.ones(5, dtype=x.dtype), x, dim=1)


def nested_values(T, x, w, b):
    def step(state, row):
        h, more = state["h"], state["c"][0]
        new = T.sigmoid(row["a"] @ w + h)
        return {"h": new, "c": (more * new + row["b"],)}, [new, (more,)]

    state, (ys, (zs,)) = T.scan(step, {"h": b, "c": (b * 2,)}, {"a": x, "b": x + 1})
    return state["h"], state["c"][0], ys, zs


def a_sum(T, x, w, b):
    return T.scan(lambda s, v: (s + v, v * v), b, x)


def a_carry_that_stays(T, x, w, b):
    def step(carry, v):
        h, k = carry
        return (h * k + v, k), h

    (h, k), ys = T.scan(step, (b, w[0]), x)
    return h, k, ys


def aliases(T, x, w, b):
    h, ys = T.scan(lambda h, v: (h, v), b, x)
    return h * 3, ys * 2


def only_constants(T, x, w, b):
    return T.scan(lambda h, v: (h + (w * w).sum(), w.sum()), b.sum(), x)


def checkpointed(T, x, w, b):
    return T.scan(lambda h, v: (T.tanh(h @ w + v), h * 2), b, x, checkpoints=2)


def mapped(T, x, w, b):
    return T.map(lambda v, k: (v @ w + k).sin(), x, b)


def mapped_to_two(T, x, w, b):
    return T.map(lambda vs: (vs[0] * vs[1], vs[0].sum()), (x, x.exp()))


def scan_in_scan(T, x, w, b):
    def outer(h, v):
        inner, ys = T.scan(lambda k, u: (k * u.cos() + h, k * b[0]), v, w)
        return h + inner, ys.sum(0)

    return T.scan(outer, b, x)


def counted(T, x, w, b):
    return (T.fori_loop(0, 4, lambda i, h: T.tanh(h @ w) + x[0] * i, b),)


def counted_by_tensors(T, x, w, b):
    n = (b.detach() * 0).sum().long() + 3
    return (T.fori_loop(n - 2, n, lambda i, h: T.tanh(h @ w) + i, b),)


def while_small(T, x, w, b):
    return T.while_loop(lambda i, h: (h * h).sum() < 50,
                        lambda i, h: (i + 1, h * 1.5 + w.sum(0)), (T.tensor(0), b))[1:]


def while_never(T, x, w, b):
    return T.while_loop(lambda h: h.sum() > 1e9, lambda h: (h * 2,), (b,))


def while_bounded(T, x, w, b):
    return T.while_loop(lambda h, s: (h * h).sum() < 50, lambda h, s: (h * 1.5 + w.sum(0), s + h),
                        (b, b * 0), max_iterations=40)


def while_checkpointed(T, x, w, b):
    return T.while_loop(lambda h: (h * h).sum() < 50, lambda h: (h.exp() * 1.2 + w.sum(0),), (b,),
                        checkpoints=2)


def one_of_two(T, x, w, b):
    return tuple(
        T.cond(sign * x.sum() > 0, lambda u: (u @ w).sin(), lambda u: u * b, (x,))
        for sign in (1, -1)
    )


def branch_in_scan(T, x, w, b):
    def step(h, v):
        new = T.cond(v.sum() > 0, lambda a, c: T.tanh(a @ w + c), lambda a, c: a * c, (h, v))
        return new, new * 2

    return T.scan(step, b, x)


def while_in_scan(T, x, w, b):
    def step(h, v):
        (k,) = T.while_loop(lambda u: (u * u).sum() < 9, lambda u: (u * 2 + 1,), (v + h * 0.1,))
        return T.tanh(k), k.sum()

    return T.scan(step, b, x)


def prefixes(T, x, w, b):
    return tuple(
        T.associative_scan(lambda a, c: a * c + 0 * w[0, 0], x[:n], 0, reverse, "generic")
        for n in (1, 2, 3, 4, 5) for reverse in (False, True)
    )


def prefixes_of_pairs(T, x, w, b):
    def combine(left, right):
        return left[0] * right[0], left[1] * right[0] + right[1]

    return T.associative_scan(combine, (x.sin(), x), 1, combine_mode="generic")


def a_derivative_in_the_body(T, x, w, b):
    def step(h, v):
        g = T.func.grad(lambda u: (T.tanh(u @ w) * v).sum())(h)
        return h - 0.5 * g, (h * h).sum()

    return T.scan(step, b, x)


def detached_and_unrecorded(T, x, w, b):
    def step(h, v):
        with T.no_grad():
            k = T.tanh(h)
        return h * 0.5 + v * k + h.detach() ** 2, k * v

    return T.scan(step, b, x)


PROGRAMS = [
    recurrence, backwards, along_another_dimension, nested_values, a_sum, a_carry_that_stays,
    aliases, only_constants, checkpointed, mapped, mapped_to_two, scan_in_scan, counted,
    counted_by_tensors, while_small, while_never, while_bounded, while_checkpointed, one_of_two,
    branch_in_scan, while_in_scan, prefixes, prefixes_of_pairs, a_derivative_in_the_body,
    detached_and_unrecorded,
]


def run(T, program, grad=True):
    """The outputs of a program, and the first and second derivatives of a number made of them."""
    xs = [T.tensor(a, requires_grad=grad) for a in (X, W, B)]
    ys = program(T, *xs)
    if not grad:
        return list(ys)
    total = sum((y.sin() * (k + 1)).sum() for k, y in enumerate(ys) if y.requires_grad)
    return [*ys, *gradients(T, total, *xs)]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("how", ["eager", "compiled"])
def test_a_program_has_the_values_and_derivatives_of_loops_in_torch(program, how):
    here = tg.compile(lambda: tuple(run(tg, program))) if how == "compiled" else (
        lambda: run(tg, program))
    same(here(), run(TORCH, program))


# forward mode looks through no_grad, and cannot pass a checkpoint
FORWARD = [p for p in PROGRAMS
           if "checkpoint" not in p.__name__ and p is not detached_and_unrecorded]


@pytest.mark.parametrize("program", FORWARD, ids=lambda f: f.__name__)
def test_tangents_agree_with_gradients(program):
    xs = [tg.tensor(a) for a in (X, W, B)]
    vs = [tg.tensor(RNG.standard_normal(a.shape)) for a in (X, W, B)]

    def number(*xs):
        return sum((y.sin() * (k + 1)).sum() for k, y in enumerate(program(tg, *xs)))

    def both(*xs):
        _, forward = tg.func.jvp(number, tuple(xs), tuple(vs))
        gs = tg.func.grad(number, (0, 1, 2))(*xs)
        return forward, sum((g * v).sum() for g, v in zip(gs, vs, strict=True))

    for found in (both(*xs), tg.compile(both)(*xs)):
        np.testing.assert_allclose(*numbers(found), rtol=1e-8)


@pytest.mark.parametrize("program", [recurrence, nested_values, scan_in_scan, counted, mapped,
                                     a_sum, prefixes_of_pairs], ids=lambda f: f.__name__)
def test_examples_at_once_are_examples_one_by_one(program):
    x, w, b = (tg.tensor(a) for a in (X, W, B))
    many = tg.stack([x, x * 2, x - 1])

    def at_once(many):
        return tg.vmap(lambda one: tuple(program(tg, one, w, b)))(many)

    expected = [tg.stack(ys) for ys in zip(*(program(tg, one, w, b) for one in many), strict=True)]
    for found in (at_once(many), tg.compile(at_once)(many)):
        same(found, expected)


@pytest.mark.parametrize("program", [recurrence, nested_values, scan_in_scan, while_small,
                                     while_bounded, one_of_two, branch_in_scan, while_in_scan,
                                     counted_by_tensors], ids=lambda f: f.__name__)
def test_the_gradients_of_examples_at_once_are_those_one_by_one(program):
    x, w, b = (tg.tensor(a) for a in (X, W, B))
    xs, bs = tg.stack([x, x * 2, x - 1]), tg.stack([b, b * 3, b / 4])

    def one(x, b):
        def number(x, w, b):
            return sum((y.sin() * (k + 1)).sum() for k, y in enumerate(program(tg, x, w, b)))

        return tg.func.grad(number, (0, 1, 2))(x, w, b)

    expected = [tg.stack(gs) for gs in zip(*map(one, xs, bs), strict=True)]
    for found in (tg.vmap(one)(xs, bs), tg.compile(tg.vmap(one))(xs, bs)):
        same(found, expected)


@pytest.mark.parametrize("program", [recurrence, scan_in_scan, while_small, one_of_two,
                                     while_in_scan], ids=lambda f: f.__name__)
def test_derivatives_outside_of_examples_at_once(program):
    x, w, b = (tg.tensor(a) for a in (X, W, B))
    xs = tg.stack([x, x * 2, x - 1])

    def number(x, w):
        return sum((y.sin() * (k + 1)).sum() for k, y in enumerate(program(tg, x, w, b)))

    def many(w):
        return tg.vmap(lambda one: number(one, w))(xs).sin().sum()

    def both(w):
        hessian = tg.func.hessian(lambda v: number(x, w + v.sum()))(tg.zeros(2, dtype=w.dtype))
        return tg.func.grad(many)(w), hessian, tg.func.jacrev(tg.func.jacrev(many))(w)

    same(tg.compile(both)(w), both(w))


# ---- what functions may do
def test_arguments_written_in_place_are_copies():
    def step(h, v):
        h += v
        v *= 2
        return h, v

    def f(b, x):
        return tg.scan(step, b, x)

    for run_ in (f, tg.compile(f)):
        b, x = tg.tensor(B), tg.tensor(X)
        same(run_(b, x), [tg.tensor(B + X.sum(0)), tg.tensor(X * 2)])
        same([b, x], [tg.tensor(B), tg.tensor(X)])


def test_results_alias_nothing():
    b, x = tg.tensor(B), tg.tensor(X)
    (h, k), ys = tg.scan(lambda c, v: ((c[0], c[0]), v), (b, b), x)
    u, v = tg.while_loop(lambda a, c: False, lambda a, c: (a, c), (b, b))
    y = tg.cond(tg.tensor(True), lambda a: a, lambda a: a, (b,))
    for t in (h, k, ys, u, v, y):
        t.zero_()
    same([b, x], [tg.tensor(B), tg.tensor(X)])


def test_a_loop_without_slices_gives_its_start():
    carry = object()
    assert tg.scan(lambda c, x: (c, x), carry, []) == (carry, [])
    x = tg.tensor(B)
    same([tg.fori_loop(3, 3, lambda i, h: h * 2, x), tg.fori_loop(5, 3, lambda i, h: h, x)], [x, x])


def test_random_numbers_are_those_of_the_loop():
    def f(x):
        return tg.scan(lambda h, v: (h + v * tg.rand(3), tg.randn(2)), tg.zeros(3), x)

    def unrolled(x):
        h, ys = tg.zeros(3), []
        for v in x:
            h, y = h + v * tg.rand(3), tg.randn(2)
            ys.append(y)
        return h, tg.stack(ys), tg.rand(1)

    for run_ in (f, tg.compile(f)):
        tg.manual_seed(1)
        found = (*run_(tg.ones(4, 3)), tg.rand(1))
        tg.manual_seed(1)
        for a, b in zip(found, unrolled(tg.ones(4, 3)), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


# ---- what is refused


ONE = tg.ones(3)
REFUSED = {
    "a carry of another shape": (
        lambda x: tg.scan(lambda c, v: (c.sum(), v), ONE, x),
        r"scan: combine_fn <lambda> \(.*test_control_flow.py:\d+\) returned the carry float32\[\], "
        r"where float32\[3\] is expected"),
    "a carry of another dtype": (
        lambda x: tg.scan(lambda c, v: ({"h": c["h"].double()}, v), {"h": ONE}, x),
        r"returned the carry\['h'\] float64\[3\], where float32\[3\] is expected"),
    "a carry of another structure": (
        lambda x: tg.scan(lambda c, v: ((c, c), v), ONE, x),
        r"returned the carry of the structure \(\*, \*\), where \* is expected"),
    "no pair": (lambda x: tg.scan(lambda c, v: c, ONE, x), r"must return a tuple \(carry, y\)"),
    "unequal lengths": (
        lambda x: tg.scan(lambda c, v: (c, c), ONE, (x, x[:2])),
        r"scan: all xs must have one length along dimension 0, but xs\[0\] has 4, xs\[1\] has 2"),
    "no slices": (lambda x: tg.scan(lambda c, v: (c, c), ONE, x[:0]), "scan dimension > 0"),
    "no init": (lambda x: tg.scan(lambda c, v: (c, c), (), x), "requires init leaves"),
    "a number as init": (lambda x: tg.scan(lambda c, v: (c, c), 1.0, x), "must be a Tensor"),
    "no function": (lambda x: tg.scan(3, ONE, x), "must be a callable"),
    "an output that is no tensor": (
        lambda x: tg.scan(lambda c, v: (c, "text"), ONE, x),
        "returned y of type str, not a Tensor"),
    "no checkpoints": (
        lambda x: tg.scan(lambda c, v: (c, c), ONE, x, checkpoints=0), "must be a positive int"),
    "leading dimensions": (
        lambda x: tg.map(lambda v: v[0], (x, x[:2])), "must be consistent"),
    "a value of another dtype": (
        lambda x: tg.while_loop(lambda c: c.sum() < 9, lambda c: (c.double(),), (ONE,)),
        r"while_loop: body_fn .* returned value\[0\] float64\[3\]"),
    "a value too many": (
        lambda x: tg.while_loop(lambda c: c.sum() < 9, lambda c: (c, c), (ONE,)),
        r"returned value of the structure \(\*, \*\), where \(\*,\) is expected"),
    "a condition that is a vector": (
        lambda x: tg.while_loop(lambda c: c < 9, lambda c: (c,), (ONE,)),
        "must return a boolean scalar tensor or a boolean but got one bool.3."),
    "too many iterations": (
        lambda x: tg.while_loop(lambda c: c.sum() < 99, lambda c: (c * 1,), (x,), max_iterations=7),
        "still holds after max_iterations=7"),
    "a loop that changes its value": (
        lambda x: tg.fori_loop(0, 3, lambda i, c: c.sum(), x), "returned the value float"),
    "a bound that is no integer": (lambda x: tg.fori_loop(0, 1.5, lambda i, c: c, x), "a bound"),
    "a condition of two elements": (
        lambda x: tg.cond(x > 0, lambda: 1, lambda: 2), "single-element tensor"),
    "operands that are no tuple": (
        lambda x: tg.cond(x.sum() > 0, lambda v: v, lambda v: v, x), "Expect operands"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("how", ["eager", "compiled"])
def test_refused(name, how):
    function, words = REFUSED[name]
    with pytest.raises(RuntimeError, match=words):
        (tg.compile(function) if how == "compiled" else function)(tg.ones(4, 3))


def test_refused_as_torch_refuses_it():
    x = tg.ones(4, 3)
    with pytest.raises(IndexError, match="Dimension out of range"):
        tg.scan(lambda c, v: (c, c), ONE, x, dim=5)
    for arguments in ((3, x, 0), (tg.add, x, "0"), (tg.add, x, 0, False, "other"), (tg.add, (), 0),
                      (tg.add, x[:0], 0), (tg.add, (x, x[:2]), 0)):
        with pytest.raises(ValueError):  # noqa: PT011
            tg.associative_scan(*arguments)
    with pytest.raises(RuntimeError, match="Reverse must be a bool"):
        tg.associative_scan(tg.add, x, 0, 1)


def test_torchs_paths():
    from tracegrad._higher_order_ops import associative_scan, cond, map, scan, while_loop
    from tracegrad._higher_order_ops.scan import scan as again

    here = (associative_scan, cond, map, scan, while_loop)
    top = (tg.associative_scan, tg.cond, tg.map, tg.scan, tg.while_loop)
    assert here == tuple(f.__wrapped__ for f in top)
    assert again is scan

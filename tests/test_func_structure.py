"""What torch.func, autograd.functional and autograd.grad return and refuse, against torch itself:
the nesting of tuples, lists and dicts, shapes, dtypes, histories, and the class of every error.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")

X, V = np.arange(1.0, 7.0).reshape(2, 3) / 4, np.array([0.5, -1.0, 2.0])


def sq(t):
    return (t * t).sum()


# what a function is given, and what it returns
GIVEN = {
    "one": (lambda x, v: (x,), lambda a: a),
    "two": (lambda x, v: (x, v), lambda a, b: a * b),
    "dict": (lambda x, v: ({"p": x, "q": v},), lambda d: d["p"] * d["q"]),
    "nested": (lambda x, v: ((x, [v]), {"k": (v,)}), lambda a, d: a[0] * a[1][0] + d["k"][0]),
    "scalar": (lambda x, v: (x.sum(),), lambda a: a),
}
RETURNED = {
    "one": lambda y: y.sin(),
    "scalar": sq,
    "tuple": lambda y: (y.sin(), sq(y)),
    "tuple of one": lambda y: (y.sin(),),
    "list": lambda y: [y.sin(), sq(y)],
    "nested": lambda y: {"o": y.sin(), "l": [sq(y), (y,)]},
}
AUX = {"has_aux": lambda y: (sq(y), {"twice": y * 2, "s": [y.sum()]})}


def ones_like(T, tree):
    if isinstance(tree, dict):
        return {k: ones_like(T, v) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(ones_like(T, v) for v in tree)
    return T.ones_like(tree)


def pulled(T, f, args, **k):
    y, back, *aux = T.func.vjp(f, *args, **k)
    return y, back(ones_like(T, y)), aux


def linearized(T, f, args):
    y, along = T.func.linearize(f, *args)
    return y, along(*args)


TRANSFORMS = {
    "vjp": pulled,
    "jvp": lambda T, f, args, **k: T.func.jvp(f, args, args, **k),
    "grad": lambda T, f, args, **k: T.func.grad(f, **k)(*args),
    "grad_and_value": lambda T, f, args, **k: T.func.grad_and_value(f, **k)(*args),
    "jacrev": lambda T, f, args, **k: T.func.jacrev(f, **k)(*args),
    "jacfwd": lambda T, f, args, **k: T.func.jacfwd(f, **k)(*args),
    "hessian": lambda T, f, args: T.func.hessian(f)(*args),
    "all": lambda T, f, args: T.func.jacrev(f, tuple(range(len(args))))(*args),
    "vmap": lambda T, f, args: T.vmap(f)(*args),
    "linearize": linearized,
}
F = {
    "vjp": lambda T, f, args, **k: T.autograd.functional.vjp(f, args, ones_like(T, f(*args)), **k),
    "jvp": lambda T, f, args, **k: T.autograd.functional.jvp(f, args, args, **k),
    "vhp": lambda T, f, args, **k: T.autograd.functional.vhp(f, args, args, **k),
    "hvp": lambda T, f, args, **k: T.autograd.functional.hvp(f, args, args, **k),
    "jacobian": lambda T, f, args, **k: T.autograd.functional.jacobian(f, args, **k),
    "hessian": lambda T, f, args, **k: T.autograd.functional.hessian(f, args, **k),
    "jacobian of one": lambda T, f, args, **k: T.autograd.functional.jacobian(f, args[0], **k),
    "jacobian at once": lambda T, f, args, **k: T.autograd.functional.jacobian(
        f, args, vectorize=True, **k
    ),
}


def described(x):
    """A value as plain data in which torch's and ours are alike; arrays last."""
    if isinstance(x, (torch.Tensor, tg.Tensor)):
        facts = (tuple(x.shape), str(x.dtype).split(".")[1], x.requires_grad, x.grad_fn is None)
        return ("tensor", facts, x.detach().numpy())
    if isinstance(x, dict):
        return ("dict", tuple((k, described(v)) for k, v in x.items()))
    if isinstance(x, (tuple, list)):
        return (type(x).__name__, tuple(map(described, x)))
    return repr(x)


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and np.allclose(a, b, equal_nan=True)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(itertools.starmap(same, zip(a, b, strict=True)))
    return a == b


def outcome(program, T):
    try:
        return described(program(T, T.tensor(X), T.tensor(V)))
    except Exception as error:
        return next(k.__name__ for k in type(error).__mro__ if k.__module__ == "builtins")


def agrees(program, compiled=True):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = outcome(program, torch)
    found = outcome(program, tg)
    assert same(found, expected), f"{found}\nbut torch has\n{expected}"
    if compiled and not isinstance(expected, str):
        x, v = tg.tensor(X), tg.tensor(V)
        assert same(described(tg.compile(lambda x, v: program(tg, x, v))(x, v)), expected)


@pytest.mark.parametrize("returned", [*RETURNED, *AUX])
@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_return_what_torch_returns(name, given, returned):
    start, inner = GIVEN[given]
    outer = {**RETURNED, **AUX}[returned]
    flags = {"has_aux": True} if returned in AUX and name not in ("hessian", "all", "vmap") else {}
    if name == "linearize" and (flags or given in ("dict", "nested")):
        pytest.skip("torch.func.linearize has no aux")
    compiled = given in ("two", "nested") and returned in ("one", "nested", "has_aux")
    agrees(
        lambda T, x, v: TRANSFORMS[name](T, lambda *a: outer(inner(*a)), start(x, v), **flags),
        compiled,
    )


@pytest.mark.parametrize("flags", [{}, {"strict": True}, {"create_graph": True}], ids=str)
@pytest.mark.parametrize("returned", ["one", "scalar", "tuple", "tuple of one", "list"])
@pytest.mark.parametrize("given", ["one", "two", "scalar"])
@pytest.mark.parametrize("name", F)
def test_functional_returns_what_torch_returns(name, given, returned, flags):
    start, inner = GIVEN[given]

    def program(T, x, v):
        args = start(x, v)
        if "create_graph" in flags:
            args = tuple(a.requires_grad_() for a in args)
        return F[name](T, lambda *a: RETURNED[returned](inner(*a)), args, **flags)

    agrees(program, compiled=given == "two" and returned == "scalar" and not flags)


def leaf(x):
    return (x * 1).detach().requires_grad_()


def grad_twice(T, x, v):
    a = leaf(x)
    y = sq(a * a)
    return T.autograd.grad(y, a), T.autograd.grad(y, a)


EDGES = {
    "grad, no requires": lambda T, x, v: T.autograd.grad(sq(leaf(x)), x),
    "grad, unused": lambda T, x, v: T.autograd.grad(sq(leaf(x)), leaf(v)),
    "grad, unused allowed": lambda T, x, v: T.autograd.grad(sq(leaf(x)), leaf(v), None, None, False,
                                                            True, True),
    "grad, zeros": lambda T, x, v: T.autograd.grad(sq(leaf(x)), leaf(v), materialize_grads=True),
    "grad, both": lambda T, x, v: T.autograd.grad(sq(leaf(x)), leaf(v), allow_unused=False,
                                                  materialize_grads=True),
    "grad, a number": lambda T, x, v: T.autograd.grad(sq(leaf(x)), [3]),
    "grad, of a number": lambda T, x, v: T.autograd.grad(3.0, [leaf(x)]),
    "grad, a weight": lambda T, x, v: T.autograd.grad(sq(a := leaf(x)), a, 2.0),
    "grad, nothing": lambda T, x, v: T.autograd.grad(sq(leaf(x)), ()),
    "grad, twice": grad_twice,
    "grad, the answer": lambda T, x, v: T.autograd.grad(y := sq(leaf(x)), y),
    "vjp, a cotangent's shape": lambda T, x, v: T.func.vjp(T.sin, x)[1](v),
    "vjp, a cotangent's structure": lambda T, x, v: T.func.vjp(T.sin, x)[1]((x,)),
    "vjp, a number": lambda T, x, v: T.func.vjp(T.sum, x)[1](1.0),
    "vjp, kept": lambda T, x, v: T.func.vjp(lambda a: 3, x),
    "vjp, no tuple with aux": lambda T, x, v: T.func.vjp(T.sin, x, has_aux=True),
    "vjp, aux is text": lambda T, x, v: T.func.vjp(lambda a: (a, "s"), x, has_aux=True),
    "jvp, lists": lambda T, x, v: T.func.jvp(T.sin, [x], [x]),
    "jvp, a tensor": lambda T, x, v: T.func.jvp(T.sin, x, x),
    "jvp, nothing": lambda T, x, v: T.func.jvp(lambda: 1, (), ()),
    "jvp, a number": lambda T, x, v: T.func.jvp(T.sin, (2.0,), (1.0,)),
    "jvp, independent": lambda T, x, v: T.func.jvp(lambda a: v, (x,), (x,), strict=True),
    "grad, argnums are a list": lambda T, x, v: T.func.grad(sq, argnums=[0])(x),
    "grad, no argnums": lambda T, x, v: T.func.grad(sq, argnums=())(x),
    "grad, argnums twice": lambda T, x, v: T.func.grad(T.dot, argnums=(1, -1))(v, v),
    "jacrev, chunks": lambda T, x, v: T.func.jacrev(T.sin, chunk_size=0)(x),
    "linearize, dtype": lambda T, x, v: T.func.linearize(T.sin, v)[1](v.float()),
    "vmap, in_dims a list": lambda T, x, v: T.vmap(T.mul, in_dims=[0, None])(x, v),
    "vmap, out_dims a list": lambda T, x, v: T.vmap(lambda a: (a, a), out_dims=[0, 1])(x),
    "vmap, unmapped None": lambda T, x, v: T.vmap(lambda a: (a, None), out_dims=(1, None))(x),
    "functional, lists": lambda T, x, v: T.autograd.functional.jacobian(T.sin, [x]),
    "functional, unused": lambda T, x, v: T.autograd.functional.vjp(
        lambda a, b: sq(a), (x, v), strict=True
    ),
    "functional, linear": lambda T, x, v: T.autograd.functional.vjp(
        T.sum, x, create_graph=True, strict=True
    ),
    "functional, strict at once": lambda T, x, v: T.autograd.functional.jacobian(
        T.sin, x, strict=True, vectorize=True
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_are_as_in_torch(name):
    agrees(EDGES[name], compiled=False)


def layer(T):
    m = T.nn.Linear(3, 2).double()
    with T.no_grad():
        m.weight.fill_(0.5)
        m.bias.fill_(1.0)
    return m


CALLS = {
    "one dict": lambda T, x, v: T.func.functional_call(layer(T), {"weight": x}, v),
    "two dicts": lambda T, x, v: T.func.functional_call(
        layer(T), ({"weight": x}, {"bias": v[:2]}), (v,)
    ),
    "kwargs": lambda T, x, v: T.func.functional_call(
        layer(T), {"weight": x}, kwargs={"input": v}
    ),
    "twice": lambda T, x, v: T.func.functional_call(layer(T), ({"bias": x}, {"bias": v}), v),
    "unknown": lambda T, x, v: T.func.functional_call(layer(T), {"no": x}, v),
    "unknown below": lambda T, x, v: T.func.functional_call(layer(T), {"no.no": x}, v),
    "strict": lambda T, x, v: T.func.functional_call(layer(T), {"weight": x}, v, strict=True),
    "a number": lambda T, x, v: T.func.functional_call(layer(T), {"weight": 3}, v),
    "stacked": lambda T, x, v: T.func.stack_module_state([layer(T), layer(T)]),
    "stacked, none": lambda T, x, v: T.func.stack_module_state([]),
}


@pytest.mark.parametrize("name", CALLS)
def test_modules_as_functions_are_as_in_torch(name):
    agrees(CALLS[name], compiled=False)


VALUES = {
    "jvp": lambda T, f, x: T.func.jvp(f, (x,), (x * 0.5,))[0],
    "vjp": lambda T, f, x: T.func.vjp(f, x)[0],
    "linearize": lambda T, f, x: T.func.linearize(f, x)[0],
    "jacrev": lambda T, f, x: T.func.jacrev(lambda t: (f(t), f(t)), has_aux=True)(x)[1],
    "grad": lambda T, f, x: T.func.grad(lambda t: (f(t).sum(), f(t)), has_aux=True)(x)[1],
    "jvp of vjp": lambda T, f, x: T.func.jvp(
        lambda t: T.func.vjp(f, t)[0], (x,), (x * 0.5,))[0],
}
PARTS = {
    "all": lambda t: t,
    "a reshape": lambda t: t.reshape(2, 3),
    "two steps": lambda t: t.T[1:, ::2],
    "repeated": lambda t: t.expand(2, 3, 2),
    "a copy": lambda t: t.T.reshape(-1),
    "nothing written to": lambda t: t.clone().neg_()[1:],
}


@pytest.mark.parametrize("transform", VALUES)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("write", [lambda x, y: x.mul_(3), lambda x, y: y.mul_(3)])
def test_a_value_that_is_part_of_a_primal_is_a_view_of_it(transform, part, write):
    def gradient(T, x=None):
        x = T.arange(6.0).reshape(3, 2).requires_grad_() if x is None else x
        primal = x * 1
        y = VALUES[transform](T, PARTS[part], primal)
        write(primal, y)
        (g,) = T.autograd.grad(y.square().sum() + primal.square().sum(), x)
        return primal, y, g

    def outcome(T, run=gradient):
        try:
            return [t.tolist() for t in run(T)]
        except RuntimeError as error:
            return str(error)[:60]

    expected = outcome(torch)
    assert outcome(tg) == expected
    compiled = tg.compile(lambda x: gradient(tg, x))
    x = tg.arange(6.0).reshape(3, 2).requires_grad_()
    assert outcome(tg, lambda T: compiled(x)) == expected

"""What a compiled function sees of the world at each call, and what it gives back."""

from __future__ import annotations

import collections
import types

import numpy as np
import pytest
from compiled import same, traces

import tracegrad as tg
from tracegrad import nn
from tracegrad.ir.show import show

# ---- captures and rebinding
weight = tg.tensor([1.0, 2.0])
factor = 2.0


@tg.compile
def with_globals(x):
    return x * weight * factor


def test_a_rebound_global_is_seen(monkeypatch):
    same(with_globals(tg.ones(2)), [2, 4])
    monkeypatch.setitem(globals(), "weight", tg.tensor([5.0, 6.0]))
    same(with_globals(tg.ones(2)), [10, 12])
    monkeypatch.setitem(globals(), "factor", 3.0)
    same(with_globals(tg.ones(2)), [15, 18])
    assert "global 'factor'" in with_globals.explain()


def test_a_rebound_closure_is_seen():
    w = tg.ones(2)

    @tg.compile
    def f(x):
        return x * w

    same(f(tg.ones(2)), [1, 1])
    w = tg.full((2,), 7.0)
    same(f(tg.ones(2)), [7, 7])
    w = 3
    same(f(tg.ones(2)), [3, 3])
    assert "closure variable 'w'" in f.explain()


def _rebinding_in_place():
    ws, table = [tg.ones(2), tg.ones(2)], {"a": tg.ones(2)}
    space = types.SimpleNamespace(w=tg.ones(2), deep=types.SimpleNamespace(k=1.0))
    module = types.ModuleType("settings")
    module.w = tg.ones(2)
    return {
        "a list element": (lambda x: x * ws[1], lambda: ws.__setitem__(1, tg.full((2,), 5.0))),
        "a dict entry": (lambda x: x * table["a"], lambda: table.update(a=tg.full((2,), 5.0))),
        "an attribute": (lambda x: x * space.w, lambda: setattr(space, "w", tg.full((2,), 5.0))),
        "a number deep inside": (lambda x: x * space.deep.k, lambda: setattr(space.deep, "k", 5.0)),
        "a module's attribute": (
            lambda x: x * module.w, lambda: setattr(module, "w", tg.full((2,), 5.0))),
    }


@pytest.mark.parametrize("which", _rebinding_in_place())
def test_a_rebound_place_is_seen(which):
    function, rebind = _rebinding_in_place()[which]
    f = tg.compile(function)
    same(f(tg.ones(2)), [1, 1])
    rebind()
    same(f(tg.ones(2)), [5, 5])


def test_a_captured_tensor_changed_in_place_is_seen_without_a_retrace():
    w = tg.ones(2)
    f = tg.compile(lambda x: x * w)
    f(tg.ones(2))
    w.mul_(4)
    same(f(tg.ones(2)), [4, 4])
    w.data = tg.full((2,), 9.0)
    same(f(tg.ones(2)), [9, 9])
    assert traces(f) == 1
    w.data = tg.full((1,), 3.0)
    same(f(tg.ones(2)), [3, 3])


def test_training_and_eval_are_seen():
    model = nn.Sequential(nn.Linear(3, 3))

    @tg.compile
    def f(x):
        return model(x) * (1 if model.training else 10)

    x = tg.ones(1, 3)
    trained = f(x)
    model.eval()
    np.testing.assert_allclose(f(x).detach(), trained.detach() * 10, rtol=1e-6)
    model.train()
    same(f(x).detach(), trained.detach())


def test_a_module_given_another_parameter_or_child_is_seen():
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    f = tg.compile(lambda x: model(x))
    x = tg.ones(1, 2)
    f(x)
    model[0].weight = nn.Parameter(tg.full((1, 2), 3.0))
    model[0].bias = nn.Parameter(tg.zeros(1))
    same(f(x).detach(), [[6.0]])
    model[1] = nn.Identity()
    model[0].weight.data.mul_(-1)
    same(f(x).detach(), [[-6.0]])


# ---- answers
Pair = collections.namedtuple("Pair", "first second")


def test_answers_keep_their_structure():
    w = tg.tensor([7.0])

    @tg.compile
    def f(x, y):
        z = x + y
        return {"pair": Pair(z, x), "list": [z, None, 3, "text", w], "nested": ((y * 2,), {})}

    x, y = tg.tensor([1.0]), tg.tensor([2.0])
    for _ in range(2):
        got = f(x, y)
        assert list(got) == ["pair", "list", "nested"]
        assert type(got["pair"]) is Pair and got["pair"].second is x
        assert got["list"][0] is got["pair"].first and got["list"][1:4] == [None, 3, "text"]
        assert got["list"][4] is w
        same(got["nested"][0][0], [4.0])
        assert got["nested"][1] == {}


@pytest.mark.parametrize("answer", [None, 3, 2.5, "text", (), [], {}, True], ids=repr)
def test_python_values_are_returned_as_they_are(answer):
    f = tg.compile(lambda x: answer)
    assert f(tg.ones(1)) == answer and type(f(tg.ones(1))) is type(answer)


def test_a_returned_view_has_the_right_numbers():
    f = tg.compile(lambda x: (x.t(), x[0], x.reshape(-1), x[:, 1:]))
    x = tg.arange(6.0).reshape(2, 3)
    for _ in range(2):
        for got, want in zip(f(x), (x.t(), x[0], x.reshape(-1), x[:, 1:]), strict=True):
            assert got.shape == want.shape
            same(got, want)


def test_results_are_never_overwritten():
    @tg.compile
    def f(x):
        return x * 2, x.sum()

    results = [f(tg.full((4,), float(k))) for k in range(20)]
    arrays = [f(tg.full((4,), float(k)))[0].numpy() for k in range(20)]
    for k, ((y, s), a) in enumerate(zip(results, arrays, strict=True)):
        same(y, np.full(4, 2.0 * k))
        assert s.item() == 4 * k
        same(a, np.full(4, 2.0 * k))


def test_views_of_results_are_never_overwritten():
    f = tg.compile(lambda x: x * 2)
    views = [f(tg.full((2, 2), float(k))).t()[0] for k in range(20)]
    halves = [f(tg.full((2, 2), float(k))).numpy()[1:] for k in range(20)]
    for k in range(20):
        same(views[k], np.full(2, 2.0 * k))
        same(halves[k], np.full((1, 2), 2.0 * k))


# ---- calling
def test_keywords_defaults_and_containers():
    @tg.compile
    def f(a, *rest, scale=2.0, **named):
        return a * scale + sum(rest) + named.get("c", 0) + named.get("d", {"x": 0})["x"]

    one = tg.ones(1)
    cases = [((one,), {}), ((one, one, one), {}), ((one,), {"scale": 5.0}),
             ((one,), {"c": one}), ((one,), {"d": {"x": one * 3}})]
    plain = f.__wrapped__
    for _ in range(2):
        for args, kwargs in cases:
            same(f(*args, **kwargs), plain(*args, **kwargs))
    assert traces(f) == len(cases)


def test_numpy_arrays_are_tensors():
    f = tg.compile(lambda x: x + 1)
    same(f(np.ones(3, np.float32)), [2, 2, 2])
    same(f(np.full(3, 5, np.float32)), [6, 6, 6])
    assert traces(f) == 1


class Scaler:
    def __init__(self, k):
        self.k = tg.tensor([k])

    @tg.compile
    def scale(self, x):
        return x * self.k


def test_methods_know_their_self():
    a, b = Scaler(2.0), Scaler(3.0)
    for _ in range(2):
        same(a.scale(tg.ones(1)), [2])
        same(b.scale(tg.ones(1)), [3])
    a.k = tg.tensor([7.0])
    same(a.scale(tg.ones(1)), [7])
    same(tg.compile(b.scale)(tg.ones(1)), [3])


def test_compiled_functions_call_compiled_functions():
    inner = tg.compile(lambda x: x * 3)
    outer = tg.compile(lambda x: inner(x) + inner(x + 1))
    same(outer(tg.ones(2)), [9, 9])
    same(inner(tg.ones(2)), [3, 3])


def test_a_compiled_module_is_the_module():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    compiled = tg.compile(model)
    x = tg.randn(4, 3)
    np.testing.assert_allclose(compiled(x).detach(), model(x).detach(), rtol=1e-6)
    assert [id(p) for p in compiled.parameters()] == [id(p) for p in model.parameters()]
    assert list(compiled.state_dict()) == [f"_orig_mod.{k}" for k in model.state_dict()]
    compiled.eval()
    assert not model.training
    compiled(x).sum().backward()
    assert model[0].weight.grad is not None


def test_compile_is_a_decorator_with_and_without_arguments():
    @tg.compile(fullgraph=True)
    def f(x):
        """Doubles."""
        return x * 2

    assert f.__name__ == "f" and f.__doc__ == "Doubles."
    same(f(tg.ones(1)), [2])
    with pytest.raises(TypeError, match="expects a function or a Module"):
        tg.compile(3)
    with pytest.raises(RuntimeError, match="device"):
        tg.compile(lambda x: x, device="cuda")
    with pytest.raises(RuntimeError, match="not been called"):
        tg.compile(lambda x: x).graph()


def test_what_was_compiled_can_be_read():
    @tg.compile
    def f(x):
        return (x.exp() + 1).sum()

    f(tg.ones(3))
    assert "exp(" in show(f.graph())
    assert "def row_" in f.source() or "def map_" in f.source()
    assert "test_compile.py" in f.source()
    assert "1 kernels" in str(f.program())
    assert "traced 1 time" in f.explain()


# ---- branching on values
def test_a_branch_on_a_value_follows_the_value():
    @tg.compile
    def f(x):
        if x.sum() > 0:
            return x * 2
        return -x

    for sign in (1.0, -1.0, 1.0, -1.0, -1.0):
        x = tg.full((2,), sign)
        same(f(x), f.__wrapped__(x))
    assert traces(f) == 2
    assert "branched" in f.explain()


def test_nothing_is_written_before_the_branch_is_known():
    @tg.compile
    def f(x, seen):
        seen.add_(1)
        if x.sum() > 0:
            x.mul_(2)
        return x.sum()

    seen = tg.zeros(1)
    for k, sign in enumerate((1.0, -1.0, 1.0, -1.0), 1):
        x = tg.full((2,), sign)
        f(x, seen)
        same(x, [2, 2] if sign > 0 else [-1, -1])
        same(seen, [k])
    assert traces(f) == 2

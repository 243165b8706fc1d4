"""One tensor that a compiled function gets from two sides: as an argument, by name, at a place that
is read at every call, as the gradient of another. Next time they may be two.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import tracegrad as tg


def _by_name(compile):
    w = tg.ones(2)
    f = compile(lambda x: (10 * x + w).sum())
    return [f(x).item() for x in (w, tg.zeros(2), w, tg.full((2,), 2.0))]


def _a_parameter(compile):
    layer = tg.nn.Linear(2, 2, bias=False)
    with tg.no_grad():
        layer.weight.fill_(1.0)
    f = compile(lambda x: (10 * x + layer(x)).sum())
    return [f(x).item() for x in (layer.weight, tg.zeros(2, 2), layer.weight)]


def _a_gradient(compile):
    p = tg.ones(2, requires_grad=True)
    (3 * p).sum().backward()
    f = compile(lambda x: (10 * x + p.grad).sum())
    return [f(x).item() for x in (p.grad, tg.zeros(2), p.grad)]


def _kept_from_the_last_call(compile):
    kept = SimpleNamespace(last=tg.zeros(1))

    @compile
    def f(x):
        y = x.sum() - kept.last.sum()
        kept.last = x
        return y

    same = tg.full((3,), 5.0)
    xs = [tg.full((2,), k) for k in (1.0, 2.0, 3.0)] + [same, same]
    return [f(x).item() for x in (*xs, *(tg.full((3,), k) for k in (6.0, 7.0, 8.0)))]


def _at_two_places(compile):
    d = {"a": tg.zeros(2), "b": tg.zeros(2)}

    @compile
    def f(x):
        d["a"] = d["b"] = d["a"] + 2 * d["b"] + x
        return d["a"].sum()

    seen = [f(tg.full((2,), float(k))).item() for k in range(5)]
    d["a"] = tg.ones(2)
    return seen + [f(tg.full((2,), float(k))).item() for k in range(4)]


def _a_parameter_at_a_place(compile):
    w = tg.ones(2)
    best = SimpleNamespace(w=tg.zeros(2))
    f = compile(lambda x: (x * w + 10 * best.w).sum())
    seen = []
    for k in range(3):
        best.w = tg.full((2,), float(k))
        seen.append(f(tg.ones(2)).item())
    best.w = w
    seen.append(f(tg.ones(2)).item())
    best.w = tg.full((2,), 7.0)
    seen.append(f(tg.ones(2)).item())
    best.w, w = w, tg.full((2,), 5.0)
    return [*seen, f(tg.ones(2)).item()]


def _group_entries(compile):
    group = {"d": 1.0, "highest": 1.0}

    @compile
    def f(x):
        new = tg.maximum(tg.as_tensor(group["highest"]), x.sum() * group["d"])
        group["d"] = group["highest"] = new
        return new

    return [f(tg.full((2,), k)).item() for k in (0.1, 0.9, 0.7, 0.2, 0.6)]


CASES = [_by_name, _a_parameter, _a_gradient, _kept_from_the_last_call, _at_two_places,
         _a_parameter_at_a_place, _group_entries]


@pytest.mark.parametrize("case", CASES, ids=lambda f: f.__name__[1:])
def test_what_was_one_tensor_may_be_two(case):
    assert case(tg.compile) == pytest.approx(case(lambda f: f))

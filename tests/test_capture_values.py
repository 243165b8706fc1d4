"""The same as test_capture.py for what stands in containers, arrays and tensors, and for names that
only run time knows.
"""

from __future__ import annotations

import array
import contextvars
import operator
import os
import threading
import types
import weakref
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque

import numpy as np
import pytest
from scenarios import Base, Pair, Sub, check, collection, module

import tracegrad as tg

SCENARIOS, scenario = collection()
RATE = 1.0
TABLE = {"rate": 1.0}


# ---- containers
@scenario
def the_order_of_a_dict(patch):
    d = {"a": 1.0, "b": 2.0}

    def f(x):
        for k, v in enumerate(d.values(), 1):
            x = x * k + v
        return x

    return f, lambda: d.update(a=d.pop("a"))


@scenario
def zero_becomes_minus_zero(patch):
    d = {"k": 0.0}
    return (lambda x: 1 / (x * d["k"])), lambda: d.update(k=-0.0)


@scenario
def one_becomes_true_as_a_key(patch):
    d = {1: 2.0}

    def change():
        d.clear()
        d[True] = 2.0

    return (lambda x: x * (5 if any(k is True for k in d) else 2)), change


@scenario
def one_becomes_true_in_a_set(patch):
    s = {1}

    def change():
        s.clear()
        s.add(True)

    return (lambda x: x * (5 if any(k is True for k in s) else 2)), change


@scenario
def a_long_list(patch):
    values = [1.0] * 3000
    return (lambda x: x * values[2999]), lambda: values.__setitem__(2999, 4.0)


@scenario
def a_long_dict(patch):
    d = dict.fromkeys(range(3000), 1.0)
    return (lambda x: x * d[2999]), lambda: d.update({2999: 4.0})


@scenario
def nested_containers(patch):
    d = {"a": [({"b": 2.0},)]}
    return (lambda x: x * d["a"][0][0]["b"]), lambda: d["a"][0][0].update(b=4.0)


def _held(make, change):
    def build(patch):
        held = make()
        return (lambda x: x * float(held[0])), lambda: change(held)

    return build


def _set0(value):
    return lambda held: held.__setitem__(0, value)


SCENARIOS |= {
    "an array.array": _held(lambda: array.array("d", [2.0]), _set0(3.0)),
    "a bytearray": _held(lambda: bytearray(b"\x02"), _set0(3)),
    "a memoryview": _held(lambda: memoryview(bytearray(b"\x02")), _set0(3)),
    "a UserList": _held(lambda: UserList([2.0]), _set0(3.0)),
    "a UserDict": _held(lambda: UserDict({0: 2.0}), _set0(3.0)),
    "a ChainMap": _held(lambda: ChainMap({}, {0: 2.0}), lambda c: c.maps[1].update({0: 5.0})),
    "an OrderedDict": _held(lambda: OrderedDict({0: 2.0}), _set0(3.0)),
    "a defaultdict": _held(lambda: defaultdict(float, {0: 2.0}), _set0(3.0)),
    "a Counter": _held(lambda: Counter({0: 2}), _set0(3)),
    "a deque": _held(lambda: deque([2.0]), _set0(3.0)),
}


@scenario
def a_mapping_proxy(patch):
    d = {"k": 2.0}
    held = types.MappingProxyType(d)
    return (lambda x: x * held["k"]), lambda: d.update(k=3.0)


@scenario
def a_view_of_a_dict(patch):
    d = {"k": 2.0}
    held = d.values()
    return (lambda x: x * sum(held)), lambda: d.update(k=3.0)


@scenario
def a_weak_reference(patch):
    class Thing:
        rate = 2.0

    thing = Thing()
    held = weakref.ref(thing)
    return (lambda x: x * held().rate), lambda: setattr(thing, "rate", 3.0)


@scenario
def an_environment_variable(patch):
    patch.setenv("RATE_OF_A_TEST", "2.0")
    return (
        (lambda x: x * float(os.environ["RATE_OF_A_TEST"])),
        lambda: patch.setenv("RATE_OF_A_TEST", "3.0"),
    )


@scenario
def a_thread_local(patch):
    local = threading.local()
    local.rate = 2.0
    return (lambda x: x * local.rate), lambda: setattr(local, "rate", 3.0)


@scenario
def a_context_variable(patch):
    var = contextvars.ContextVar("var", default=2.0)
    return (lambda x: x * var.get()), lambda: var.set(3.0)


@scenario
def an_object_in_a_set(patch):
    s = Sub()
    held = {s}
    return (lambda x: x * sum(o.rate for o in held)), lambda: setattr(s, "rate", 4.0)


@scenario
def an_object_as_a_key(patch):
    s = Sub()
    held = {s: 1}
    return (lambda x: x * sum(o.rate for o in held)), lambda: setattr(s, "rate", 4.0)


# ---- arrays of NumPy
@scenario
def an_array_converted_to_a_tensor(patch):
    a = np.ones(2)
    return (lambda x: x * tg.tensor(a)), lambda: a.__setitem__(0, 5.0)


@scenario
def an_entry_of_an_array(patch):
    a = np.ones(2)
    return (lambda x: x * float(a[0])), lambda: a.__setitem__(0, 5.0)


@scenario
def a_statistic_of_an_array(patch):
    a = np.ones(2)
    return (lambda x: x * a.mean()), lambda: a.__setitem__(0, 5.0)


@scenario
def the_shape_of_an_array(patch):
    held = {"a": np.ones(2)}
    return (lambda x: x * held["a"].shape[0]), lambda: held.update(a=np.ones(3))


@scenario
def an_array_used_as_it_is(patch):
    a = np.ones(2, np.float32)
    return (lambda x: x * a), lambda: a.__setitem__(0, 5.0)


# ---- names that only run time knows
@scenario
def a_computed_attribute(patch):
    s, name = Sub(), "ra"
    return (lambda x: x * getattr(s, name + "te")), lambda: setattr(s, "rate", 3.0)


@scenario
def a_computed_attribute_of_a_class(patch):
    name = "ra"
    return (lambda x: x * getattr(Sub, name + "te")), lambda: patch.setattr(Base, "rate", 3.0)


@scenario
def a_computed_attribute_of_a_module(patch):
    patch.setattr(module, "some_rate", 2.0, raising=False)
    name = "some_"
    return (
        (lambda x: x * getattr(module, name + "rate")),
        lambda: patch.setattr(module, "some_rate", 3.0),
    )


@scenario
def an_attrgetter(patch):
    s, get = Sub(), operator.attrgetter("rate")
    return (lambda x: x * get(s)), lambda: setattr(s, "rate", 3.0)


@scenario
def a_methodcaller(patch):
    s = Sub()
    return (
        (lambda x: operator.methodcaller("scaled", x)(s)),
        lambda: setattr(s, "rate", 3.0),
    )


@scenario
def globals_by_name(patch):
    name = "RA"
    return (lambda x: x * globals()[name + "TE"]), lambda: patch.setitem(globals(), "RATE", 3.0)


@scenario
def eval_of_a_text(patch):
    return (lambda x: x * eval("RA" + "TE")), lambda: patch.setitem(globals(), "RATE", 3.0)


@scenario
def vars_of_an_object(patch):
    s = Sub()
    s.k = 2.0
    return (lambda x: x * vars(s)["k"]), lambda: setattr(s, "k", 3.0)


@scenario
def vars_of_a_class(patch):
    return (lambda x: x * vars(Base)["rate"]), lambda: patch.setattr(Base, "rate", 3.0)


@scenario
def an_attribute_of_a_module(patch):
    patch.setattr(module, "rate", 2.0, raising=False)
    return (lambda x: x * module.rate), lambda: patch.setattr(module, "rate", 3.0)


# ---- what Python asks of a tensor
@scenario
def whether_a_captured_tensor_is_a_leaf(patch):
    w = tg.ones(2, requires_grad=True)
    held = [w]
    return (
        (lambda x: x * (2 if held[0].is_leaf else 5)),
        lambda: held.__setitem__(0, w * 1),
    )


@scenario
def whether_an_argument_has_a_history(patch):
    w = tg.ones(2, requires_grad=True)
    given = [w]
    f = lambda t: tg.ones(2) * (2 if t.grad_fn is None else 5)  # noqa: E731
    compiled = tg.compile(f)
    return Pair(lambda x: f(given[0]), lambda x: compiled(given[0])), lambda: given.__setitem__(
        0, w * 1
    )


@scenario
def where_a_captured_tensor_begins(patch):
    base = tg.arange(6.0)
    held = [base[0:2]]
    return (
        (lambda x: x * (1 + held[0].storage_offset())),
        lambda: held.__setitem__(0, base[2:4]),
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_change_shows_in_the_next_call(name, monkeypatch):
    check(SCENARIOS[name], monkeypatch)

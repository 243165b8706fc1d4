"""What a trace notes of each kind of object that the function reads. Each case is a function and
what its program is guarded by, besides the code of the function and the names of its closure.
"""

from __future__ import annotations

import abc
import array
import contextvars
import ctypes
import enum
import functools
import random
import threading
import types
import weakref
from collections import OrderedDict, UserDict, deque

import numpy as np
import pytest
from guards_of_programs import guards_of, kinds
from scenarios import collection

import tracegrad as tg
from tracegrad import nn

CASES, case = collection()


class User:
    shared = 1.0
    rate: float

    def scaled(self, x):
        return x * self.rate


class Slotted:
    __slots__ = ("rate",)


class Asked:
    @property
    def rate(self):
        return self.kept


class Computed:
    def __getattr__(self, name):
        return 2.0


class Color(enum.Enum):
    RED = 1.0


def user(cls=User, **attributes):
    made = cls()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def noted(function) -> set[tuple[str, str]]:
    """What is guarded, but for the code of functions and the names of closures."""
    every, reported = guards_of(function, tg.ones(2))
    found = kinds(every) | kinds(reported)
    return {(words, kind) for words, kind in found if kind not in ("function", "cell")}


# ---- names
@case
def a_global():
    return lambda x: x * LIMIT, {("the global 'LIMIT'", "item")}


@case
def a_global_that_is_not_there_yet():
    def f(x):
        try:
            return x * NOT_DEFINED
        except NameError:
            return x

    return f, {("the global 'NOT_DEFINED'", "item")}


@case
def a_number_of_a_closure():
    k = 2.0
    return lambda x: x * k, set()


@case
def a_name_of_a_module():
    settings = types.ModuleType("settings")
    settings.rate = settings.unread = 2.0
    return lambda x: x * settings.rate, {("settings.rate", "item")}


@case
def a_name_that_a_module_may_compute():
    settings = types.ModuleType("settings")
    settings.__getattr__ = lambda name: 2.0
    return lambda x: x * settings.rate, {
        ("settings.rate", "item"), ("settings.__getattr__", "item"),
    }


@case
def a_library():
    return lambda x: x * np.pi, {("the global 'np'", "item")}


# ---- objects of users
@case
def an_attribute():
    thing = user(rate=2.0, unread=3.0)
    return lambda x: x * thing.rate, {
        ("attribute 'rate' of User", "item"),
        ("the class of the closure variable 'thing'", "type"), ("class User", "class"),
    }


@case
def an_attribute_of_the_class():
    thing = user()
    return lambda x: x * thing.shared, {
        ("attribute 'shared' of User", "item"),
        ("the class of the closure variable 'thing'", "type"), ("class User", "class"),
    }


@case
def an_attribute_that_is_missing():
    thing = user()
    return lambda x: x * getattr(thing, "none", 2.0), {
        ("attribute 'none' of User", "item"),
        ("the class of the closure variable 'thing'", "type"), ("class User", "class"),
    }


@case
def a_method():
    return user(rate=2.0).scaled, {
        ("attribute 'rate' of User", "item"),
        ("the class of the function", "type"), ("class User", "class"),
    }


@case
def a_slot():
    thing = user(Slotted, rate=2.0)
    return lambda x: x * thing.rate, {
        ("attribute 'rate' of Slotted", "slot"),
        ("the class of the closure variable 'thing'", "type"), ("class Slotted", "class"),
    }


@case
def a_property():
    thing = user(Asked, kept=2.0)
    return lambda x: x * thing.rate, {
        ("attribute 'kept' of Asked", "item"),
        ("the class of the closure variable 'thing'", "type"), ("class Asked", "class"),
    }


@case
def an_attribute_that_is_computed():
    thing = user(Computed)
    return lambda x: x * thing.rate, {
        ("attribute 'rate' of Computed", "item"),
        ("the class of the closure variable 'thing'", "type"), ("class Computed", "class"),
    }


@case
def all_attributes():
    thing = user(rate=2.0)
    return lambda x: x * sum(vars(thing).values()), {
        ("the attributes of User", "content"),
        ("the class of the closure variable 'thing'", "type"), ("class User", "class"),
    }


@case
def the_class_alone():
    thing = user(rate=2.0)
    return lambda x: x * (2 if isinstance(thing, User) else 3), {
        ("the global 'User'", "item"),
        ("the class of the closure variable 'thing'", "type"), ("class User", "class"),
    }


@case
def an_object_that_the_function_makes():
    def f(x):
        made = User()
        made.rate = 2.0
        return made.scaled(x)

    return f, {("the global 'User'", "item"), ("class User", "class")}


@case
def an_object_behind_a_weak_reference():
    thing = user(rate=2.0)
    there, alive = weakref.ref(thing), thing
    return lambda x: x * there().rate, {
        ("the closure variable 'there'", "weak"), ("attribute 'rate' of User", "item"),
        ("the class of the closure variable 'there'", "type behind"), ("class User", "class"),
    }, alive


# ---- containers
@pytest.mark.parametrize("table", [
    {"rate": 2.0}, OrderedDict(rate=2.0), [2.0], (2.0,), deque([2.0]),
], ids=lambda v: type(v).__name__)
def test_all_of_a_container_counts(table):
    key = "rate" if isinstance(table, dict) else 0
    assert noted(lambda x: x * table[key]) == {("the closure variable 'table'", "content")}


@case
def a_container_within_a_container():
    table = {"layers": [{"rate": 2.0}]}
    return lambda x: x * table["layers"][0]["rate"], {
        ("the closure variable 'table'", "content"),
        ("the closure variable 'table'['layers']", "content"),
        ("the closure variable 'table'['layers'][0]", "content"),
    }


@case
def a_set():
    names = {"a", "b"}
    return lambda x: x * len(names), {("the closure variable 'names'", "set")}


@case
def a_list_that_the_function_makes():
    return lambda x: x * sum([1.0, 2.0]), set()


@pytest.mark.parametrize("table", [types.SimpleNamespace(rate=2.0), threading.local()],
                         ids=["a namespace", "a thread's own"])
def test_all_that_a_holder_of_attributes_has_counts(table):
    table.rate = 2.0
    found = noted(lambda x: x * table.rate)
    assert ("the attributes of the closure variable 'table'", "content") in found


@case
def a_dict_written_in_python():
    table = UserDict(rate=2.0)
    return lambda x: x * table["rate"], {
        ("the attributes of the closure variable 'table'", "content"),
        ("the attributes of the closure variable 'table'['data']", "content"),
    }


# ---- values of which a summary is compared
@pytest.mark.parametrize("value, read, kind", [
    (bytearray(b"ab"), lambda v: v[0], "bytes"),
    (array.array("d", [2.0]), lambda v: v[0], "bytes"),
    (ctypes.c_double(2.0), lambda v: v.value, "bytes"),
    (contextvars.ContextVar("rate", default=2.0), lambda v: v.get(), "context"),
], ids=["bytes", "array", "C", "context"])
def test_what_c_holds_is_compared_by_its_bytes_or_value(value, read, kind):
    assert ("the closure variable 'value'", kind) in noted(lambda x: x * read(value))


@pytest.mark.parametrize("source", [random.Random(0), np.random.default_rng(0)], ids=type)
def test_a_generator_of_random_numbers_counts_by_its_state(source):
    assert ("the closure variable 'source'", "random") in noted(
        lambda x: x * (1 if source is None else 2)
    )


@case
def an_array():
    values = np.ones(2)
    return lambda x: x * float(values[0]), {("the array in the closure variable 'values'", "array")}


@case
def a_tensor():
    w = tg.ones(2)
    return lambda x: x * w, {("the tensor in the closure variable 'w'", "like")}


@case
def the_attributes_of_a_tensor():
    w = tg.ones(2)
    w.rate = 2.0
    return lambda x: x * w.rate, {
        ("the tensor in the closure variable 'w'", "like"),
        ("the attributes of the closure variable 'w'", "content"),
    }


# ---- what is called
@case
def a_partial_function():
    def scaled(x, *, rate):
        return x * rate

    partial = functools.partial(scaled, rate=2.0)
    return lambda x: partial(x), {("the closure variable 'partial'", "content")}


@case
def a_function_with_attributes():
    def scaled(x):
        return x * scaled.rate

    scaled.rate = 2.0
    return scaled, {("the attributes of scaled", "content")}


@case
def a_function_that_remembers():
    @functools.cache
    def doubled(k):
        return k * 2

    return lambda x: x * doubled(2), {("the cache of the closure variable 'doubled'", "cache")}


def test_a_member_of_an_enumeration_counts_by_its_value():
    found = noted(lambda x: x * Color.RED.value)
    assert {("attribute '_value_' of Color", "item"), ("class Color", "class")} <= found


@case
def a_class_that_others_register_with():
    class Shape(abc.ABC):
        @abc.abstractmethod
        def area(self):
            pass

    thing = user()
    return lambda x: x * (2 if isinstance(thing, Shape) else 3), {
        ("the class of the closure variable 'thing'", "type"), ("class User", "class"),
        ("class ABCMeta", "class"), ("the class of attribute '_abc_impl' of ABCMeta", "type"),
        (f"what is registered with {Shape.__qualname__}", "registered"),
        (f"class {Shape.__qualname__}", "class"),
    }


# ---- Modules and optimizers
class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.rate, self.unread, self.w = 2.0, 3.0, nn.Parameter(tg.ones(2))

    def forward(self, x):
        return x * self.rate * self.w


@case
def a_module():
    return Scale().forward, {
        ("the class of the function", "type"), ("class Scale", "class"),
        ("attribute 'rate' of Scale", "item"), ("attribute 'w' of Scale", "item"),
        ("'w' in the function", "item"), ("the tensor in 'w' in the function", "like"),
        ("the global 'nn'", "item"), ("the global 'tg'", "item"),  # in __init__
    }


LIMIT = 2.0


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_is_noted_and_nothing_else(name):
    function, wanted, *_ = CASES[name]()
    assert noted(function) == wanted


def test_an_option_of_an_optimizer_that_a_step_uses_is_noted():
    w = tg.ones(2, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()
        return x

    found = noted(step)
    assert ("'momentum' in group", "item") in found
    assert ("'lr' in group", "item") not in found  # which is read at each call

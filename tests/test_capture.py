"""What a compiled function read when it was traced, and where, is never stale: a change of it shows
in the next call, as it does eagerly.

A scenario is a function and a change; docs/capture.md has a row for each kind.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import types

import pytest
from scenarios import Base, Sub, check, collection, module, same

import tracegrad as tg
from tracegrad import nn

SCENARIOS, scenario = collection()
RATE = 1.0
TABLE = {"rate": 1.0}


# ---- arguments
@dataclasses.dataclass
class Config:
    rate: float
    extra = 1.0

    def scaled(self, x):
        return x * self.rate * self.extra * RATE


@scenario
def a_method_of_a_dataclass_reads_a_global(patch):
    c = Config(2.0)
    return (lambda x: c.scaled(x)), lambda: patch.setitem(globals(), "RATE", 3.0)


@scenario
def a_method_of_an_argument_reads_a_class_attribute(patch):
    c = Config(2.0)
    return (lambda x: (lambda x, c: c.scaled(x))(x, c)), lambda: patch.setattr(Config, "extra", 3.0)


class Scaled(dict):
    def scale(self, x):
        return x * self["k"] * RATE * self.bonus

    bonus = 1.0


@scenario
def a_subclass_of_dict_has_an_attribute(patch):
    d = Scaled(k=2.0)
    return (lambda x: d.scale(x)), lambda: setattr(d, "bonus", 4.0)


class Row(collections.namedtuple("Row", "a b")):
    def total(self, x):
        return x * (self.a + self.b) * RATE


@scenario
def a_method_of_a_namedtuple(patch):
    row = Row(1.0, 2.0)
    return (lambda x: row.total(x)), lambda: patch.setitem(globals(), "RATE", 3.0)


class Named(str):
    scale = 1.0


class Counted(int):
    pass


class Measured(float):
    pass


class Listed(list):
    pass


class Paired(tuple):
    pass


@pytest.mark.parametrize("kind", [Named, Counted, Measured, Listed, Paired])
def test_attributes_of_subclasses_of_plain_types(kind):
    value = kind()
    value.scale = 2.0
    f = tg.compile(lambda x: x * value.scale)
    same(f(tg.ones(2)), [2, 2])
    value.scale = 5.0
    same(f(tg.ones(2)), [5, 5])


# ---- functions
@scenario
def an_attribute_of_a_function(patch):
    def helper(x):
        return x * helper.rate

    helper.rate = 2.0
    return (lambda x: helper(x)), lambda: setattr(helper, "rate", 3.0)


@scenario
def defaults_are_exchanged(patch):
    def helper(x, k=2.0):
        return x * k

    return (lambda x: helper(x)), lambda: setattr(helper, "__defaults__", (5.0,))


@scenario
def code_is_exchanged(patch):
    def helper(x):
        return x * 2

    def other(x):
        return x * 7

    return (lambda x: helper(x)), lambda: setattr(helper, "__code__", other.__code__)


@scenario
def the_closure_of_a_callable_in_an_attribute(patch):
    k = 2.0

    def scale(x):
        return x * k

    holder = types.SimpleNamespace(f=scale)

    def change():
        nonlocal k
        k = 5.0

    return (lambda x: holder.f(x)), change


@scenario
def the_closure_of_a_hook(patch):
    k = 2.0
    net = nn.Identity()
    net.register_forward_hook(lambda m, args, y: y * k)

    def change():
        nonlocal k
        k = 5.0

    return (lambda x: net(x)), change


@scenario
def the_closure_of_a_tensor_hook(patch):
    k = 2.0
    w = tg.ones(2, requires_grad=True)
    w.register_hook(lambda g: g * k)

    def change():
        nonlocal k
        k = 5.0

    def f(x):
        return tg.autograd.grad((x * w).sum(), w)[0]

    return f, change


# ---- attributes in unusual places
@scenario
def an_attribute_of_a_tensor(patch):
    w = tg.ones(2)
    w.scale = 2.0
    return (lambda x: x * w.scale), lambda: setattr(w, "scale", 3.0)


@scenario
def an_attribute_of_a_parameter(patch):
    w = nn.Parameter(tg.ones(2))
    w.scale = 2.0
    return (lambda x: (x * w * w.scale).detach()), lambda: setattr(w, "scale", 3.0)


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


@scenario
def an_attribute_of_an_enum_member(patch):
    Color.RED.scale = 2.0
    return (lambda x: x * Color.RED.scale), lambda: setattr(Color.RED, "scale", 3.0)


class Slotted:
    __slots__ = ("__private", "_under", "rate")

    def __init__(self):
        self.__private = self._under = self.rate = 2.0

    def scaled(self, x):
        return x * self.__private * self._under

    def set(self, value):
        self.__private = value


@scenario
def slots_with_names_that_begin_with_underscores(patch):
    s = Slotted()
    return (lambda x: s.scaled(x)), lambda: s.set(7.0)


class Hidden:
    def __init__(self):
        self.__rate = 2.0
        self.__dunder__ = 1.0

    def scaled(self, x):
        return x * self.__rate * self.__dunder__


@scenario
def a_mangled_name(patch):
    h = Hidden()
    return (lambda x: h.scaled(x)), lambda: setattr(h, "_Hidden__rate", 3.0)


@scenario
def an_attribute_with_underscores(patch):
    h = Hidden()
    return (lambda x: h.scaled(x)), lambda: setattr(h, "__dunder__", 3.0)


# ---- later overriding
class Other(Base):
    rate = 9.0


class Meta(type):
    rate = 2.0


class WithMeta(metaclass=Meta):
    pass


@scenario
def a_subclass_overrides(patch):
    s = Sub()
    return (lambda x: s.scaled(x)), lambda: patch.setattr(Sub, "rate", 5.0, raising=False)


@scenario
def a_subclass_overrides_a_method(patch):
    s = Sub()
    return (
        (lambda x: s.scaled(x)),
        lambda: patch.setattr(Sub, "scaled", lambda self, x: x * 8, raising=False),
    )


@scenario
def an_instance_overrides_its_class(patch):
    s = Sub()
    return (lambda x: s.scaled(x)), lambda: setattr(s, "rate", 5.0)


@scenario
def the_class_of_an_object_is_exchanged(patch):
    s = Sub()
    return (lambda x: s.scaled(x)), lambda: setattr(s, "__class__", Other)


@scenario
def the_bases_of_a_class_are_exchanged(patch):
    class Mine(Base):
        pass

    s = Mine()
    return (lambda x: s.scaled(x)), lambda: setattr(Mine, "__bases__", (Other,))


@scenario
def an_attribute_of_a_metaclass(patch):
    return (lambda x: x * WithMeta.rate), lambda: patch.setattr(Meta, "rate", 3.0)


@scenario
def what_was_missing_is_there(patch):
    s = Sub()
    return (
        (lambda x: x * (5 if hasattr(s, "special") else 2)),
        lambda: setattr(s, "special", True),
    )


@scenario
def what_was_missing_in_a_class_is_there(patch):
    return (
        (lambda x: x * getattr(Sub, "special", 2.0)),
        lambda: patch.setattr(Sub, "special", 5.0, raising=False),
    )


@scenario
def what_was_missing_in_a_module_is_there(patch):
    return (
        (lambda x: x * getattr(module, "missing", 2.0)),
        lambda: patch.setattr(module, "missing", 5.0, raising=False),
    )


@scenario
def a_single_dispatch_gets_a_case(patch):
    @functools.singledispatch
    def scale(thing, x):
        return x * 2

    s = Sub()
    return (lambda x: scale(s, x)), lambda: scale.register(Sub, lambda thing, x: x * 6)


@scenario
def a_cache_is_cleared(patch):
    @functools.lru_cache
    def rate():
        return TABLE["rate"]

    def change():
        patch.setitem(TABLE, "rate", 4.0)
        rate.cache_clear()

    return (lambda x: x * rate()), change


@scenario
def a_function_behind_a_cache_reads_a_global(patch):
    @functools.cache
    def rate(k):
        return k * RATE

    def change():
        patch.setitem(globals(), "RATE", 4.0)
        rate.cache_clear()

    return (lambda x: x * rate(2)), change


@scenario
def an_attribute_of_an_autograd_function(patch):
    class Scale(tg.autograd.Function):
        rate = 2.0

        @staticmethod
        def forward(ctx, x):
            return x * Scale.rate

        @staticmethod
        def backward(ctx, g):
            return g * Scale.rate

    return (lambda x: Scale.apply(x)), lambda: setattr(Scale, "rate", 5.0)


@scenario
def super_finds_another(patch):
    class Mine(Base):
        def scaled(self, x):
            return super().scaled(x) + 1

    m = Mine()
    return (lambda x: m.scaled(x)), lambda: patch.setattr(Base, "scaled", lambda self, x: x * 11)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_change_shows_in_the_next_call(name, monkeypatch):
    check(SCENARIOS[name], monkeypatch)

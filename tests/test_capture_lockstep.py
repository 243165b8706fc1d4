"""Programs that call a compiled function and change what it reads in between, several times: each
says what it says eagerly.
"""

from __future__ import annotations

import abc
import collections
import configparser
import ctypes
import logging
import multiprocessing
import os
import sys
import threading
import types
import typing
import warnings
import weakref

import pytest
from scenarios import collection, lockstep

import tracegrad as tg
from tracegrad import nn

PROGRAMS, program = collection()


def x():
    return tg.tensor([1.0, -2.0])


# ---- containers, whatever their class makes of them
@program
def the_order_of_an_ordered_dict(compile):
    d = collections.OrderedDict(a=1.0, b=2.0)

    @compile
    def f(x):
        for k, v in d.items():
            x = x * v + len(k) + v
        d["c"] = x.sum()
        return x

    for name in ("a", "b", "c"):
        yield f(x()), d
        d.move_to_end(name)
    yield f(x()), d


@program
def a_list_with_its_own_view_of_itself(compile):
    class Doubled(list):
        def __getitem__(self, k):
            return super().__getitem__(k) * 2

        def __iter__(self):
            return (10 * v for v in super().__iter__())

        def __len__(self):
            return 7

    values = Doubled([1.0, 2.0])
    f = compile(lambda x: x * values[0] + sum(values) + len(values))
    for k in (1.0, 3.0, 4.0, 5.0):
        list.__setitem__(values, 0, k)
        yield f(x())
    values.append(1.0)
    yield f(x())


@program
def entries_of_a_list_are_set(compile):
    state, recent = [tg.zeros(2), 0, "a"], collections.deque([0.0, 0.0], maxlen=2)

    @compile
    def f(x):
        state[0] = state[0] * 0.5 + x
        state[1] += 1
        recent.append(state[1])
        return state[0] * sum(recent)

    for _ in range(5):
        yield f(x()), state, list(recent)


@program
def tensors_trade_places(compile):
    net = nn.Module()
    net.register_buffer("a", tg.ones(2))
    net.register_buffer("b", tg.zeros(2))
    net.c = tg.full((2,), 5.0)

    @compile
    def f(x):
        net.a, net.b, net.c = net.b, net.c, net.a
        net.a.add_(x)
        return net.a * 2

    for _ in range(7):
        yield f(x()), net.a.clone(), net.b.clone(), net.c.clone()


@program
def entries_are_removed(compile):
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = None

        def forward(self, x):
            if self.inner is None:
                self.inner = nn.Flatten(0)
            return self.inner(x) * 2

    lazy, waiting = Lazy(), {"k": 3.0}
    f = compile(lambda x: lazy(x) * waiting.pop("k"))
    for k in range(7):
        waiting["k"] = float(k)
        yield f(x()), waiting, "inner" in vars(lazy), len(list(lazy.children()))
    yield _tried(f), waiting


def _tried(f):
    try:
        return f(x())
    except KeyError as error:
        return str(error)


# ---- Python's own library
@program
def a_logger_is_asked_for_its_level(compile):
    log = logging.getLogger("tests.capture")
    log.setLevel(logging.ERROR)

    @compile
    def f(x):
        log.debug("not said")
        return x * (2 if log.isEnabledFor(logging.DEBUG) else 3)

    yield f(x()), f(x())
    logging.disable(logging.CRITICAL)
    yield f(x()), f(x())
    logging.disable(logging.NOTSET)
    yield f(x())


@program
def a_config_parser(compile):
    config = configparser.ConfigParser()
    config.read_string("[train]\nrate = 1.0")
    f = compile(lambda x: x * config.getfloat("train", "rate"))
    for k in ("1.0", "2.0", "3.5"):
        config["train"]["rate"] = k
        yield f(x())


@program
def an_event(compile):
    event = threading.Event()
    f = compile(lambda x: x * (2 if event.is_set() else 3))
    yield f(x())
    event.set()
    yield f(x())


@program
def memory_of_ctypes(compile):
    class Pair(ctypes.Structure):
        _fields_ = [("k", ctypes.c_double)]

    number, numbers, pair = ctypes.c_double(1.0), (ctypes.c_float * 2)(1.0, 2.0), Pair(1.0)
    shared = multiprocessing.Value("d", 1.0)
    f = compile(lambda x: x * number.value + numbers[1] - pair.k * shared.value)
    yield f(x())
    number.value = 3.0
    yield f(x())
    numbers[1] = 5.0
    yield f(x())
    pair.k = 7.0
    yield f(x())
    shared.value = 2.0
    yield f(x())


@program
def os_getenv(compile):
    f = compile(lambda x: x * int(os.getenv("RATE_OF_A_PROGRAM", "5")))
    yield f(x())
    os.environ["RATE_OF_A_PROGRAM"] = "2"
    yield f(x())
    del os.environ["RATE_OF_A_PROGRAM"]
    yield f(x())


@program
def a_thread_local_in_other_threads(compile):
    local, seen = threading.local(), []
    local.rate = 1.0

    @compile
    def f(x):
        local.calls = getattr(local, "calls", 0) + 1
        return x * local.rate * local.calls

    def work():
        local.rate = 5.0
        seen.append([f(x()), f(x()), local.calls])

    yield f(x()), f(x())
    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    yield seen, f(x()), local.calls


# ---- weak references
class Thing:
    rate = 1.0

    def scaled(self, x):
        return x * self.rate


@program
def what_weak_references_lead_to(compile):
    thing, others = Thing(), weakref.WeakSet()
    others.add(thing)
    proxy, method = weakref.proxy(thing), weakref.WeakMethod(thing.scaled)
    f = compile(lambda x: x * proxy.rate + method()(x) + sum(o.rate for o in others))
    yield f(x())
    thing.rate = 3.0
    yield f(x())
    other = Thing()
    others.add(other)
    yield f(x())


@program
def a_program_keeps_no_object_behind_a_weak_reference(compile):
    thing = Thing()
    reference, table = weakref.ref(thing), weakref.WeakKeyDictionary({thing: 2.0})

    @compile
    def f(x):
        found = reference()
        return x * len(table) if found is None else x * found.rate + sum(table.values())

    yield f(x())
    thing.rate = 3.0
    yield f(x())
    del thing
    yield f(x())


# ---- classes and modules
@program
def a_class_is_registered_with_an_abstract_one(compile):
    class Shape(abc.ABC):  # noqa: B024
        pass

    class Mine:
        pass

    mine = Mine()
    f = compile(lambda x: x * (2 if isinstance(mine, Shape) else 3))
    yield f(x())
    Shape.register(Mine)
    yield f(x())


@program
def metaclasses_and_protocols_decide_what_is_an_instance(compile):
    class Meta(type):
        on = True

        def __instancecheck__(cls, thing):
            return Meta.on

    class Any(metaclass=Meta):
        pass

    @typing.runtime_checkable
    class Goes(typing.Protocol):
        def go(self): ...

    class Mine:
        pass

    mine = Mine()
    f = compile(lambda x: x * (2 if isinstance(3, Any) else 3) + isinstance(mine, Goes))
    yield f(x())
    Meta.on = False
    yield f(x())
    Meta.__instancecheck__ = lambda cls, thing: True
    yield f(x())
    Mine.go = lambda self: None
    yield f(x())


@program
def subclasses_are_counted(compile):
    class Plugin:
        pass

    f = compile(lambda x: x * len(Plugin.__subclasses__()))
    yield f(x())

    class Mine(Plugin):
        pass

    yield f(x())


@program
def a_module_answers_for_what_it_has_not(compile):
    module, table = types.ModuleType("module_of_a_user"), {"rate": 1.0}
    module.__getattr__ = lambda name: table[name]
    f = compile(lambda x: x * module.rate)
    yield f(x())
    table["rate"] = 2.0
    yield f(x())
    module.__getattr__ = lambda name: 7.0
    yield f(x())
    module.rate = 9.0
    yield f(x())


@program
def a_module_is_replaced(compile):
    @compile
    def f(x):
        import module_of_a_user

        return x * module_of_a_user.rate

    for k in (1.0, 2.0):
        sys.modules["module_of_a_user"] = module = types.ModuleType("module_of_a_user")
        module.rate = k
        yield f(x())
    del sys.modules["module_of_a_user"]


@program
def warnings_are_given_at_every_call(compile):
    def helper():
        warnings.warn("deep", DeprecationWarning, stacklevel=2)

    @compile
    def f(x):
        warnings.warn("careful", stacklevel=1)
        helper()
        return x

    for _ in range(3):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield f(x())
        yield [(str(w.message), w.category, w.filename, w.lineno) for w in caught]


@program
def numbers_compared_by_identity(compile):
    one, other = 2.5, 3.5
    space = types.SimpleNamespace(k=one)
    f = compile(lambda x: x * (2 if space.k is one else 3))
    for k in (one, other, one, other):
        space.k = k
        yield f(x())


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_lockstep(name):
    lockstep(PROGRAMS[name])

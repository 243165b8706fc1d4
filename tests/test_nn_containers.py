"""Lists and dicts of modules and parameters against torch: None has a place, other things are kept
or refused as there.
"""

from __future__ import annotations

from collections import OrderedDict

import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")


def after(m, *changes):
    """The container after method calls: (name, *arguments)."""
    for name, *args in changes:
        getattr(m, name)(*args)
    return m


def part(T, *calls):
    return after(T.nn.Module(), *calls)


NN = {
    "list": lambda T: T.nn.ModuleList([None, T.nn.ReLU(), None]),
    "list, indexed": lambda T: (T.nn.ModuleList([None, T.nn.ReLU()])[0],),
    "list, appended": lambda T: after(T.nn.ModuleList(), ("append", None), ("append", T.nn.ReLU())),
    "list, extended": lambda T: T.nn.ModuleList([T.nn.ReLU()]).extend([None, None]),
    "list, set": lambda T: after(T.nn.ModuleList([T.nn.ReLU()]), ("__setitem__", 0, None)),
    "list, inserted": lambda T: after(T.nn.ModuleList([T.nn.ReLU()]), ("insert", 0, None)),
    "list, insert returns": lambda T: (T.nn.ModuleList().insert(0, T.nn.ReLU()),),
    "list, cut": lambda T: T.nn.ModuleList([None, T.nn.ReLU(), T.nn.Linear(1, 1)])[:2],
    "list, deleted": lambda T: after(
        T.nn.ModuleList([None, T.nn.ReLU(), T.nn.Linear(1, 1)]), ("__delitem__", 0)
    ),
    "list, popped": lambda T: (T.nn.ModuleList([None, T.nn.ReLU()]).pop(0),),
    "list, added": lambda T: T.nn.ModuleList([None]) + [T.nn.ReLU(), None],
    "list, converted": lambda T: T.nn.ModuleList([None, T.nn.Linear(1, 1)]).double().eval(),
    "list of a number": lambda T: T.nn.ModuleList([3]),
    "list of a tensor": lambda T: T.nn.ModuleList(T.ones(2)),
    "list, named": lambda T: T.nn.ModuleList(modules=[T.nn.ReLU()]),
    "dict": lambda T: T.nn.ModuleDict({"a": None, "b": T.nn.ReLU()}),
    "dict, set": lambda T: after(T.nn.ModuleDict(), ("__setitem__", "x", None)),
    "dict, updated": lambda T: after(
        T.nn.ModuleDict({"a": T.nn.ReLU()}), ("update", T.nn.ModuleDict({"a": None}))
    ),
    "dict of a number": lambda T: T.nn.ModuleDict({"a": 3}),
    "dict, a method's name": lambda T: T.nn.ModuleDict({"forward": T.nn.ReLU()}),
    "sequence": lambda T: T.nn.Sequential(None, T.nn.ReLU()),
    "sequence, called": lambda T: T.nn.Sequential(None, T.nn.ReLU())(T.ones(2)),
    "sequence, ordered": lambda T: T.nn.Sequential(OrderedDict(a=None, b=T.nn.ReLU())),
    "sequence of a dict": lambda T: T.nn.Sequential({"a": T.nn.ReLU()}),
    "sequence, appended": lambda T: T.nn.Sequential(T.nn.ReLU()).append(None),
    "sequence, extended": lambda T: T.nn.Sequential().extend([None]),
    "sequence, inserted": lambda T: T.nn.Sequential(T.nn.ReLU()).insert(0, T.nn.Tanh()),
    "sequence, None inserted": lambda T: T.nn.Sequential(T.nn.ReLU()).insert(0, None),
    "sequence, inserted too far": lambda T: T.nn.Sequential().insert(9, T.nn.ReLU()),
    "sequence, cut": lambda T: T.nn.Sequential(T.nn.ReLU(), None, T.nn.Tanh())[1:],
    "sequence and list": lambda T: T.nn.Sequential(T.nn.ReLU()) + [T.nn.ReLU()],
    "sequences": lambda T: T.nn.Sequential(T.nn.ReLU()) + T.nn.Sequential(T.nn.Tanh()),
    "parameters": lambda T: T.nn.ParameterList([None, T.ones(2), 3, T.nn.Parameter(T.ones(1))]),
    "parameters, appended": lambda T: T.nn.ParameterList().append(None),
    "parameters, set": lambda T: after(T.nn.ParameterList([T.ones(2)]), ("__setitem__", 0, None)),
    "parameters, cut": lambda T: T.nn.ParameterList([T.ones(1), None, T.ones(3)])[1:],
    "parameters of a tensor": lambda T: T.nn.ParameterList(T.ones(2, 2)),
    "named parameters": lambda T: T.nn.ParameterDict({"a": None, "b": T.ones(2), "c": 3}),
    "named parameters, by name": lambda T: T.nn.ParameterDict(parameters={"a": T.ones(1)}),
    "named parameters, from keys": lambda T: T.nn.ParameterDict().fromkeys(["a", "b"], T.ones(1)),
    "named parameters, default": lambda T: (T.nn.ParameterDict({"a": None}).get("a", 5),),
    "named parameters, defaulted": lambda T: after(T.nn.ParameterDict(), ("setdefault", "a")),
    "named parameters, replaced": lambda T: after(
        T.nn.ParameterDict({"a": T.ones(1)}), ("__setitem__", "a", 4), ("__setitem__", "b", None)
    ),
    "named parameters, deleted": lambda T: after(
        T.nn.ParameterDict({"a": None, "b": T.ones(1)}), ("__delitem__", "a")
    ),
    "named parameters, cleared": lambda T: after(T.nn.ParameterDict({"a": T.ones(1)}), ("clear",)),
    "named parameters, a number": lambda T: T.nn.ParameterDict({3: T.ones(2)}),
    "no module": lambda T: part(T, ("register_module", "a", None), ("add_module", "b", None)),
    "no module, then one": lambda T: part(
        T, ("register_module", "a", None), ("__setattr__", "a", T.nn.ReLU())
    ),
    "no parameter": lambda T: part(T, ("register_parameter", "a", None)),
    "no parameter, then one": lambda T: part(
        T, ("register_parameter", "a", None), ("__setattr__", "a", T.nn.Parameter(T.ones(1)))
    ),
    "no parameter, then a tensor": lambda T: part(
        T, ("register_parameter", "a", None), ("__setattr__", "a", T.ones(1))
    ),
    "no buffer": lambda T: part(T, ("register_buffer", "a", None)),
    "no buffer, then one": lambda T: part(
        T, ("register_buffer", "a", None), ("__setattr__", "a", T.ones(1))
    ),
    "no bias": lambda T: T.nn.Linear(2, 2, bias=False),
    "no statistics": lambda T: T.nn.BatchNorm1d(2, track_running_stats=False),
}


def described(m):
    if isinstance(m, (torch.nn.Module, tg.nn.Module)):
        held = [type(c).__name__ for c in m] if hasattr(m, "__len__") else None
        return (
            type(m).__name__, repr(m).replace("tracegrad", "torch"), held,
            [n for n, _ in m.named_modules()], [n for n, _ in m.named_parameters()],
            list(m.state_dict()),
        )
    return repr(m)


def outcome(program, T):
    try:
        return described(program(T))
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("name", NN)
def test_containers_are_as_in_torch(name):
    assert outcome(NN[name], tg) == outcome(NN[name], torch)


def test_a_place_that_is_empty_is_seen_by_a_compiled_function():
    layers = tg.nn.ModuleList([None, tg.nn.Linear(2, 2)])

    @tg.compile
    def f(x):
        for layer in layers:
            x = x if layer is None else layer(x)
        return x

    x = tg.ones(1, 2)
    assert (f(x) == layers[1](x)).all()
    layers[0] = tg.nn.ReLU()
    layers[1] = None
    assert (f(-x) == 0).all()
    named = tg.nn.ParameterDict({"scale": tg.ones(()), "shift": None})
    g = tg.compile(lambda x: x * named["scale"] + (0 if named["shift"] is None else named["shift"]))
    assert (g(x) == 1).all()
    named["shift"] = tg.ones(())
    assert (g(x) == 2).all()

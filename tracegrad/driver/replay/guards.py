"""Guards: what a replay checks before it runs a program, and pointers of tensors that moved."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ...tracer.capture.guards import Guard
from ...tracer.capture.inputs import Input
from ...tracer.capture.locations import ABSENT, PLAIN, Location, alike
from ...tracer.capture.scalar import Scalar
from ...tracer.capture.type_version import rechecked, tag
from ...tracer.change_counter import change_count
from ...tracer.mode import Forward, mode
from ...tracer.tensor.inplace import view_obstacle
from ...tracer.tensor.views import memory_offset
from ..entry import Entry, nobody
from ..outputs import Gradient, gradients_before_call
from .bindings import location_reader, overlap_check, rebinder, staleness
from .source import Source, grad_before, tensor_at
from .stages import scalars_of

_MISSED = {  # by the name of an attribute guard: what must not be
    "_grad_fn": "({0}._grad_fn is None) is not {1}",
    "offset": "offset_of({0}) != {1}",
    "changing": "({0}._view or {0}._memory_location) and obstacle({0})",
    "growing": "({0}._view or {0}._memory_location) and obstacle({0}, True)",
}
_MOVING = ("argument", "location")  # inputs that may be another tensor at each call


def write_guards(s: Source) -> None:
    """Return MISS if the entry does not fit the call; else bind its tensors and numbers."""
    entry = s.entry
    s.names |= {
        "mode": mode, "Forward": Forward, "change_count": change_count,
        "checked_at": entry.checked_at, "stale": staleness(entry), "alike": alike,
        "offset_of": memory_offset, "obstacle": view_obstacle,
    }
    s.add("now = mode.__dict__")  # each look at a thread's state takes as long as several at a dict
    s.add(f"if now['grad'] is not {entry.grad_mode} or now['trace'] is not None "
          f"or now['autocast'] is not {s.name('casts', entry.autocast)}: return MISS")
    unpacked = "".join(f"a{k}, " for k in range(s.count))
    s.add(f"({unpacked}) = args" if s.count else "if args: return MISS")
    for guard in entry.guard_set.every_call:
        _guard(s, guard)
    s.add("if change_count[0] != checked_at[0] and stale(): return MISS")
    _scalars(s)
    _tensors(s)
    _gradients(s)
    for i, what, value in entry.attribute_guards:
        if i.kind == "grad" and i not in entry.inputs:
            continue  # its value stays, and it may be None
        s.add(f"if {_MISSED[what].format(s.tensor(i), value)}: return MISS")
    for one, other in entry.identities:
        s.add(f"if {_same(s, one)} is not {_same(s, other)}: return MISS")


def _tensors(s: Source) -> None:
    """The tensors among the arguments and at promoted locations."""
    entry = s.entry
    for i in entry.inputs:
        if i.kind == "location":
            find = location_reader(i.key, isinstance(i.key.now(), np.ndarray))
            s.add(f"{tensor_at(i)} = {s.name('find', find)}()")
    inputs = {i.key for i in entry.inputs if i.kind == "argument"}
    for k in range(s.count):
        if k not in inputs:
            s.add(f"if a{k} is not a{entry.repetition[k]}: return MISS")
    changed = (*entry.written, *(i for i, _ in entry.graded))
    exact = any(i.kind in _MOVING for i in changed)
    moving = [i for i in entry.inputs if i.kind in _MOVING]
    for k, i in enumerate(moving):
        t, rg = s.tensor(i), entry.avals[entry.inputs.index(i)][3]
        s.add(f"if {_moved(s, i, t)} or {t}._requires_grad is not {rg}: return MISS")
        if rg:
            hooks = tuple((i.tensor._hooks or {}).values())
            now = f"tuple(({t}._hooks or {{}}).values())"
            differ = f"{now} != {s.name('hooks', hooks)}" if hooks else f"{t}._hooks"
            s.add(f"if {differ}: return MISS")
        for other in moving[:k] if exact else ():
            s.add(f"if {t} is {s.tensor(other)}: return MISS")
    for i, other in itertools.combinations(moving, 2):
        if i in entry.written or other in entry.written:
            pair = f"{s.tensor(i)}, {s.tensor(other)}"
            s.add(f"if {s.name('together', overlap_check())}({pair}): return MISS")


def _moved(s: Source, i: Input, t: str) -> str:
    """Whether tensor `t` is not that of the last call, and does not fit input `i`."""
    cell = s.name("last", [nobody])
    bind = s.name("bind", rebinder(s.entry, s.entry.inputs.index(i), s.names[cell]))
    return f"{t}._array is not {cell}[0]() and not {bind}({t})"


def _gradients(s: Source) -> None:
    """The `.grad` of tensors before the call, if the program uses it."""
    for i in _gradients_read(s.entry):
        s.add(f"{grad_before(i)} = {s.tensor(i)}._grad")
    for i, there in s.entry.grad_presence:
        s.add(f"if {s.tensor(i)}._grad is {'None' if there else 'not None'}: return MISS")
    for i in s.entry.inputs:
        if i.kind == "grad":
            g = s.tensor(i)
            s.add(f"if {g} is None: return MISS")
            s.add(f"if {_moved(s, i, g)}: return MISS")


def _same(s: Source, one: Any) -> str:
    if isinstance(one, Gradient):
        return grad_before(one.owner)
    if isinstance(one, Input):
        return s.tensor(one)
    return s.look(one) if isinstance(one, Location) else s.name("then", one)


def _guard(s: Source, guard: Guard) -> None:
    """A guard that is checked at every call."""
    location, then = guard
    if location.kind == "type":
        s.add(f"if type({s.name('h', location.holder)}) is not {s.name('cls', then)}: return MISS")
    elif location.kind == "function" and location.holder.__kwdefaults__ is None:
        f, code = s.name("h", location.holder), s.name("code", location.holder.__code__)
        defaults = s.name("defaults", location.holder.__defaults__)
        s.add(f"if {f}.__code__ is not {code} or {f}.__defaults__ is not {defaults} "
                f"or {f}.__kwdefaults__: return MISS")
    elif location.kind == "class" and (view := tag(location.holder)) is not None:
        seen = [-1]
        ask = s.name("ask", rechecked(location.holder, seen, guard.holds))
        s.add(f"if {s.name('tag', view)}[0] != {s.name('seen', seen)}[0] and not {ask}(): "
                "return MISS")
    elif not location.settable():
        s.add(f"if not {s.name('holds', guard.check())}(): return MISS")
    elif then is ABSENT and location.kind == "item":
        s.add(f"if {s.literal(location.key)} in {s.name('h', location.holder)}: return MISS")
    elif isinstance(then, (*PLAIN, np.generic)) and then is not None and type(then) is not bool:
        now = s.look(location)
        then = s.name("then", then)
        s.add(f"if {now} is not {then} and not alike({then}, {now}): return MISS")
    else:
        s.add(f"if {s.look(location)} is not {s.name('then', then)}: return MISS")


def _scalars(s: Source) -> None:
    """The numbers that are read at this call, and the decisions of Python that depend on them."""
    entry = s.entry
    if entry.numbers:
        s.add("".join(f"n{k}, " for k in range(len(entry.numbers))) + "= numbers")
    for k, value in enumerate(entry.numbers):
        if type(value) is Scalar:
            s.scalars[id(value)] = f"n{k}"
        else:
            then = s.name("then", value)
            s.add(f"if n{k} is not {then} and not alike({then}, n{k}): return MISS")
    for location, number in entry.scalars:
        s.scalars[id(number)] = v = f"v{len(s.scalars)}"
        s.add(f"{v} = {s.look(location)}")
        kind = s.name("kind", type(number._value))
        s.add(f"if type({v}) is not {kind}: return MISS")
    for number, value in entry.decisions:
        now = s.scalar(number)
        if type(value) is bool:
            s.add(f"if bool({now}) is not {value!r}: return MISS")
        else:
            s.add(f"if {now} != {value!r}: return MISS")
    for number in scalars_of(entry):
        if number._stage < 0:
            s.scalar(number)


def _gradients_read(entry: Entry) -> list[Input]:
    """The inputs whose `.grad` from before the call is used. A tensor comes before its `.grad`."""
    kept = entry.derivative.kept_inputs if entry.derivative else []
    named = (i for i, _ in (*entry.grad_presence, *entry.graded, *entry.flags))
    used = (*(i for _, inputs in entry.bound() for i in inputs), *kept, *named)
    owners = gradients_before_call(entry.result) | {i.key for i in used if i.kind == "grad"}
    owners |= {one.owner for one, _ in entry.identities if isinstance(one, Gradient)}
    return sorted(owners, key=_depth)


def _depth(i: Input) -> int:
    return 1 + _depth(i.key) if i.kind == "grad" else 0

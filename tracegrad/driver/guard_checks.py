"""What a replay checks before it runs a program: the surroundings, the numbers, the tensors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..tracer.capture.guards import Guard
from ..tracer.capture.locations import ABSENT, PLAIN, Place
from ..tracer.capture.scalar import Scalar
from ..tracer.capture.signature import leaves
from ..tracer.capture.trace import Input
from ..tracer.capture.type_version import rechecked, tag
from .argument_checks import finder, nobody, rebinder, together
from .entry import Entry
from .outputs import Gradient, gradients_found
from .replay_text import Writer, found, literal, look, placed, scalar, tensor


def write_guards(w: Writer, entry: Entry, count: int, positions: dict[int, int]) -> None:
    w.guard(f"if mode.grad is not {entry.grad_mode} or mode.trace is not None: return MISS")
    unpacked = "".join(f"a{k}, " for k in range(count))
    w.guard(f"({unpacked}) = args" if count else "if args: return MISS")
    for guard in entry.surroundings.quick:
        _guard(w, guard)
    w.guard("if epoch[0] != seen[0] and stale(): return MISS")
    write_scalars(w, entry)
    for i in entry.inputs:
        if i.kind == "place":
            find = finder(i.key, isinstance(i.key.now(), np.ndarray))
            w.guard(f"{placed(i)} = {w.name('find', find)}()")
    exact = any(i.kind in ("argument", "place") for i in entry.written) or any(
        i.kind in ("argument", "place") for i, _ in entry.graded
    )
    for k in range(count):
        if k not in positions:
            w.guard(f"if a{k} is not a{entry.repetition[k]}: return MISS")
    moving = [i for i in entry.inputs if i.kind in ("argument", "place")]
    for k, i in enumerate(moving):
        t, rg = tensor(w, i), entry.avals[entry.inputs.index(i)][3]
        cell = w.name("last", [nobody])
        bind = w.name("bind", rebinder(entry, entry.inputs.index(i), w.names[cell]))
        w.guard(
            f"if {t}._array is not {cell}[0]() and not {bind}({t}) "
            f"or {t}._requires_grad is not {rg}: return MISS"
        )
        if rg:
            hooks = tuple((i.tensor._hooks or {}).values())
            now = f"tuple(({t}._hooks or {{}}).values())"
            differ = f"{now} != {w.name('hooks', hooks)}" if hooks else f"{t}._hooks"
            w.guard(f"if {differ}: return MISS")
        for other in moving[:k] if exact else ():
            w.guard(f"if {t} is {tensor(w, other)}: return MISS")
    for i, other in itertools.combinations(moving, 2):
        if i in entry.written or other in entry.written:
            pair = f"{tensor(w, i)}, {tensor(w, other)}"
            w.guard(f"if {w.name('together', together())}({pair}): return MISS")
    for i, what, value in entry.asked:
        spelt = {"_grad_fn": "({}._grad_fn is None)", "offset": "offset_of({})"}[what]
        w.guard(f"if {spelt.format(tensor(w, i))} != {value!r}: return MISS")
    for i in _gradients_read(entry):
        w.guard(f"{found(i)} = {tensor(w, i)}._grad")
    for i, there in entry.presence:
        w.guard(f"if {tensor(w, i)}._grad is {'None' if there else 'not None'}: return MISS")
    for i in entry.inputs:
        if i.kind == "grad":
            g = tensor(w, i)
            cell = w.name("last", [nobody])
            bind = w.name("bind", rebinder(entry, entry.inputs.index(i), w.names[cell]))
            w.guard(f"if {g} is None: return MISS")
            w.guard(f"if {g}._array is not {cell}[0]() and not {bind}({g}): return MISS")
    for one, other in entry.twice:
        w.guard(f"if {_same(w, one)} is not {_same(w, other)}: return MISS")


def _same(w: Writer, one: Any) -> str:
    if isinstance(one, Gradient):
        return found(one.owner)
    if isinstance(one, Input):
        return tensor(w, one)
    return look(w, one) if isinstance(one, Place) else w.name("then", one)


def _guard(w: Writer, guard: Guard) -> None:
    """One that is checked at every call."""
    place, then = guard
    if place.how == "type":
        w.guard(f"if type({w.name('h', place.holder)}) is not {w.name('cls', then)}: return MISS")
    elif place.how == "function" and place.holder.__kwdefaults__ is None:
        f, code = w.name("h", place.holder), w.name("code", place.holder.__code__)
        defaults = w.name("defaults", place.holder.__defaults__)
        w.guard(f"if {f}.__code__ is not {code} or {f}.__defaults__ is not {defaults} "
                f"or {f}.__kwdefaults__: return MISS")  # fmt: skip
    elif place.how == "class" and (view := tag(place.holder)) is not None:
        seen = [-1]
        ask = w.name("ask", rechecked(place.holder, seen, guard.holds))
        w.guard(f"if {w.name('tag', view)}[0] != {w.name('seen', seen)}[0] and not {ask}(): "
                "return MISS")  # fmt: skip
    elif not place.settable():
        w.guard(f"if not {w.name('holds', guard.check())}(): return MISS")
    elif then is ABSENT and place.how == "item":
        w.guard(f"if {literal(w, place.key)} in {w.name('h', place.holder)}: return MISS")
    elif isinstance(then, (*PLAIN, np.generic)) and then is not None and type(then) is not bool:
        now = look(w, place)
        then = w.name("then", then)
        w.guard(f"if {now} is not {then} and not alike({then}, {now}): return MISS")
    else:
        w.guard(f"if {look(w, place)} is not {w.name('then', then)}: return MISS")


def write_scalars(w: Writer, entry: Entry) -> None:
    """The numbers that are read at this call, and what Python decides by them."""
    if entry.numbers:
        w.guard("".join(f"n{k}, " for k in range(len(entry.numbers))) + "= numbers")
    for k, value in enumerate(entry.numbers):
        if type(value) is Scalar:
            w.scalars[id(value)] = f"n{k}"
        else:
            then = w.name("then", value)
            w.guard(f"if n{k} is not {then} and not alike({then}, n{k}): return MISS")
    for place, s in entry.scalars:
        w.scalars[id(s)] = v = f"v{len(w.scalars)}"
        w.guard(f"{v} = {look(w, place)}")
        kind = w.name("kind", type(s._value))
        w.guard(f"if type({v}) is not {kind}: return MISS")
    for s, value in entry.decisions:
        function = "bool" if type(s._value) is not bool else ""
        w.guard(f"if {function}({scalar(w, s)}) is not {value!r}: return MISS")
    later = [i.key for i in entry.inputs if i.kind == "scalar"]
    if entry.derivative is not None:
        later += [i.key for i in entry.derivative.kept_inputs if i.kind == "scalar"]
    for s in (*later, *(x for x in leaves(entry.answer) if type(x) is Scalar)):
        scalar(w, s)


def _gradients_read(entry: Entry) -> list[Input]:
    """The inputs whose `.grad` from before the call is used; one's before its own `.grad`'s."""
    kept = entry.derivative.kept_inputs if entry.derivative else []
    used = (*entry.inputs, *kept, *(i for i, _ in (*entry.presence, *entry.graded, *entry.flags)))
    owners = gradients_found(entry.answer) | {i.key for i in used if i.kind == "grad"}
    owners |= {one.owner for one, _ in entry.twice if isinstance(one, Gradient)}
    return sorted(owners, key=_depth)


def _depth(i: Input) -> int:
    return 1 + _depth(i.key) if i.kind == "grad" else 0

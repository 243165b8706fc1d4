"""Tracing one call while it is watched: what the function reads becomes guards and inputs, what it
changes outside of itself becomes part of the program's answer or is refused.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any

import numpy as np

from ..functions.torch.creation import from_numpy
from ..tracer.capture import unread
from ..tracer.capture.locations import Location, alike
from ..tracer.capture.observer import Observer
from ..tracer.capture.scalar import NeedsValue, Scalar, is_number
from ..tracer.capture.side_effects import Effect
from ..tracer.capture.signature import containers, flatten, leaves, rebuild
from ..tracer.capture.trace import Trace, tracing
from ..tracer.tensor.tensor import Tensor
from .entry import Entry, Observations, Recorder
from .promoted_inputs import Argument, PromotedInputs, parts_of, promotable, tuples_of


class TraceAgain(Exception):
    """The call must be traced again: more places are to be read at each call, or fewer."""

    def __init__(self, more: Iterable[Location] = (), fewer: Iterable[tuple] = ()):
        self.more, self.fewer = list(more), list(fewer)


class RunAsItIs(Exception):
    """A program of this call would never be used again, because the call changes what it relied on:
    state is made at the first use, say.
    """


@contextmanager
def _exchanged(promoted: PromotedInputs, trace: Trace) -> Iterator[list[tuple[Location, Any]]]:
    """Within it, Scalars stand at the places whose numbers are read at each call, and Unreads at
    those of containers that are taken to be unread. Another thread
    that reads one of them just then gets a Scalar, and an error if it uses it: under the lock of
    tracing, and for the time of a trace, this is what it takes to follow a number anywhere.
    """
    done: list[tuple[Location, Any, Any]] = []
    scalars: list[tuple[Location, Any]] = []
    try:
        for location in promoted.locations.values():
            if isinstance(location, Argument):
                continue
            value = location.now()
            if is_number(value):
                scalar = Scalar(trace.book, value, location.id)
                scalars.append((location, scalar))
                done.append((location, value, scalar))
                location.put(scalar)
            elif isinstance(value, Tensor):
                trace.put_at(location, value)
            elif isinstance(value, np.ndarray):
                tensor = from_numpy(value)
                trace.put_at(location, tensor)
                done.append((location, value, tensor))
                location.put(tensor)
            elif type(value) is tuple:
                for path, part in parts_of(value):
                    trace.put_at(Location(location.label, "part", location, path), part)
            elif type(value) in unread.KINDS:
                instead = unread.Unread(trace.book, value, location.id)
                scalars.append((location, instead))
                done.append((location, value, instead))
                location.put(instead)
        yield scalars
    finally:
        for location, value, instead in done:
            if location.now() is instead:
                location.put(value)


def _tuples(promoted: PromotedInputs) -> Iterator[tuple[Location, tuple]]:
    """The tuples that are found anew at each call, and where."""
    for location in promoted.locations.values():
        if not isinstance(location, Argument) and type(value := location.now()) is tuple:
            yield location, value


_exchanged_by: dict[int, ExitStack] = {}  # thread -> how to put back what it has exchanged


@contextmanager
def _world() -> Iterator[ExitStack]:
    """What is exchanged while this thread traces, and is put back at the end, or in a child that
    another thread forks meanwhile: there nobody else would.
    """
    me = get_ident()
    with ExitStack() as stack:
        _exchanged_by[me] = stack
        try:
            yield stack
        finally:
            del _exchanged_by[me]


def _after_fork() -> None:
    for thread, stack in list(_exchanged_by.items()):
        if thread != get_ident():
            stack.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def record(
    fn: Callable, args: tuple, kwargs: dict, structure: Any, promoted: PromotedInputs,
    reports: tuple[type, ...], *, fullgraph: bool, fast_math: bool, once: bool,
) -> Entry:
    """Trace one call and build its program. What the user's function raises, it raises; nothing is
    changed then. Raises Again, and Once if `once` allows it.
    """
    began = time.perf_counter()
    tensors: list[Tensor] = []
    numbers: list[Any] = []
    flatten((args, kwargs), tensors, numbers, {})
    trace = Trace(tensors)
    numbers = [
        Scalar(trace.book, v, a.id) if (a := Argument(structure, i)).id in promoted.locations else v
        for i, v in enumerate(numbers)
    ]
    try:
        with _world() as world:
            scalars = world.enter_context(_exchanged(promoted, trace))
            ids = [location.id for location, _ in (*scalars, *trace.placed)]
            tuples = list(_tuples(promoted))
            for location, value in tuples:
                ids += location.id, *(Location("", "content", t).id for t in tuples_of(value))
            trace.observer = observer = world.enter_context(Observer(reports, ids))
            for location, _ in tuples:
                observer.summary(location.label, "form", location)
            observer.watch(fn, leaves((args, kwargs)), set(containers((args, kwargs))))
            each, every = iter(tensors), iter(numbers)
            given, named = rebuild((args, kwargs), lambda _: next(each), lambda _: next(every))
            with tracing(trace):
                answer = fn(*given, **named)
                observer.rest()
                if observer.asks_type or observer.asks_identity:  # which tell them apart
                    taken = (*(s for _, s in scalars), *numbers)
                    stand_ins = (s for s in taken if type(s) in (Scalar, unread.Unread))
                    trace.book.needed.update(s._origin for s in stand_ins)
                if trace.book.needed:
                    raise NeedsValue
                _refuse_changed((args, kwargs), numbers, (given, named))
                effects = _effects(observer, promoted, once)
                if observer.refusal is not None:
                    raise observer.refusal
                watch = Observations(
                    numbers, scalars, trace.book.decisions, effects, observer.printed
                )
                recorder = Recorder(trace, answer, tensors, (fn, args, kwargs), watch, fast_math)
                if trace.book.needed:
                    raise NeedsValue
    except NeedsValue:
        raise TraceAgain(fewer=trace.book.needed) from None
    if fullgraph and trace.guards:
        raise RuntimeError(
            "fullgraph=True, but the function branches on the value of a tensor "
            f"(line {trace.guards[0].site}): use where(), or compile without fullgraph"
        )
    return recorder.entry(observer, began, time.perf_counter())


def _effects(observer: Observer, promoted: PromotedInputs, once: bool) -> list[Effect]:
    """What the function has changed, for the program to set."""
    found = observer.effects()
    relied = [e for e in found if e.location.id not in observer.given and observer.relied_on(e)]
    more = [
        e.location for e in relied
        if e.location.id not in promoted.static and promotable(e.before, e.after)
    ]
    if more:
        raise TraceAgain(more)
    if relied and once:
        raise RunAsItIs
    return found


def _refuse_changed(given: Any, numbers: list, now: Any) -> None:
    """Raise if the containers among the arguments are not what they were."""
    before: tuple[list, list] = ([], [])
    after: tuple[list, list] = ([], [])
    same = flatten(given, *before, {}) == flatten(now, *after, {})
    pairs = ((a._array, b._array) for a, b in zip(before[0], after[0], strict=True))
    if (
        not same
        or not all(map(alike, numbers, after[1]))
        or not all(a is b or a.__array_interface__ == b.__array_interface__ for a, b in pairs)
    ):
        raise RuntimeError(
            "a list, tuple or dict among the arguments was changed by the function itself while it "
            "was compiled: such a side effect cannot be replayed. Return the new value."
        )

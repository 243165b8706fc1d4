"""Trace one call under observation. What the function reads becomes guards and inputs. What it
changes outside of itself becomes an effect of the program, or is refused.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any

import numpy as np

from ..functions.torch.control_flow_steps import where
from ..functions.torch.creation import from_numpy
from ..ir.collector import collector_is_seldom
from ..tracer.capture import texts, unread
from ..tracer.capture.locations import Location, alike
from ..tracer.capture.observer import Observer
from ..tracer.capture.scalar import NeedsValue, Scalar, is_number, origins
from ..tracer.capture.shown import as_shown
from ..tracer.capture.side_effects import Effect
from ..tracer.capture.signature import containers, flatten, leaves, rebuild
from ..tracer.capture.trace import Trace, tracing
from ..tracer.tensor.device_memory import placement
from ..tracer.tensor.masked_selection import settled
from ..tracer.tensor.tensor import Tensor
from .entry import Entry
from .entry_builder import EntryBuilder, Observations
from .promoted_inputs import (
    Argument,
    PromotedInputs,
    locations_of,
    parts_of,
    promotable,
    raised_by_user,
    tuples_of,
)
from .stages import Ways


class TraceAgain(Exception):
    """The call must be traced again, with more promoted inputs or fewer."""

    def __init__(self, more: Iterable[Location] = (), fewer: Iterable[tuple] = ()):
        self.more, self.fewer = list(more), list(fewer)


class RunUncompiled(Exception):
    """A program of this call would never be used again, because the call breaks its guards: it
    makes state at the first use, say.
    """


@contextmanager
def _exchanged(promoted: PromotedInputs, trace: Trace) -> Iterator[list[tuple[Location, Any]]]:
    """Within it, Scalars are at the locations of promoted numbers, and Unreads at those of
    containers that are expected not to be read.

    Another thread that reads such a location during the trace gets a Scalar, and an error if it
    uses it. That is the price of following a number anywhere.
    """
    done: list[tuple[Location, Any, Any]] = []
    scalars: list[tuple[Location, Any]] = []
    try:
        for location in promoted.locations.values():
            if isinstance(location, Argument):
                continue
            value = location.now()
            if is_number(value):
                scalar = Scalar(trace.scalar_log, value, location.id)
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
                instead = unread.Unread(trace.scalar_log, value, location)
                scalars.append((location, instead))
                done.append((location, value, instead))
                location.put(instead)
        yield scalars
    finally:
        for location, value, instead in done:
            if location.now() is instead:
                location.put(value)


def _tuples(promoted: PromotedInputs) -> Iterator[tuple[Location, tuple]]:
    """The promoted inputs that are tuples."""
    for location in promoted.locations.values():
        if not isinstance(location, Argument) and type(value := location.now()) is tuple:
            yield location, value


_exchanged_by: dict[int, ExitStack] = {}  # thread -> how to put back what it has exchanged


@contextmanager
def _exchanges() -> Iterator[ExitStack]:
    """The stack of what this thread exchanges while it traces. It is put back at the end, and in a
    child process that another thread forks during the trace.
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
    reports: tuple[type, ...], *, fullgraph: bool, fast_math: bool, may_run_uncompiled: bool,
    ways: Ways | None = None, answers: tuple = (), tune: bool = False,
) -> Entry:
    """Trace one call and build its program. Nothing is changed if the user's function raises.

    `answers` are those that this call gave to the first questions, if a program has asked them.
    Raises what the user's function raises; TraceAgain; RunUncompiled if `may_run_uncompiled`.
    """
    began = time.perf_counter()
    tensors: list[Tensor] = []
    numbers: list[Any] = []
    flatten((args, kwargs), tensors, numbers, {})
    trace = Trace(tensors)
    ways = ways or Ways()
    trace.values.expect(promoted.constants, ways.divided, answers)
    numbers = [
        Scalar(trace.scalar_log, v, origin)
        if (origin := Argument(structure, i).id) in promoted.locations else v
        for i, v in enumerate(numbers)
    ]
    try:
        with _exchanges() as exchanged:
            exchanged.enter_context(collector_is_seldom())
            scalars = exchanged.enter_context(_exchanged(promoted, trace))
            ids = [location.id for location, _ in (*scalars, *trace.tensors_at)]
            tuples = list(_tuples(promoted))
            for location, value in tuples:
                ids += location.id, *(Location("", "content", t).id for t in tuples_of(value))
            trace.observer = observer = exchanged.enter_context(Observer(
                reports, ids, trace.scalar_log
            ))
            for location, _ in tuples:
                observer.summary(location.label, "form", location)
            observer.watch(fn, leaves((args, kwargs)), set(containers((args, kwargs))))
            traced_tensors, traced_numbers = iter(tensors), iter(numbers)
            traced_args, traced_kwargs = rebuild(
                (args, kwargs), lambda _: next(traced_tensors), lambda _: next(traced_numbers)
            )
            with tracing(trace):
                result = _called(trace, fn, traced_args, traced_kwargs)
                observer.pause()
                _ask_for_constants(trace, observer, (*(s for _, s in scalars), *numbers))
                _refuse_changed((args, kwargs), numbers, (traced_args, traced_kwargs))
                effects = _effects(observer, promoted, may_run_uncompiled)
                as_shown(trace.scalar_log)
                _settle((result, [e.after for e in effects], observer.printed))
                if observer.refusal is not None:
                    raise observer.refusal
                observations = Observations(
                    numbers, scalars, trace.scalar_log.decisions, effects, observer.printed
                )
                call = fn, args, kwargs
                builder = EntryBuilder(
                    trace, result, tensors, call, observations, ways, fast_math, tune
                )
                if trace.scalar_log.needed:
                    raise NeedsValue
    except NeedsValue:
        raise TraceAgain(fewer=trace.scalar_log.needed) from None
    except TypeError as error:  # a function in C refuses what is no true number, maybe
        read = set(_origins(r.scalar for r in trace.values.reads))
        if not read or raised_by_user(error):
            raise
        raise TraceAgain(fewer=read) from None
    if fullgraph:
        _refuse_values(trace)
    entry = builder.build(observer, began, time.perf_counter())
    trace.values.forget()
    return entry


def _called(trace: Trace, fn: Callable, args: tuple, kwargs: dict) -> Any:
    """What the function returns. A hook that it leaves on a tensor from outside would run in later
    backwards of others: it is taken off again.
    """
    try:
        result = fn(*args, **kwargs)
    finally:
        hooks = list(trace.unhook())
    for hook in hooks:
        raise RuntimeError(
            f"the compiled function leaves the hook {where(hook)} on a tensor from outside of "
            "it: register it outside, or remove it by its handle"
        )
    return result


def _ask_for_constants(trace: Trace, observer: Observer, numbers: Iterable[Any]) -> None:
    """Raise NeedsValue if the function needs numbers as constants that were read at each call."""
    if unprinted := texts.unprinted(trace.scalar_log.texts):
        _need(trace, unprinted)
    if observer.asks_type or observer.asks_identity:  # a Scalar would be noticed
        read = (r.scalar for r in trace.values.reads)
        trace.scalar_log.needed.update(_origins((*numbers, *read)))
    if trace.scalar_log.needed:
        raise NeedsValue


def _settle(results: Any) -> None:
    """Have selections under a mask that leave the function be ordinary tensors."""
    for leaf in leaves(results):
        if isinstance(leaf, Tensor):
            settled(leaf)


def _refuse_values(trace: Trace) -> None:
    """Raise if the function looked at a value, as fullgraph=True asks."""
    site = trace.values.first_since()
    if site is not None:
        raise RuntimeError(
            f"fullgraph=True, but the function looks at the value of a tensor (line {site}): use "
            "where(), give a while_loop that is differentiated max_iterations, or compile without "
            "fullgraph"
        )


def _need(trace: Trace, values: list[Any]) -> None:
    """Have values whose text went elsewhere than to `print` be constants."""
    for value in values:
        if isinstance(value, Tensor) and type(value) is not Scalar:
            trace.concrete(value, "the text of a tensor")
        trace.scalar_log.needed.update(origins(value))


def _origins(values: Iterable[Any]) -> Iterator[Any]:
    """Where the Scalars and Unreads among some values come from."""
    return (s._origin for s in values if type(s) in (Scalar, unread.Unread))


def _effects(
    observer: Observer, promoted: PromotedInputs, may_run_uncompiled: bool
) -> list[Effect]:
    """The effects of the function. Raises TraceAgain or RunUncompiled if they break its guards."""
    try:
        effects = observer.effects()
    except RuntimeError:
        grown = list(locations_of(observer.grown, observer.reads.values()))
        if not grown or any(location.id in promoted.static for location in grown):
            raise
        raise TraceAgain(grown) from None  # maybe it only appends to the list
    invalidating = [
        e for e in effects
        if e.location.id not in observer.promoted_ids and observer.relied_on(e)
    ]
    promotable_locations = [
        e.location for e in invalidating
        if e.location.id not in promoted.static and promotable(e.before, e.after)
    ]
    if promotable_locations:
        raise TraceAgain(promotable_locations)
    if invalidating and may_run_uncompiled:
        raise RunUncompiled
    return effects


def _refuse_changed(original: Any, numbers: list, current: Any) -> None:
    """Raise if the function changed a container among its arguments."""
    before: tuple[list, list] = ([], [])
    after: tuple[list, list] = ([], [])
    same = flatten(original, *before, {}) == flatten(current, *after, {})
    pairs = ((a._array, b._array) for a, b in zip(before[0], after[0], strict=True))
    if (
        not same
        or not all(map(alike, numbers, after[1]))
        or not all(a is b or placement(a) == placement(b) for a, b in pairs)
    ):
        raise RuntimeError(
            "a list, tuple or dict among the arguments was changed by the function itself while it "
            "was compiled: such a side effect cannot be replayed. Return the new value."
        )

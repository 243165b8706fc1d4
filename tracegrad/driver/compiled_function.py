"""CompiledFunction: the programs behind one compiled function, and which of them answers a call.

A call is answered by the program of the last one, or by another that its guards allow, or it is
traced.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from weakref import ref

import numpy as np

from ..nn.module import Module
from ..optim.optimizer import Optimizer
from ..tracer.capture.scalar import UnknownValue, is_number
from ..tracer.capture.signature import aval, flatten, parts, repetition
from ..tracer.change_counter import changed
from ..tracer.mode import get_default_dtype, mode
from ..tracer.tensor.tensor import Tensor
from .entry import Entry
from .programs import Programs
from .promoted_inputs import PromotedInputs, moved, raised_by_user
from .record import RunAsItIs, TraceAgain, record
from .replay.bindings import nobody
from .replay.function import MISS, Reentered, write_replay
from .report import name_of, report
from .retrace_reasons import Reason, reason
from .scene import exchanging

MOST_RUN_AS_IT_IS = 4  # calls in which a function makes its state, and is run as it is
MOST_TRIES = 3  # of one call, where other threads change what it relies on
MOST_RETRACES = 8  # for one reason, before it is said aloud
_REPORTING = (Module, Optimizer)  # classes whose objects report changes of their attributes


class CompiledFunction:
    """Everything behind one compiled function."""

    def __init__(self, fn: Callable, fullgraph: bool, fast_math: bool):
        self.fn, self.fullgraph, self.fast_math = fn, fullgraph, fast_math
        self.programs = Programs()
        self.traces = 0
        self.once = 0  # calls that were run, because their program would never have been used again
        self.why = "not called yet"
        self.reasons: Counter[Any] = Counter()

    def key(self, args: tuple, kwargs: dict) -> tuple[Any, list[Tensor], list, dict[int, Any]]:
        tensors: list[Tensor] = []
        numbers: list[Any] = []
        held: dict[int, Any] = {}
        structure = flatten((args, kwargs), tensors, numbers, held)
        avals = tuple(aval(t) for t in tensors)
        key = (structure, avals, repetition(tensors), mode.grad, get_default_dtype())
        return key, tensors, numbers, held

    def call(self, args: tuple, kwargs: dict) -> Any:
        """The slow path: find the entry whose guards hold, or trace one."""
        if mode.trace is not None:
            return self.fn(*args, **kwargs)
        key, tensors, numbers, held = self.key(args, kwargs)
        answer = self.answered(self.programs.under(key, held), args, kwargs, tensors, numbers)
        if answer is not MISS:
            return answer
        with exchanging.lock:
            if exchanging.busy[0]:
                raise Reentered
            exchanging.busy[0] = True
            try:
                answer = self.first(key, tensors, numbers, held, args, kwargs)
            finally:
                exchanging.busy[0] = False
        return self.fn(*args, **kwargs) if answer is MISS else answer

    def first(self, key: Any, tensors: list[Tensor], numbers: list, held: dict[int, Any],
              args: tuple, kwargs: dict) -> Any:
        """The first call of a new program; MISS if the call is to be run as it is."""
        entries = list(self.programs.under(key, held))
        # another thread may have traced it meanwhile
        answer = self.answered(entries, args, kwargs, tensors, numbers)
        if answer is not MISS:
            return answer
        promoted = self.programs.promoted(held)
        for _ in range(MOST_TRIES):
            last = self.programs.last()
            self.explained(reason(last, self.traces, key, entries, tensors, numbers))
            if entries:
                promoted.add(moved(key[0], entries[-1], numbers))
            entry = self.traced(key[0], promoted, args, kwargs)
            if entry is None:
                return MISS
            entry.key = key
            entry.replay = write_replay(entry, len(tensors))
            changed()  # tensors that were captured are watched from now on
            self.programs.add(key, held, entry)
            answer = entry.replay(tensors, numbers)
            if answer is not MISS:
                self.choose_fast_path(entry, args, kwargs)
                report(self.fn, entry)
                return answer
            entries.append(entry)  # another thread has changed meanwhile what it relies on
        return MISS

    def answered(self, entries: Iterable[Entry], args: tuple, kwargs: dict, tensors: list[Tensor],
                 numbers: list) -> Any:
        """The answer of the first entry that fits, or MISS."""
        for entry in list(entries):
            answer = entry.replay(tensors, numbers)
            if answer is not MISS:
                self.choose_fast_path(entry, args, kwargs)
                return answer
        return MISS

    def traced(
        self, structure: Any, promoted: PromotedInputs, args: tuple, kwargs: dict
    ) -> Entry | None:
        """A program for a call; None if the call is to be run as it is."""
        tried = dict(promoted.locations)
        once = self.once < MOST_RUN_AS_IT_IS
        while True:
            try:
                entry = record(
                    self.fn, args, kwargs, structure, promoted, _REPORTING,
                    fullgraph=self.fullgraph, fast_math=self.fast_math, once=once,
                )
            except TraceAgain as again:
                if not promoted.add(again.more) | promoted.drop(again.fewer):
                    raise RuntimeError(f"{name_of(self.fn)} changes while it is traced") from None
            except RunAsItIs:
                self.once += 1
                return None
            except (TypeError, UnknownValue) as error:
                if raised_by_user(error) or not promoted.drop(list(promoted.locations)):
                    promoted.locations.update(tried)  # it was not for them
                    promoted.static -= tried.keys()
                    raise
            else:
                self.traces += 1
                return entry

    def choose_fast_path(self, entry: Entry, args: tuple, kwargs: dict) -> None:
        self.programs.used(entry)
        locations = tuple(k for k, a in enumerate(args) if isinstance(a, Tensor))
        numbers = tuple((k, type(a)) for k, a in enumerate(args) if is_number(a))
        known = {*locations, *(k for k, _ in numbers)}
        others = tuple((k, a) for k, a in enumerate(args) if k not in known)
        # what may hold tensors that are other ones next time
        hidden = any(isinstance(a, np.ndarray) or parts(a) is not None for _, a in others)
        if kwargs or hidden:
            self.programs.fast_entry = nobody
            return
        entry.tensors = locations if others or numbers else None
        entry.plain, entry.others = numbers, others
        self.programs.fast_entry = ref(entry)

    def try_fast_path(self, entry: Entry, args: tuple) -> Any:
        """Replay the quick entry where some arguments are no tensors: a method's self, a number."""
        locations, others = entry.tensors or (), entry.others
        if len(args) != len(others) + len(entry.plain) + len(locations):
            return MISS
        for k, other in others:
            if args[k] is not other:
                return MISS
        for k, kind in entry.plain:
            if type(args[k]) is not kind:
                return MISS
        return entry.replay([args[k] for k in locations], [args[k] for k, _ in entry.plain])

    def explained(self, why: Reason) -> None:
        """Note why a call is traced; say it aloud once where it happens again and again."""
        self.why = why.words
        self.reasons[why.kind] += 1
        if self.reasons[why.kind] == MOST_RETRACES + 1 and why.kind is not None:
            warnings.warn(
                f"{name_of(self.fn)} was traced {self.traces} times, and again because "
                f"{why.words}. Each trace takes as long as the first call. Give it fewer different "
                "ones: pad shapes to a few sizes, and pass values that change as tensors.",
                stacklevel=5,
            )

    def latest(self) -> Entry:
        last = self.programs.last()
        if last is None:
            raise RuntimeError(f"{name_of(self.fn)} has not been called yet: nothing is compiled")
        return last

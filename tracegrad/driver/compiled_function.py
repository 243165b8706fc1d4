"""CompiledFunction: the programs of one compiled function, and which of them serves a call.

The program of the last call is tried first, then others with the same signature. If the guards of
none hold, the call is traced.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import ref

import numpy as np

from ..ir.progress import progress
from ..nn.module import Module
from ..optim.optimizer import Optimizer
from ..tracer.capture.scalar import UnknownValue, is_number
from ..tracer.capture.signature import aval, flatten, parts, repetition
from ..tracer.change_counter import changed
from ..tracer.mode import get_default_dtype, mode
from ..tracer.tensor.device import get_default_device
from ..tracer.tensor.tensor import Tensor, wrap
from . import tuning
from .dynamic_sizes import DynamicSizes
from .entry import Entry, nobody
from .lowering import Untuned
from .places import HOST
from .programs import Programs
from .promoted_inputs import PromotedInputs, moved, raised_by_user
from .record import RunUncompiled, TraceAgain, record
from .replay.function import MISS, Reentered, write_replay
from .replay.stages import answers, forget_misses, goes_another_way, lines_of_misses, misses
from .report import name_of, report
from .retrace_reasons import ANOTHER_WAY, Reason, reason
from .snapshot import exchanging
from .stages import Ways

MAX_UNCOMPILED_CALLS = 4  # calls that run without a program, because they make state
MAX_TRIES = 3  # traces of one call, if other threads change what it relies on
MAX_RETRACES = 8  # for one reason, before a warning
MOST_WAYS = 32  # that get a program because of one line; calls that go others run uncompiled
ADVICE = (  # how to be traced less often; if values decide the way
    "pad shapes to a few sizes, and pass values that change as tensors. If sizes are meant to "
    "change, say so: mark_dynamic(tensor, dim), or compile(dynamic=True).",
    "keep both ways in one program, with where(), cond() or while_loop(), compute with x.item(), "
    "which is read at each call, or look at the value outside.",
)
_REPORTING = (Module, Optimizer)  # classes whose objects report changes of their attributes


class CompiledFunction:
    """Everything behind one compiled function."""

    def __init__(self, fn: Callable, fullgraph: bool, fast_math: bool, dynamic: bool | None,
                 tune: bool = False):
        self.fn, self.fullgraph, self.fast_math, self.tune = fn, fullgraph, fast_math, tune
        self.sizes = DynamicSizes(dynamic)
        self.programs = Programs()
        self.traces = 0
        self.uncompiled_calls = 0  # their program would never have been used again
        self.why = "not called yet"
        self.reasons: Counter[Any] = Counter()
        # is told of each entry that a call may run, with the tensors of the call; of None if the
        # call is to run without a program
        self.before_replay: Callable[[Entry | None, Sequence[Tensor]], None] | None = None

    def key(self, args: tuple, kwargs: dict) -> tuple[Any, list[Tensor], list, dict[int, Any]]:
        tensors: list[Tensor] = []
        numbers: list[Any] = []
        held: dict[int, Any] = {}
        structure = flatten((args, kwargs), tensors, numbers, held)
        avals = tuple(aval(t) for t in tensors)
        modes = mode.grad, get_default_dtype(), get_default_device(), mode.autocast
        key = (structure, avals, repetition(tensors), *modes)
        return key, tensors, numbers, held

    def call(self, args: tuple, kwargs: dict) -> Any:
        """The slow path: find the entry whose guards hold, or trace one."""
        if mode.trace is not None:
            return self.fn(*args, **kwargs)
        try:
            return self.find(args, kwargs)
        finally:
            forget_misses()

    def take_another_way(self, entry: Entry, args: tuple) -> Any:
        """The call fits `entry`, the last one, but for the way that it goes. MISS if none fits."""
        tensors: Sequence[Tensor] = args
        numbers: Sequence[Any] = ()
        if entry.tensor_arguments is not None:
            tensors = [args[k] for k in entry.tensor_arguments]
            numbers = [args[k] for k, _ in entry.number_arguments]
        for other in list(entry.siblings):
            if goes_another_way(other):
                continue
            if self.before_replay is not None:
                self.before_replay(other, tensors)
            result = other.replay(tensors, numbers, True)
            if result is not MISS:
                self.divide(entry.siblings, other.ways)
                forget_misses()
                other.tensor_arguments, other.number_arguments, other.fixed_arguments = (
                    entry.tensor_arguments, entry.number_arguments, entry.fixed_arguments
                )
                self.programs.used(other)
                self.programs.fast_entry = self.programs.last
                return result
        return MISS

    def find(self, args: tuple, kwargs: dict) -> Any:
        """The same, while it is known which entries the call went other ways than."""
        key, tensors, numbers, held = self.key(args, kwargs)
        entries = self.programs.under(key, held)
        result = self.try_entries(entries, args, kwargs, tensors, numbers)
        if result is not MISS:
            self.divide(entries, self.programs.ways(held))
            return result
        if not self.pays():
            forget_misses()
            return self.fn(*args, **kwargs)
        with exchanging.lock:
            if exchanging.busy[0]:
                raise Reentered
            exchanging.busy[0] = True
            try:
                result = self.first_call(key, tensors, numbers, held, args, kwargs)
            finally:
                exchanging.busy[0] = False
        if result is not MISS:
            return result
        if self.before_replay is not None:
            self.before_replay(None, tensors)
        forget_misses()  # the function may call compiled ones
        return self.fn(*args, **kwargs)

    def pays(self) -> bool:
        """Whether a call that no program fits is to make one."""
        return True

    def divide(self, entries: list[Entry], ways: Ways) -> None:
        """The call has gone another way than the entries that were tried first. Where this happens
        often, the programs are made anew, cut there.
        """
        for missed, number, _ in misses.all:
            way = missed.way[:number]
            if missed in entries and number + 1 not in missed.cuts and ways.part(way):
                entries[:] = [e for e in entries if e.way[:number] != way]

    def first_call(self, key: Any, tensors: list[Tensor], numbers: list, held: dict[int, Any],
              args: tuple, kwargs: dict) -> Any:
        """The first call of a new program; MISS if the call is to run without one."""
        entries = list(self.programs.under(key, held))
        # another thread may have traced it in the meantime
        result = self.try_entries(entries, args, kwargs, tensors, numbers)
        if result is not MISS:
            return result
        promoted = self.programs.promoted(held)
        for _ in range(MAX_TRIES):
            last = self.programs.last()
            parted = lines_of_misses()
            why = reason(last, self.traces, key, entries, tensors, numbers, parted)
            self.sizes.note(tensors)
            if not entries and any(self.sizes.explain(k, key) for k in self.programs.keys(held)):
                why = why._replace(kind=None)  # it is meant to change
            self.note_reason(why)
            if parted and self.reasons[why.kind] > MOST_WAYS:
                return MISS
            if entries:
                promoted.add(moved(key[0], entries[-1], numbers))
            ways = self.programs.ways(held)
            entry = self.trace_call(key[0], promoted, ways, args, kwargs)
            if entry is not None and self.tuned(entry, tensors, numbers):
                entry = self.trace_call(key[0], promoted, ways, args, kwargs)
            if entry is None:
                return MISS
            entry.key, entry.ways = key, ways
            entry.replay = write_replay(entry, len(tensors))
            changed()  # captured tensors are guarded from now on
            self.programs.add(key, held, entry)
            if self.before_replay is not None:
                self.before_replay(entry, tensors)
            result = entry.replay(tensors, numbers)
            if result is not MISS:
                self.choose_fast_path(entry, args, kwargs)
                report(self.fn, entry)
                return result
            entries.append(entry)  # another thread has changed what it relies on
        return MISS

    def tuned(self, entry: Entry, tensors: list[Tensor], numbers: list) -> bool:
        """Whether the choices of its program have just been found, so that it is to be made anew,
        as if it had not been traced.
        """
        untuned, values = entry.low.tuned, dict[int, np.ndarray]()
        if not isinstance(untuned, Untuned) or entry.low.place is not HOST:
            return False

        def look() -> None:
            values.update(tuning.captured(entry.executable, entry.low.inputs))

        write_replay(entry, len(tensors), look)(tensors, numbers)
        if not values:  # the call does not come to the program
            return False
        tuning.tune(untuned.name, untuned.made, values)
        self.traces -= 1
        return True

    def try_entries(self, entries: Iterable[Entry], args: tuple, kwargs: dict,
                    tensors: list[Tensor], numbers: list) -> Any:
        """The result of the first entry that fits, or MISS."""
        for entry in list(entries):
            if goes_another_way(entry):
                continue
            if self.before_replay is not None:
                self.before_replay(entry, tensors)
            result = entry.replay(tensors, numbers, True)
            if result is not MISS:
                self.choose_fast_path(entry, args, kwargs)
                return result
        return MISS

    def trace_call(
        self, structure: Any, promoted: PromotedInputs, ways: Ways, args: tuple, kwargs: dict
    ) -> Entry | None:
        """A program for a call; None if the call is to run without one."""
        before, static = dict(promoted.locations), set(promoted.static)
        may_run_uncompiled = self.uncompiled_calls < MAX_UNCOMPILED_CALLS
        while True:
            try:
                with progress("tracing"):
                    entry = record(
                        self.fn, args, kwargs, structure, promoted, _REPORTING,
                        fullgraph=self.fullgraph, fast_math=self.fast_math,
                        may_run_uncompiled=may_run_uncompiled, ways=ways, tune=self.tune,
                        answers=answers(promoted.constants),
                    )
            except TraceAgain as again:
                if not promoted.add(again.more) | promoted.drop(again.fewer):
                    raise RuntimeError(f"{name_of(self.fn)} changes while it is traced") from None
            except RunUncompiled:
                self.uncompiled_calls += 1
                return None
            except (TypeError, UnknownValue) as error:
                if raised_by_user(error) or not promoted.drop(list(promoted.locations)):
                    promoted.locations.update(before)  # promoted inputs were not the cause
                    promoted.static = static
                    raise
            else:
                self.traces += 1
                return entry

    def choose_fast_path(self, entry: Entry, args: tuple, kwargs: dict) -> None:
        """Note that `entry` has served a call, and whether a look at the arguments of the next one
        is enough to try it again.
        """
        self.programs.used(entry)
        tensors = tuple(k for k, a in enumerate(args) if isinstance(a, Tensor))
        numbers = tuple((k, type(a)) for k, a in enumerate(args) if is_number(a))
        moving = {*tensors, *(k for k, _ in numbers)}
        fixed = tuple((k, a) for k, a in enumerate(args) if k not in moving)
        # containers and arrays may hold other values at the next call
        containers = any(isinstance(a, np.ndarray) or parts(a) is not None for _, a in fixed)
        if kwargs or containers:
            self.programs.fast_entry = nobody
            return
        entry.tensor_arguments = tensors if fixed or numbers else None
        entry.number_arguments, entry.fixed_arguments = numbers, fixed
        self.programs.fast_entry = ref(entry)

    def try_fast_path(self, entry: Entry, args: tuple) -> Any:
        """Replay the entry of the last call, if the arguments are like those of that call. Used if
        some of them are no tensors: a method's self, a number.
        """
        tensors, fixed = entry.tensor_arguments or (), entry.fixed_arguments
        if len(args) != len(fixed) + len(entry.number_arguments) + len(tensors):
            return MISS
        for k, value in fixed:
            if args[k] is not value:
                return MISS
        for k, kind in entry.number_arguments:
            if type(args[k]) is not kind:
                return MISS
        return entry.replay(
            [args[k] for k in tensors], [args[k] for k, _ in entry.number_arguments]
        )

    def note_reason(self, why: Reason) -> None:
        """Note why a call is traced. Warn once if it happens often for one reason."""
        self.why = why.words
        self.reasons[why.kind] += 1
        if self.reasons[why.kind] == MAX_RETRACES + 1 and why.kind is not None:
            warnings.warn(
                f"{name_of(self.fn)} was traced {self.traces} times, and again because "
                f"{why.words}. Each trace takes longer than many calls. To have fewer of them, "
                f"{ADVICE[ANOTHER_WAY in why.words]}",
                stacklevel=6,
            )

    def last_arguments(self, what: str) -> tuple:
        """Arguments like those of the last call; none if there was none. `what` asks for them."""
        entry = self.programs.fast_entry()
        if entry is None and self.programs.last() is None:
            return ()
        if entry is None or entry.number_arguments:
            raise RuntimeError(
                f"{what}: the last call had numbers, keywords, arrays or containers as arguments: "
                "give example arguments"
            )
        args = dict(entry.fixed_arguments)
        avals = entry.key[1]
        for k, (shape, _, dtype, needs_grad, _) in zip(
            entry.tensor_arguments or range(len(avals)), avals, strict=True
        ):
            args[k] = wrap(np.zeros(shape, dtype.storage), dtype, needs_grad)
        return tuple(args[k] for k in range(len(args)))

    def latest(self) -> Entry:
        last = self.programs.last()
        if last is None:
            raise RuntimeError(f"{name_of(self.fn)} has not been called yet: nothing is compiled")
        return last


class EagerStep(CompiledFunction):
    """The step of an optimizer that is called outside of compiled functions."""

    def __init__(self, step: Callable, pays: Callable[[], bool]):
        super().__init__(step, False, False, None)
        self.pays = pays  # type: ignore[method-assign]

    def trace_call(self, *args: Any) -> Entry | None:
        """None, from now on, for a step that no program can do: parameters that share memory."""
        try:
            return super().trace_call(*args)
        except MemoryError:  # is not the step's fault
            raise
        except Exception:  # what is wrong with the step itself, it raises without a program, too
            self.pays = lambda: False  # type: ignore[method-assign]
            return None

    def note_reason(self, why: Reason) -> None:
        """Warn of nothing: steps without a program come first."""
        self.why = why.words

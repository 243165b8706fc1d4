"""`compile`: the one place that knows all four rooms. Tracing, differentiating, lowering, loading,
and the calls.

@tracegrad.compile
def step(x, y):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from ..codegen.program import Program
from ..ir.graph import Graph
from ..nn.module import Module
from ..optim import optimizer
from ..optim.optimizer import Optimizer
from ..runtime.cpu.compiler import statistics
from ..tracer.capture.locations import alike
from ..tracer.capture.scalar import Scalar, is_number
from ..tracer.capture.signature import aval, flatten, parts, repetition
from ..tracer.change_counter import changed
from ..tracer.mode import get_default_dtype, mode
from ..tracer.tensor.tensor import Tensor
from .entry import Entry
from .programs import Programs
from .promoted_inputs import Lifts, moved
from .record import Again, Once, record
from .replay.bindings import nobody
from .replay.function import MISS, Reentered, write_replay
from .report import name_of, report, summary
from .scene import exchanging

MOST_ONCE = 4  # calls in which a function makes its state, and is run as it is
MOST_TRIES = 3  # of one call, where other threads change what it relies on
MOST_RETRACES = 8  # for one reason, before it is said aloud
_REPORTING = (Module, Optimizer)  # classes whose objects report changes of their attributes


class CacheInfo(NamedTuple):
    """What a compiled function has done: calls answered by an existing program, traces, programs
    kept.
    """

    hits: int
    misses: int
    currsize: int


class _State:
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
              args: tuple, kwargs: dict) -> Any:  # fmt: skip
        """The first call of a new program; MISS if the call is to be run as it is."""
        entries = list(self.programs.under(key, held))
        # another thread may have traced it meanwhile
        answer = self.answered(entries, args, kwargs, tensors, numbers)
        if answer is not MISS:
            return answer
        lifts = self.programs.lifts(held)
        for _ in range(MOST_TRIES):
            self.explained(*self.reason(key, entries, tensors, numbers))
            if entries:
                lifts.add(moved(key[0], entries[-1], numbers))
            entry = self.traced(key[0], lifts, args, kwargs)
            if entry is None:
                return MISS
            entry.key = key
            entry.replay = write_replay(entry, len(tensors))
            if entry.derivative is not None:
                optimizer.accelerate = compile
            changed()  # tensors that were captured are watched from now on
            self.programs.add(key, held, entry)
            answer = entry.replay(tensors, numbers)
            if answer is not MISS:
                self.remember(entry, args, kwargs)
                report(self.fn, entry)
                return answer
            entries.append(entry)  # another thread has changed meanwhile what it relies on
        return MISS

    def answered(self, entries: Iterable[Entry], args: tuple, kwargs: dict, tensors: list[Tensor],
                 numbers: list) -> Any:  # fmt: skip
        """The answer of the first entry that fits, or MISS."""
        for entry in list(entries):
            answer = entry.replay(tensors, numbers)
            if answer is not MISS:
                self.remember(entry, args, kwargs)
                return answer
        return MISS

    def traced(self, structure: Any, lifts: Lifts, args: tuple, kwargs: dict) -> Entry | None:
        """A program for a call; None if the call is to be run as it is."""
        tried = dict(lifts.places)
        once = self.once < MOST_ONCE
        while True:
            try:
                entry = record(
                    self.fn, args, kwargs, structure, lifts, _REPORTING,
                    fullgraph=self.fullgraph, fast_math=self.fast_math, once=once,
                )  # fmt: skip
            except Again as again:
                if not lifts.add(again.more) | lifts.drop(again.fewer):
                    raise RuntimeError(f"{name_of(self.fn)} changes while it is traced") from None
            except Once:
                self.once += 1
                return None
            except Exception:
                if not lifts.drop(list(lifts.places)):
                    lifts.places.update(tried)  # it was not for them
                    lifts.static -= tried.keys()
                    raise
            else:
                self.traces += 1
                return entry

    def remember(self, entry: Entry, args: tuple, kwargs: dict) -> None:
        self.programs.used(entry)
        places = tuple(k for k, a in enumerate(args) if isinstance(a, Tensor))
        numbers = tuple((k, type(a)) for k, a in enumerate(args) if is_number(a))
        known = {*places, *(k for k, _ in numbers)}
        others = tuple((k, a) for k, a in enumerate(args) if k not in known)
        # what may hold tensors that are other ones next time
        hidden = any(isinstance(a, np.ndarray) or parts(a) is not None for _, a in others)
        if kwargs or hidden:
            self.programs.quick = nobody
            return
        entry.tensors = places if others or numbers else None
        entry.plain, entry.others = numbers, others
        self.programs.quick = ref(entry)

    def glance(self, entry: Entry, args: tuple) -> Any:
        """Replay the quick entry where some arguments are no tensors: a method's self, a number."""
        places, others = entry.tensors or (), entry.others
        if len(args) != len(others) + len(entry.plain) + len(places):
            return MISS
        for k, other in others:
            if args[k] is not other:
                return MISS
        for k, kind in entry.plain:
            if type(args[k]) is not kind:
                return MISS
        return entry.replay([args[k] for k in places], [args[k] for k, _ in entry.plain])

    def explained(self, mark: Any, words: str) -> None:
        """Note why a call is traced; say it aloud once where it happens again and again."""
        self.why = words
        self.reasons[mark] += 1
        if self.reasons[mark] == MOST_RETRACES + 1 and mark is not None:
            warnings.warn(
                f"{name_of(self.fn)} was traced {self.traces} times, and again because {words}. "
                "Each trace takes as long as the first call. Give it fewer different ones: pad "
                "shapes to a few sizes, and pass values that change as tensors.",
                stacklevel=5,
            )

    def reason(
        self, key: Any, entries: list[Entry], tensors: list[Tensor], numbers: list
    ) -> tuple[Any, str]:
        """Why a call is traced: a mark of the kind, and in words what differs from the last
        program.
        """
        last = self.programs.last()
        if last is None:
            return None, "the object it was called on is gone" if self.traces else "the first call"
        if entries:
            entry = entries[-1]
            for k, (then, now) in enumerate(zip(entry.numbers, numbers, strict=True)):
                if type(then) is not Scalar and not alike(then, now):
                    return ("number", k), f"a number among the arguments: {then!r} became {now!r}"
            found = next(entry.surroundings.changes(), None)
            if found is not None:
                return found.place.id, str(found)
            for source, then in zip(entry.inputs, entry.avals, strict=True):
                if source.kind == "place":
                    place, now = source.key, source.key.now()
                    if not isinstance(now, Tensor):
                        return place.id, f"{place.words} is of type {type(now).__name__}"
                    if aval(now) != then:
                        return place.id, f"{place.words}: {_aval(then)} became {_aval(aval(now))}"
            owners = [
                (tensors[i.key] if i.kind == "argument" else i.tensor, there)
                for i, there in entry.presence
                if i.kind in ("argument", "tensor")
            ]
            if any((t._grad is not None) != there for t, there in owners):
                return "grad", "a tensor's .grad is there that was not, or the other way round"
            if entry.values or entry.decisions:
                lines = ", ".join(w for _, _, w in entry.values)
                words = "a value that Python branched on is another"
                return "value", f"{words}: {lines}" if lines else words
            return "likeness", "a tensor it uses has another shape, dtype or requires_grad"
        fields = (
            "the structure of the arguments",
            "the tensors",
            "which tensors are one and the same",
            "grad mode",
            "the default dtype",
        )
        for name, a, b in zip(fields, last.key, key, strict=True):
            if a != b:
                if name == "the tensors" and len(a) == len(b):
                    i = next(i for i, (p, q) in enumerate(zip(a, b, strict=True)) if p != q)
                    return (name, i), f"tensor argument {i}: {_aval(a[i])} became {_aval(b[i])}"
                return name, f"{name}: {a} became {b}"
        return None, "another signature"

    def latest(self) -> Entry:
        last = self.programs.last()
        if last is None:
            raise RuntimeError(f"{name_of(self.fn)} has not been called yet: nothing is compiled")
        return last


def _aval(a: tuple) -> str:
    shape, _, dtype, requires_grad = a
    return f"{dtype.name}{list(shape)}{' requires_grad' if requires_grad else ''}"


def compile(fn: Callable | None = None, *, fullgraph: bool = False, dynamic: bool | None = None,
            device: Any = None, fast_math: bool = False) -> Any:  # fmt: skip
    """Compile a function, a method or a Module: traced once per signature, then replayed as one
    native call.

    Works as a decorator, with or without arguments, and as a call. Inside, torch's names mean what
    they mean eagerly: in-place changes, `.grad`, `backward()` and `optimizer.step()` all become
    part of the program. The result has `explain()`, `graph()`, `source()`, `program()` and
    `cache_info()`. `dynamic` is accepted for torch's sake: shapes are always specialised, kernels
    never are. `device` may be None or 'cpu'.

    Numbers are computed as they are eagerly: operation by operation, each rounded. Two things may
    differ in the last digits: the order in which reductions and matrix products add up, and
    functions such as exp, which are within a few units in the last place. `fast_math=True` allows
    what holds for real numbers and not for rounded ones, in the function and in its backward:
    regrouped sums and products, reciprocals, fused multiply-adds, either sign of a zero, more
    accurate formulas (log1p for log(1 + x)), and float16 and bfloat16 kept in float32 inside a
    kernel. NaN and infinities are not assumed away, but what overflows on the way eagerly need not
    overflow then. A compiled function that is called inside
    another one is part of that program, and computed as the outer one says.

    Raises what the function raises; RuntimeError for side effects that cannot be replayed;
    IndexError, with nothing written, for an index out of range.

        >>> @tracegrad.compile
        ... def f(x):
        ...     return (x.sin() ** 2).sum()
    """
    if fn is None:
        return lambda f: compile(
            f, fullgraph=fullgraph, dynamic=dynamic, device=device, fast_math=fast_math
        )
    if device is not None and str(device) != "cpu":
        raise RuntimeError(
            f"compile: device {device!r} is not available; this build compiles for 'cpu'"
        )
    if isinstance(fn, Module):
        return OptimizedModule(fn, fullgraph, fast_math)
    if not callable(fn):
        raise TypeError(f"compile expects a function or a Module, got {type(fn).__name__}")
    state = _State(fn, fullgraph, fast_math)
    programs = state.programs

    def compiled(*args: Any, **kwargs: Any) -> Any:
        try:
            entry = programs.quick()
            if entry is not None and not kwargs:
                glance = entry.tensors is not None
                answer = state.glance(entry, args) if glance else entry.replay(args)
                if answer is not MISS:
                    return answer
            return state.call(args, kwargs)
        except Reentered:  # a signal handler's call, within another one of this thread
            return fn(*args, **kwargs)

    update_wrapper(compiled, fn)
    _attach(compiled, state)
    return compiled


_TOLD = ("graph", "source", "program", "cache_info", "explain")


def _attach(compiled: Any, state: _State) -> None:
    def graph() -> Graph:
        """The simplified IR graph of the last call's program; printing it gives readable code."""
        return state.latest().graph

    def source() -> str:
        """The generated kernels of the last call's program, as Python."""
        return state.latest().program.source()

    def program() -> Program:
        """The last call's Program: launches, buffers, memory plan."""
        return state.latest().program

    def cache_info() -> CacheInfo:
        """How many calls an existing program answered, and how often the function was traced."""
        entries = list(state.programs)
        runs = sum(e.executable.runs for e in entries)
        return CacheInfo(runs - len(entries), state.traces, len(entries))

    def explain() -> str:
        """What was compiled, what was reused, and why the last trace was made."""
        if state.programs.last() is None:
            return f"{name_of(state.fn)}: {state.why}"
        lines = [
            f"{name_of(state.fn)}: traced {state.traces} time(s); last because: {state.why}",
            f"  {summary(state.latest())}",
            f"  kernels of this process: {statistics.compiled} compiled in "
            f"{statistics.seconds:.2f} s, {statistics.loaded} loaded from the cache",
        ]
        return "\n".join(lines)

    for name, f in zip(_TOLD, (graph, source, program, cache_info, explain), strict=True):
        setattr(compiled, name, f)
    compiled.tracegrad_state = state


class OptimizedModule(Module):
    """A Module whose forward is compiled; everything else is the original module's."""

    def __init__(self, module: Module, fullgraph: bool, fast_math: bool):
        super().__init__()
        compiled = compile(module.__call__, fullgraph=fullgraph, fast_math=fast_math)
        functions = {name: getattr(compiled, name) for name in _TOLD}
        own = {"forward": compiled, "_options": (fullgraph, fast_math), **functions}
        for name, value in own.items():
            object.__setattr__(self, name, value)
        self._modules["_orig_mod"] = module

    @property
    def training(self) -> bool:  # type: ignore[override]
        return self._orig_mod.training

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_orig_mod"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if (module := self.__dict__["_modules"].get("_orig_mod")) is not None:
            setattr(module, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)

    def __len__(self) -> int:
        return len(self._orig_mod)

    def __reduce__(self) -> tuple:
        return (OptimizedModule, (self._orig_mod, *self._options))

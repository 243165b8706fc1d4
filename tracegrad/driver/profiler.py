"""`compiled.profile()`: calls of a compiled function, launch by launch.

The function is called for real, some times as always and some times with the rows of its launch
lists timed (runtime/cpu/stopwatch.py), by turns. What the calls change is put back at the end
(kept_state.py), whether they succeed or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from threading import get_ident
from typing import Any

import numpy as np

from ..codegen.program import Slot
from ..ir.cached import cached_property
from ..ir.dtype import float64
from ..ir.handlers import handlers_later
from ..ir.locks import Turn
from ..runtime.cpu.stopwatch import Stopwatch, Times, overhead
from ..tracer.autograd.graph import GradFn
from ..tracer.mode import mode
from ..tracer.pytree import flatten
from ..tracer.tensor.tensor import Tensor
from .backward_nodes import CompiledCall
from .compiled_function import CompiledFunction
from .entry import Entry, nobody
from .kept_state import KeptState
from .machine import Machine, machine
from .places import HOST, address
from .profile import Event, LaunchProfile, Profile
from .replay.outputs import silent
from .report import name_of

_WARM = 5  # calls until the same program serves, at most
_SECOND = 1.0  # how long the calls may take, about, if nobody says how many
_FEWEST, _MOST = 3, 100
_TRIES = 4  # for each run: others may call the function meanwhile

_turn = Turn()  # profiles are taken one after the other


@dataclass
class _Watched:
    """A program of the call and what was seen of it."""

    name: str
    executable: Any
    last: Times | None = None
    # of each run and launch: seconds, how often it ran, by how many threads
    launches: list[np.ndarray] = field(default_factory=list)

    @property
    def stopwatch(self) -> Stopwatch:
        return self.executable.stopwatch or Stopwatch(self.executable)

    @cached_property
    def rows(self) -> _Rows:
        return _Rows(self.executable)

    def note(self, times: Times) -> float:
        """Take the times of a run; the seconds of all launches."""
        self.last, numbers = times, self.rows.of(times)
        self.launches.append(numbers)
        return float(numbers[0].sum())

    def start(self) -> None:
        with self.executable.lock:
            self.stopwatch.start()

    def stop(self) -> Times:
        with self.executable.lock:
            return self.stopwatch.stop()


@dataclass
class _Call:
    """One call: when it began and ended, and a backward after it, by which programs."""

    began: int
    ended: int
    entry: Entry
    backward: tuple[int, int] | None = None
    backward_program: Any = None

    @property
    def seconds(self) -> float:
        return (self.ended - self.began) / 1e9

    @property
    def backward_seconds(self) -> float:
        return 0.0 if self.backward is None else (self.backward[1] - self.backward[0]) / 1e9


def profile(
    state: CompiledFunction, call: Callable, runs: int | None, args: tuple, kwargs: dict
) -> Profile:
    """The Profile of a call. `call` is the compiled function of `state`."""
    if mode.trace is not None:
        raise RuntimeError("profile() within a compiled function: call it outside")
    if runs is not None and (not isinstance(runs, int) or isinstance(runs, bool) or runs < 1):
        raise ValueError(f"profile: runs must be a number of calls from 1 on, got {runs!r}")
    rates, at_once = machine(), [True]
    with _turn.lock, handlers_later(at_once):
        if _turn.busy[0]:
            raise RuntimeError("profile() in a signal handler that interrupted another profile")
        profiler = _Profiler(state, call, args, kwargs)
        try:
            profiler.begin()
            profiler.take(runs)
        finally:
            at_once[0] = False  # what is left half done here would stay so
            profiler.end()
    return profiler.result(rates)


class _OtherProgram(RuntimeError):
    """Calls take different programs."""


class _Profiler:
    def __init__(self, state: CompiledFunction, call: Callable, args: tuple, kwargs: dict):
        self.state, self.function, self.args, self.kwargs = state, call, args, kwargs
        self.thread, self.kept = get_ident(), KeptState()
        self.watched: list[_Watched] = []
        self.plain: list[_Call] = []
        self.rest: list[float] = []  # seconds of timed calls that no launch took
        self.notes: list[str] = []
        self.restarts = False  # from the same state at each call

    def begin(self) -> None:
        _turn.busy[0] = True
        self.state.before_replay = self.keep
        self.state.programs.fast_entry = nobody  # so that the first call is told of
        silent.add(self.thread)

    def end(self) -> None:
        """Have everything as it was."""
        for w in self.watched:
            w.stop()
        silent.discard(self.thread)
        self.state.before_replay = None
        self.kept.put_back()
        _turn.busy[0] = False

    def keep(self, entry: Entry | None, tensors: Sequence[Tensor]) -> None:
        """Keep what a call may change."""
        if get_ident() != self.thread:
            return
        if entry is None:
            raise RuntimeError(
                "profile: this call runs without a program, because it makes state that it uses, "
                "or takes too many ways. After some calls it may have one"
            )
        if entry.low.place is not HOST:
            raise RuntimeError(
                f"profile: this program runs on {entry.low.place.name}, and launches are timed on "
                "the CPU only. Use NVIDIA's tools (nsys, ncu) for those of a GPU"
            )
        for one in (entry, *entry.siblings):
            self.kept.keep(one, tensors)

    def call(self) -> _Call:
        """Call the function; and the backward program of what it returns, if that has one."""
        if self.restarts:
            self.kept.put_back()
        began = time.perf_counter_ns()
        result = self.function(*self.args, **self.kwargs)
        ended = time.perf_counter_ns()
        one = _Call(began, ended, self.state.latest())
        outputs = [t for t in flatten(result)[0] if isinstance(t, Tensor)]
        if (made := next(filter(None, map(_compiled_call, outputs)), None)) is not None:
            if made.derivative.needs_rerun():
                self.notes[:] = ["backward runs the function again, in Python, and is not timed"]
            else:
                one.backward = _backward(made)
                derivative = made.derivative
                one.backward_program = derivative.backwards[derivative.all_outputs].executable
        return one

    def warm(self) -> _Call:
        """Call until one program serves."""
        last = self.call()
        for _ in range(_WARM):
            before, traces = last.entry, self.state.traces
            last = self.call()
            if last.entry is before and self.state.traces == traces:
                return last
        raise _OtherProgram("profile: each call takes another program, see explain() for why")

    def take(self, runs: int | None) -> None:
        """Take the times."""
        try:
            self.calls(runs)
        except _OtherProgram:
            self.notes = ["each call began from the same state, which decides on the program"]
            self.restarts = True
            self.plain, self.rest = [], []
            self.calls(runs)

    def calls(self, runs: int | None) -> None:
        for w in self.watched:
            w.stop()
        first = self.warm()
        self.entry, self.watched, self.last = first.entry, _programs(first), first
        if runs is None:
            took = 2 * (first.seconds + first.backward_seconds)
            runs = min(_MOST, max(_FEWEST, int(_SECOND / max(took, 1e-6))))
        for _ in range(_TRIES * runs):
            self.plain.append(self.call())
            times = self.timed()
            if self.last.entry is not self.entry or self.plain[-1].entry is not self.entry:
                raise _OtherProgram("profile: calls take different programs, see explain()")
            if times is not None:
                noted = [w.note(one) for w, one in zip(self.watched, times, strict=True)]
                whole = self.last.seconds + self.last.backward_seconds
                self.rest.append(max(whole - sum(noted), 0.0))
                if len(self.rest) == runs:
                    return
        raise RuntimeError("profile: other threads call the function all the time")

    def timed(self) -> list[Times] | None:
        """Call the function with its launches timed: the times of each program, or None if one of
        them did not run just once.
        """
        before = [w.executable.runs for w in self.watched]
        for w in self.watched:
            w.start()
        self.last = self.call()
        times = [w.stop() for w in self.watched]
        now = [w.executable.runs for w in self.watched]
        return times if now == [count + 1 for count in before] else None

    def result(self, rates: Machine) -> Profile:
        last, plain = self.last, self.plain
        events = [Event("call", "call", 0, last.began, last.ended)]
        if last.backward is not None:
            events.append(Event("backward", "backward", 0, *last.backward))
        for w in self.watched:
            events += _events(w)
        return Profile(
            name_of(self.state.fn), len(self.rest), median(one.seconds for one in plain),
            None if last.backward is None else median(one.backward_seconds for one in plain),
            median(self.rest), tuple(x for w in self.watched for x in _launches(w, rates)), rates,
            tuple(self.notes), tuple(events),
        )


def _compiled_call(t: Tensor) -> CompiledCall | None:
    """The call that a tensor came from."""
    fn: GradFn | None = t._grad_fn
    if fn is None or isinstance(fn, CompiledCall):
        return fn
    whole = fn.edges[0] if fn.edges else None
    return whole if isinstance(whole, CompiledCall) else None


def _backward(made: CompiledCall) -> tuple[int, int]:
    """Run the backward program of a call, from all its outputs; when that began and ended."""
    derivative = made.derivative
    starts = derivative.all_outputs
    seeds = [derivative.seeds[k] for k in sorted(starts)]
    ones = [s._dtype.encode(np.ones(s.shape)) for s in seeds]
    began = time.perf_counter_ns()
    derivative.run(starts, made.pointers + list(map(address, ones)))
    return began, time.perf_counter_ns()


def _programs(call: _Call) -> list[_Watched]:
    """The programs of a call, in the order in which they run."""
    stages = enumerate(call.entry.stages, 1)
    found = [_Watched(f"segment {k}", stage.segment.executable) for k, stage in stages]
    found.append(_Watched("call", call.entry.executable))
    if call.backward_program is not None:
        found.append(_Watched("backward", call.backward_program))
    return found


class _Rows:
    """The rows of an executable's list, put together by launch."""

    def __init__(self, executable: Any):
        self.launch, loop, self.share = np.array(executable.rows or [(0, 1, 0)]).T
        self.mine = loop == 0
        self.shape = self.share.max() + 1, max(len(executable.program.launches), 1)
        self.pieces = np.maximum(executable.launches[:, 4], 1)

    def together(self, how: np.ufunc, values: np.ndarray) -> np.ndarray:
        """By share and launch, what rows of it have together."""
        total = np.zeros(self.shape)
        own = values[: len(self.launch)][self.mine]
        how.at(total, (self.share[self.mine], self.launch[self.mine]), own)
        return total

    def of(self, times: Times) -> np.ndarray:
        """Of each launch: seconds, of the thread that was at it for longest; how often it ran; how
        many threads were at it.
        """
        took = np.maximum(times.nanoseconds - overhead() * times.calls, 0).max(0) / 1e9
        runs = times.calls.sum(0) / self.pieces
        threads = (times.calls > 0).sum(0)
        return np.stack([
            self.together(np.add, took).max(0),
            self.together(np.maximum, runs).max(0),
            self.together(np.maximum, threads).sum(0),
        ])


def _launches(watched: _Watched, rates: Machine) -> Iterator[LaunchProfile]:
    program = watched.executable.program
    seconds, runs, threads = np.median(watched.launches, 0)
    for k, launch in enumerate(program.launches):
        buffers = (program.buffers[a.index] for a in launch.args if isinstance(a, Slot))
        floats = (b for b in buffers if b.dtype.kind == "float")
        largest = max(floats, key=lambda b: b.nbytes, default=None)
        rate = rates.product_rate(largest is not None and largest.dtype is float64)
        yield LaunchProfile(
            watched.name, k, launch.kernel.name, launch.kernel.template,
            tuple(dict.fromkeys(o.operation.split()[0] for o in launch.origin)),
            tuple(dict.fromkeys(str(o.site) for o in launch.origin if o.site is not None)),
            float(seconds[k]), round(runs[k]), round(threads[k]),
            launch.traffic.read, launch.traffic.written, launch.traffic.operations,
            rates.copy_rate(launch.traffic.read + launch.traffic.written), rate,
        )


def _events(watched: _Watched) -> Iterator[Event]:
    """The launches and loops of the last run, one by one."""
    executable = watched.executable
    for lane, rows in enumerate(watched.last.events if watched.last is not None else ()):
        for row, began, ended in rows.tolist():
            launch, loop, _ = executable.rows[row]
            name = "loop" if loop else executable.program.launches[launch].kernel.name
            yield Event(name, watched.name, lane, began, ended, launch)

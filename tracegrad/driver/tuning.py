"""`compile(mode="max-autotune")`: the choices of one program, found by timing it.

Programs made with other choices run on copies of the arguments of the first call, in turns with the
best one so far. Nothing that the user holds is touched. What was found is kept on disk, under the
name of the program that the defaults make.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from ..codegen.program import Program
from ..ir.choices import DEFAULT, Choices
from ..ir.node import Aval
from ..runtime.cpu import object_cache
from ..runtime.device import Executable
from .places import HOST, address

SECONDS = 10.0  # that tuning takes at most, but for the last program's compilation
ROUNDS, ENOUGH = 12, 0.4  # of two programs in turns, and the seconds after which they are enough
BETTER = 0.97  # of the best time: what takes less is better
CHANGES: tuple[tuple[str, Any], ...] = (  # that are tried, each of the best choices so far
    ("memory", 0.25), ("memory", 4.0), ("columns", False), ("fold", False), ("keep", 4),
    ("keep", 100), ("inline", 2), ("inline", 40), ("finish", False), ("thread", 60_000),
    ("thread", 1_000_000), ("thread", 1 << 60),
)


@dataclass(frozen=True)
class Tuned:
    """The choices of a program, and what explain() says about them."""

    choices: Choices
    words: str


@dataclass(frozen=True)
class Made:
    """Programs of a function: its own, with the numbers of its inputs, and that of its backward,
    which reads the last outputs, the `needed` ones of the inputs, and `seeds`.
    """

    forward: Program
    inputs: Sequence[int]
    backward: Program | None = None
    saved: int = 0
    needed: Sequence[int] = ()
    seeds: Sequence[Aval] = ()

    def text(self) -> str:
        programs = filter(None, (self.forward, self.backward))
        return "\n".join(f"{p}\n{p.source()}{[x.grain for x in p.launches]}" for p in programs)


_tuned: dict[str, Tuned] = {}  # of this process


def known(name: str) -> Tuned | None:
    """What was found before for the program of that name."""
    if name not in _tuned:
        parts = object_cache.read(_key(name))
        if parts is None or (choices := _read(parts[0])) is None:
            return None
        _tuned[name] = Tuned(choices, f"found by an earlier process: {_differences(choices)}")
    return _tuned[name]


def _key(name: str) -> str:
    return object_cache.key(f"choices {name}")


def _read(text: bytes) -> Choices | None:
    """The choices in a file; None if there are others in it."""
    try:
        values = json.loads(text)
        kinds = {f.name: type(f.default) for f in fields(Choices)}
        if {k: type(v) for k, v in values.items()} == kinds:
            return Choices(**values)
    except (ValueError, AttributeError):
        pass
    return None


def _differences(choices: Choices) -> str:
    default = asdict(DEFAULT)
    other = [f"{k}={v}" for k, v in asdict(choices).items() if v != default[k]]
    return ", ".join(other) or "the defaults are best"


def tune(name: str, make: Callable[[Choices], Made], values: Mapping[int, np.ndarray]) -> None:
    """Find the choices for the program of that name. `make` makes it with others; `values` are its
    inputs, by their numbers.
    """
    began = time.perf_counter()
    _tuned[name] = Tuned(DEFAULT, "interrupted, so the defaults")  # if an exception ends this
    made = make(DEFAULT)
    best, seen = DEFAULT, {made.text()}
    run = default = Trial(made, values)
    for field, value in CHANGES:
        if time.perf_counter() - began > SECONDS:
            break
        made = make(choices := replace(best, **{field: value}))
        if made.text() in seen or not values.keys() >= {*made.inputs, *made.needed}:
            continue
        seen.add(made.text())
        other = Trial(made, values)
        if faster(other, run):
            best, run = choices, other
    gained = ""
    if run is not default:
        before, after = in_turns(default, run)
        if after < BETTER * before:
            gained = f", {after * 1e6:.1f} us instead of {before * 1e6:.1f}"
        else:  # what looked better was the machine's mood
            best = DEFAULT
    took = time.perf_counter() - began
    words = f"{len(seen)} programs timed in {took:.1f} s: {_differences(best)}{gained}"
    _tuned[name] = Tuned(best, words)
    object_cache.write(_key(name), json.dumps(asdict(best)).encode())


def faster(other: Trial, run: Trial) -> bool:
    before, after = in_turns(run, other)
    return after < BETTER * before


def in_turns(one: Trial, other: Trial) -> tuple[float, float]:
    """The least seconds of a run of each."""
    times: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    for k in range(ROUNDS):
        for trial, seconds in zip((one, other), times, strict=True):
            seconds.append(trial.seconds())
        if k > 0 and time.perf_counter() - began > ENOUGH:
            break
    return min(times[0]), min(times[1])


class Trial:
    """Programs with memory of their own."""

    def __init__(self, made: Made, values: Mapping[int, np.ndarray]):
        original = [values[k] for k in made.inputs]
        self.copies = [_copy(a) for a in original]  # tables have their addresses
        place = dict(zip(made.inputs, self.copies, strict=True))
        forward = HOST.executable(made.forward)
        self.outputs = _bind(forward, self.copies)
        slots, written = made.forward.inputs, {*made.forward.outputs}
        self.rewritten = [pair for slot, *pair in zip(slots, self.copies, original, strict=True)
                          if slot in written]
        self.executables, self.repeat = [forward], 0
        if made.backward is not None:
            backward = HOST.executable(made.backward)
            saved = self.outputs[len(self.outputs) - made.saved :]
            self.seeds = [np.ones(seed.shape, seed.dtype.storage) for seed in made.seeds]
            arrays = [*saved, *(place[k] for k in made.needed), *self.seeds]
            self.gradients = _bind(backward, arrays)
            self.executables.append(backward)

    def run(self) -> float:
        """The time that it takes on what the inputs were at first: on what a run made of them,
        another one may fail.
        """
        for copy, original in self.rewritten:
            copy[...] = original
        began = time.perf_counter()
        for executable in self.executables:
            with executable.lock:
                executable.warm()
                executable.run()
        return time.perf_counter() - began

    def seconds(self) -> float:
        """The mean of some runs, the more the shorter they are."""
        if not self.repeat:
            self.repeat = max(1, int(2e-4 / self.run()))
        return sum(self.run() for _ in range(self.repeat)) / self.repeat


def _bind(executable: Executable, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Have a program read `inputs`, and write what is no input to new arrays, which are given."""
    program, outputs = executable.program, []
    for slot, array in zip(program.inputs, inputs, strict=True):
        executable.table[slot] = address(array)
    for slot in program.outputs:
        if slot not in program.inputs:
            buffer = program.buffers[slot]
            outputs.append(np.zeros(buffer.shape, buffer.dtype.storage))
            executable.table[slot] = address(outputs[-1])
    return outputs


def _copy(array: np.ndarray) -> np.ndarray:
    """A copy that lies as the array does."""
    if not array.size:
        return array
    ends = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)]
    memory = np.zeros(sum(map(abs, ends)) + array.itemsize, np.uint8)
    first = sum(e for e in ends if e < 0)
    copy = np.ndarray(array.shape, array.dtype, memory, -first, array.strides)
    copy[...] = array
    return copy


def captured(executable: Executable, numbers: Iterable[int]) -> dict[int, np.ndarray]:
    """Copies of the inputs of a program, by their numbers."""
    return {k: _copy(a) for k, a in zip(numbers, executable.inputs_on_host(), strict=True)}

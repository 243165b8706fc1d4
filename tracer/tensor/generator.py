"""Generators: streams of random numbers, each a seed and how far it has been used.

A stream is counter-based (ir/ops/random.py): its number k depends on the seed and on k alone, so
the eager, the compiled and the parallel program draw the same ones. Within a trace a generator's
state is an input of the program, and how many numbers it uses is known when it is traced.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import numpy as np

from ...ir.dtype import int64, uint8
from ...ir.locks import lock
from ...ir.ops.random import signed
from ..mode import mode
from .device import CPU, usable
from .tensor import Tensor, wrap


class Generator:
    """A stream of random numbers, with a seed and a state of its own."""

    # no __dict__: what the state is now is read at each call, and never guarded
    __slots__ = ("__weakref__", "_lock", "_shared_state", "_thread_states", "device")

    def __init__(self, device: Any = "cpu"):
        self.device = usable(device)
        self._lock = lock()
        self._shared_state = (67280421310721, 0)  # (seed, numbers used)
        self._thread_states: dict[int, tuple[int, int]] = {}  # states private to a thread

    @property
    def _state(self) -> tuple[int, int]:
        states = self._thread_states
        return states.get(get_ident(), self._shared_state) if states else self._shared_state

    @_state.setter
    def _state(self, state: tuple[int, int]) -> None:
        if self._thread_states and get_ident() in self._thread_states:
            self._thread_states[get_ident()] = state
        else:
            self._shared_state = state

    @contextmanager
    def thread_state(self, state: tuple[int, int]) -> Iterator[None]:
        """Within it this thread draws from another place, and leaves the stream where it is."""
        me = get_ident()
        before = self._thread_states.get(me)
        self._thread_states[me] = state
        try:
            yield
        finally:
            if before is None:
                del self._thread_states[me]
            else:
                self._thread_states[me] = before

    def manual_seed(self, seed: int) -> Generator:
        """Begin the stream of `seed`."""
        seed = int(seed)
        if not -(2**63) <= seed < 2**64:
            raise ValueError("Overflow when unpacking long long")
        seed %= 2**64
        if mode.trace is not None:
            mode.trace.stream(self).restart((seed, 0))
        else:
            self._state = (seed, 0)
        return self

    def seed(self) -> int:
        """Begin a stream of a seed that is new every time."""
        self._refuse_in_trace("seed()")
        self.manual_seed(time.time_ns())
        return self.initial_seed()

    def initial_seed(self) -> int:
        """The seed that the stream began with."""
        self._refuse_in_trace("initial_seed()")
        return self._state[0]

    def get_state(self) -> Any:
        """Where the stream stands, to come back to with `set_state`: 16 bytes, the seed and how
        many numbers were used. In a compiled function it is known to `set_state` alone.
        """
        if mode.trace is not None:
            return mode.trace.stream(self).mark()
        return wrap(np.array([signed(v) for v in self._state], np.int64).view(np.uint8), uint8)

    def set_state(self, new_state: Any) -> Generator:
        """Go to a place that `get_state` gave."""
        if mode.trace is not None:
            mode.trace.stream(self).restart(new_state)
            return self
        if not isinstance(new_state, Tensor) or new_state.dtype is not uint8:
            raise TypeError("expected a torch.ByteTensor, but got " + type(new_state).__name__)
        if tuple(new_state.shape) != (16,):
            raise RuntimeError("RNG state is wrong size")
        seed, used = np.ascontiguousarray(new_state._array).view(np.int64).tolist()
        self._state = (seed % 2**64, used)
        return self

    def clone_state(self) -> Generator:
        """A generator that stands where this one does."""
        self._refuse_in_trace("clone_state()")
        twin = Generator(self.device)
        twin._state = self._state
        return twin

    def _refuse_in_trace(self, what: str) -> None:
        if mode.trace is not None:
            mode.trace.refuse_random(what)

    def advance(self, count: int, seed: int | None = None) -> tuple[tuple, tuple]:
        """Use `count` numbers, of a new seed if one is given: the states before and after."""
        with self._lock:
            before = self._state
            self._state = (before[0], before[1] + count) if seed is None else (seed, count)
            return before, self._state

    def undo_advance(self, before: tuple, after: tuple) -> None:
        """Undo an `advance`, unless somebody has drawn since."""
        with self._lock:
            if self._state == after:
                self._state = before

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """The seed and the position of the next `count` numbers, which are used from now on."""
        if mode.trace is not None:
            return mode.trace.stream(self).draw(count)
        return tuple(integer(v) for v in self.advance(count)[0])  # type: ignore[return-value]

    def __reduce__(self) -> tuple:
        return (_restored, (self._state,))


def _restored(state: tuple) -> Generator:
    new = Generator()
    new._state = state
    return new


def integer(value: int) -> Tensor:
    """An integer as an int64 tensor, modulo 2**64."""
    return wrap(np.array(signed(value), np.int64), int64)


default_generator = Generator(CPU)


def manual_seed(seed: int) -> Generator:
    """Begin the default stream of `seed`."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Begin a stream of a seed that is new every time."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default stream."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """Where the default stream stands."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Take the default stream to a place that `get_rng_state` gave."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **_: Any) -> Iterator[None]:
    """What is drawn within leaves the default stream where it was."""
    if not enabled:
        yield
        return
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


__all__ = [
    "Generator", "default_generator", "get_rng_state", "initial_seed", "manual_seed", "seed",
    "set_rng_state",
]  # fmt: skip

"""Random number generators. A generator is a stream: a seed, and how many numbers were drawn.

A stream is counter-based (ir/ops/random.py): number k depends only on the seed and on k. So eager,
compiled and parallel programs draw the same numbers. In a trace the state of a generator is an
input of the program. How many numbers the program draws is known when it is traced.
"""

from __future__ import annotations

import os
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
from .device_memory import host
from .tensor import Tensor, wrap


class Generator:
    """A stream of random numbers with its own seed and state.

    Raises RuntimeError for a device other than the CPU.

    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.rand(2, generator=generator)
    >>> bool((x == torch.rand(2, generator=torch.Generator().manual_seed(0))).all())
    True
    """

    # no __dict__: the state is read at each call and never guarded
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
        """Within it, this thread draws from `state`. The generator's own state does not move."""
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
        """Restart the stream with this seed."""
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
        """Restart the stream with a new seed from the clock, and return the seed."""
        self._refuse_in_trace("seed()")
        self.manual_seed(time.time_ns())
        return self.initial_seed()

    def initial_seed(self) -> int:
        """The seed that the stream started with."""
        self._refuse_in_trace("initial_seed()")
        return self._state[0]

    def get_state(self) -> Any:
        """The state of the stream for `set_state`: 16 bytes, the seed and the count of numbers
        drawn.

        In a compiled function only `set_state` can use the result.
        """
        if mode.trace is not None:
            return mode.trace.stream(self).mark()
        return wrap(np.array([signed(v) for v in self._state], np.int64).view(np.uint8), uint8)

    def set_state(self, new_state: Any) -> Generator:
        """Set the stream to a state that `get_state` returned."""
        if mode.trace is not None:
            mode.trace.stream(self).restart(new_state)
            return self
        if not isinstance(new_state, Tensor) or new_state.dtype is not uint8:
            raise TypeError("expected a torch.ByteTensor, but got " + type(new_state).__name__)
        if tuple(new_state.shape) != (16,):
            raise RuntimeError("RNG state is wrong size")
        seed, used = np.ascontiguousarray(host(new_state._array)).view(np.int64).tolist()
        self._state = (seed % 2**64, used)
        return self

    def clone_state(self) -> Generator:
        """A new generator with the same state."""
        self._refuse_in_trace("clone_state()")
        twin = Generator(self.device)
        twin._state = self._state
        return twin

    def _refuse_in_trace(self, what: str) -> None:
        if mode.trace is not None:
            mode.trace.refuse_random(what)

    def advance(self, count: int, seed: int | None = None) -> tuple[tuple, tuple]:
        """Skip `count` numbers, of a new seed if one is given. Returns the states before and after.
        """
        with self._lock:
            before = self._state
            self._state = (before[0], before[1] + count) if seed is None else (seed, count)
            return before, self._state

    def undo_advance(self, before: tuple, after: tuple) -> None:
        """Undo an `advance`, unless numbers were drawn since."""
        with self._lock:
            if self._state == after:
                self._state = before

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Reserve the next `count` numbers. Returns the seed and the position of the first one."""
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
default_generator.manual_seed(int.from_bytes(os.urandom(8), "little") >> 11)  # each process its own


def manual_seed(seed: int) -> Generator:
    """Restart the default stream with this seed.

    The numbers are torch's only in distribution. Raises TypeError unless it is an integer.

    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(2)
    >>> _ = torch.manual_seed(0)
    >>> torch.equal(x, torch.randn(2))
    True
    """
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Restart the default stream with a new seed.

    >>> _ = torch.seed()
    """
    return default_generator.seed()


def initial_seed() -> int:
    """The seed that the default stream started with.

    >>> _ = torch.manual_seed(7)
    >>> torch.initial_seed()
    7
    """
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The state of the default stream.

    >>> state = torch.get_rng_state()
    >>> x = torch.rand(2)
    >>> torch.set_rng_state(state)
    >>> torch.equal(torch.rand(2), x)
    True
    """
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Set the default stream to a state that `get_rng_state` returned.

    Raises TypeError for what is no state.

    >>> torch.set_rng_state(torch.get_rng_state())
    """
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **_: Any) -> Iterator[None]:
    """Within it numbers are drawn as usual; at the end the default stream is restored."""
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
]

"""The machine code of kernels: from the cache of object code, or else compiled.

Every distinct kernel is compiled once per process, whoever asks, and once per machine, whichever
process does. A process that has all its kernels from the cache never imports Numba.
"""

from __future__ import annotations

import hashlib
import logging  # noqa: F401 (see the end)
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as memo
from importlib import import_module
from pathlib import Path
from typing import Any

from ...codegen.program import Kernel
from ...ir.handlers import handlers_later
from ...ir.locks import lock
from . import machine_code, object_cache


@dataclass
class Statistics:
    compiled: int = 0
    loaded: int = 0
    seconds: float = 0.0


statistics = Statistics()
_one = lock()
_ready: dict[str, tuple[int, Any]] = {}  # kernel text -> (address, what keeps it alive)


@contextmanager
def compiling() -> Iterator[None]:
    """Be within Numba or LLVM: one thread at a time, and no signal handler, for neither can be
    entered again at any point, nor be left at any point by an exception.
    """
    with handlers_later(), _one:
        yield


@memo
def code_generator() -> Any:
    """The module that compiles, with Numba, whose import takes as long as ours."""
    return import_module(f"{__package__}.code_generator")


def loaded(parts: tuple[bytes, ...]) -> int:
    """The address of the function of a cache entry. Raises whatever is wrong with it."""
    symbol, code = parts
    address = machine_code.load(code, symbol.decode())
    if address is None:
        code_generator().provide(code)
        address = machine_code.load(code, symbol.decode(), unseen=True)
    if address is None:
        raise LookupError(symbol)
    return address


# the modules that give the text of kernels its meaning
_MEANING = (
    "builtins", "intrinsics", "arithmetic", "powers", "half", "special", "lapack", "philox",
    "vector_math", "libm", "external_builtins", "registers", "translator", "code_generator",
)


@memo
def meaning() -> str:
    """A digest of what the text of kernels means."""
    texts = (Path(__file__).with_name(f"{name}.py").read_bytes() for name in _MEANING)
    return hashlib.sha256(b"".join(texts)).hexdigest()


def address_of(kernel: Kernel, origin: Iterable[Any] = ()) -> int:
    """The address of the kernel's machine code, which lives as long as the process."""
    text = kernel.text
    if text in _ready:
        return _ready[text][0]
    with compiling():
        if text in _ready:  # another thread has done it meanwhile
            return _ready[text][0]
        name = object_cache.key(f"{meaning()}\n{text}")
        parts = object_cache.read(name)
        if parts is not None:
            try:
                address = loaded(parts)
            except Exception:  # an object of another make: compile it again
                address = 0
            if address:
                statistics.loaded += 1
                _ready[text] = (address, None)
                return address
        began = time.perf_counter()
        address, keep, parts = code_generator().compiled(kernel, origin)
        statistics.compiled += 1
        statistics.seconds += time.perf_counter() - began
        object_cache.write(name, *parts)
        _ready[text] = (address, keep)
        return address


_held: list[Any] = []  # locks, while this process forks


def _quiet() -> None:
    """Wait until no thread is within Numba or LLVM, whose state a forked child takes over."""
    numba_locks = sys.modules.get("numba.core.compiler_lock")
    _one.acquire()
    if numba_locks is not None:
        numba_locks.global_compiler_lock.acquire()
        _held.append(numba_locks.global_compiler_lock)


def _go_on() -> None:
    while _held:
        _held.pop().release()
    _one.release()


# What is registered last is done first. So logging, which takes its lock before a fork, has been
# imported: else who forks has that lock, and waits for a thread within Numba that wants to log
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_quiet, after_in_parent=_go_on, after_in_child=_go_on)

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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as memo
from importlib import import_module
from pathlib import Path
from secrets import randbelow
from typing import Any

from ...codegen.program import Kernel
from ...ir import faults, sampling
from ...ir.handlers import handlers_later
from ...ir.locks import lock
from ...ir.progress import phase
from . import machine_code, object_cache
from .compile_processes import PATIENCE, Team, processes_for
from .object_code import Source, object_code


@dataclass
class Statistics:
    compiled: int = 0
    loaded: int = 0
    seconds: float = 0.0


statistics = Statistics()
_batch = lock()  # kernels of one program at a time
_one = lock()
_ready: dict[str, int] = {}  # kernel text -> address


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
    "squares", "vector_math", "vector_error", "vector_angle", "vector_gamma", "vector_power",
    "rare", "real", "samplers", "coefficients", "external_builtins", "registers", "translator",
    "code_generator", "object_code",
)


@memo
def meaning() -> str:
    """A digest of what the text of kernels means."""
    texts = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in _MEANING]
    # numbers that kernels report, and formulas that they compute by
    texts += [Path(file).read_bytes() for file in (faults.__file__, sampling.__file__)]
    return hashlib.sha256(b"".join(texts)).hexdigest()


def addresses_of(kernels: Mapping[Kernel, Iterable[Any]]) -> dict[Kernel, int]:
    """The addresses of the kernels' machine code, which lives as long as the process; with each
    kernel comes what a message would say of its origin.
    """
    if not all(kernel.text in _ready for kernel in kernels):
        with _batch:
            missing = {k: origin for k, origin in kernels.items() if not _found(k)}
            if missing:
                _compile(missing)
    return {kernel: _ready[kernel.text] for kernel in kernels}


def _found(kernel: Kernel) -> bool:
    """Whether the kernel is there, or in the cache."""
    if kernel.text in _ready:
        return True
    with compiling():
        parts = object_cache.read(_name(kernel))
        if parts is None:
            return False
        try:
            _ready[kernel.text] = loaded(parts)
        except Exception:  # an object of another make: compile it again
            return False
        statistics.loaded += 1
        return True


def _name(kernel: Kernel) -> str:
    return object_cache.key(f"{meaning()}\n{kernel.text}")


def _seconds(kernel: Kernel) -> float:
    """About how long LLVM will take."""
    return 0.13 if kernel.llvm else 0.01 + 1.2e-5 * len(kernel.source)


def _compile(kernels: Mapping[Kernel, Iterable[Any]]) -> None:
    """Compile what is not in the cache, with other processes where that pays."""
    began = time.perf_counter()
    with Team(processes_for(sum(map(_seconds, kernels)))) as team:
        batch = _Batch(kernels, team)
        batch.write()
        batch.compile()
    statistics.seconds += time.perf_counter() - began


class _Batch:
    """Kernels that this process compiles together with a team. Which is next is left to chance, so
    that of equal programs that start at once, each finds kernels that another has kept.
    """

    def __init__(self, kernels: Mapping[Kernel, Iterable[Any]], team: Team):
        self.kernels, self.team = kernels, team
        self.order = sorted(kernels, key=_seconds, reverse=True)
        self.sources: dict[int, Source] = {}  # by the numbers of kernels that are not ready
        self.free: list[int] = []  # those that no process was handed, the greatest first

    def write(self) -> None:
        """Write all sources; processes begin with the first."""
        generator = code_generator()
        for number, kernel in enumerate(self.order):
            with compiling(), generator.blamed(kernel, self.kernels[kernel]):
                self.sources[number] = generator.written(kernel)
            self.free.append(number)
            self.hand_on()

    def hand_on(self) -> None:
        """Give processes that have room something of the greater half."""
        while self.free and self.team.has_room():
            number = self.free.pop(randbelow(-(-len(self.free) // 2)))
            if _found(self.order[number]):
                del self.sources[number]
            else:
                self.team.hand(number, self.sources[number])

    def compile(self) -> None:
        patience = 0.0
        while self.sources:
            phase(f"kernel {len(self.order) - len(self.sources) + 1} of {len(self.order)}")
            finished = self.team.finished(patience)
            for number, code in finished:
                if code and number in self.sources:
                    del self.sources[number]
                    self.keep(number, code)
            self.hand_on()
            mine = self.next(everything=bool(patience and not finished))
            patience = PATIENCE if mine is None else 0.0
            if mine is not None:
                source = self.sources.pop(mine)
                if not _found(self.order[mine]):
                    self.keep(mine, source)

    def next(self, everything: bool) -> int | None:
        """What to compile here: something of the smaller half, else what a process has not begun;
        `everything`: or has, but does not answer. None if there is nothing of that kind.
        """
        if self.free:
            half = len(self.free) // 2
            return self.free.pop(half + randbelow(len(self.free) - half))
        begun = set() if everything else self.team.begun()
        return next((number for number in reversed(self.sources) if number not in begun), None)

    def keep(self, number: int, code: bytes | Source) -> None:
        kernel = self.order[number]
        _keep(kernel, self.kernels[kernel], code)


def _keep(kernel: Kernel, origin: Iterable[Any], code: bytes | Source) -> None:
    """Load a kernel's object code, and let later processes find it."""
    with compiling(), code_generator().blamed(kernel, origin):
        if isinstance(code, Source):
            code = object_code(code)
        parts = code_generator().symbol_of(kernel).encode(), code
        _ready[kernel.text] = loaded(parts)
        statistics.compiled += 1
        object_cache.write(_name(kernel), *parts)


def parts_of(kernel: Kernel) -> tuple[bytes, bytes]:
    """The symbol and the object code of a kernel."""
    addresses_of({kernel: ()})
    parts = object_cache.read(_name(kernel))
    if parts is None:  # nothing is kept
        with compiling():
            code = object_code(code_generator().written(kernel))
        parts = code_generator().symbol_of(kernel).encode(), code
    symbol, code = parts
    return symbol, code


def use(kernel: Kernel, parts: tuple[bytes, ...]) -> None:
    """Take this object code for a kernel. Raises whatever is wrong with it."""
    with compiling():
        if kernel.text not in _ready:
            _ready[kernel.text] = loaded(parts)
            statistics.loaded += 1


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

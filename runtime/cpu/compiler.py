"""Kernel source to machine code, by LLVM, or from the cache of object code.

Every distinct kernel is compiled once per process, whoever asks, and once per machine, whichever
process does.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as memo
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from ...codegen.program import Kernel, MachineCodeLost
from ...ir.handlers import handlers_later
from ...ir.locks import lock
from . import (
    arithmetic,
    builtins,
    external_builtins,
    half,
    intrinsics,
    lapack,
    libm,
    machine_code,
    object_cache,
    philox,
    powers,
    registers,
    special,
    translator,
    vector_math,
)
from .builtins import BUILTINS
from .translator import translated

# of kernels that are `fast`; NaN and infinities keep their meaning: neither nnan nor ninf. Others
# have no flags but those of single words, such as the accumulators of reductions
FAST = {"contract", "reassoc", "nsz", "arcp"}


class CompileError(RuntimeError):
    """A generated kernel was refused: a fault of this library, with all that is needed to
    report it.
    """


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


def loaded(parts: tuple[bytes, ...]) -> int:
    """The address of the function of a cache entry. Raises whatever is wrong with it."""
    symbol, code = parts
    address = machine_code.load(code, symbol.decode())
    if address is None:
        _provide(code)
        address = machine_code.load(code, symbol.decode(), unseen=True)
    if address is None:
        raise LookupError(symbol)
    return address


def _provide(code: bytes) -> None:
    """Tell LLVM where Numba's own functions are, and those of SciPy that an object calls."""
    context = cpu_target.target_context
    if b"NRT_" in code:  # an error path of Numba's
        rtsys.initialize(context)
    for words in (special, lapack):
        if words.PREFIX.encode() in code:
            words.provide()


def parts_of(compiled: Any, symbol: str) -> tuple[bytes, ...]:
    """What `loaded` needs of a compiled library."""
    _, _, (code, _) = compiled.serialize_using_object_code()
    return symbol.encode(), bytes(code)


# the modules that give the text of kernels its meaning
_MEANING = (builtins, intrinsics, arithmetic, powers, half, special, lapack, philox, vector_math,
            libm, external_builtins, registers, translator)


@memo
def meaning() -> str:
    """A digest of what the text of kernels means."""
    text = "".join(inspect.getsource(module) for module in _MEANING)
    return hashlib.sha256(text.encode()).hexdigest()


@memo
def source_folder() -> Path:
    """Where kernel source is written: TRACEGRAD_DUMP, else a folder of this process."""
    given = os.environ.get("TRACEGRAD_DUMP")
    if given:
        Path(given).mkdir(parents=True, exist_ok=True)
    return Path(given or tempfile.mkdtemp(prefix="tracegrad-"))


def assembled(name: str, text: str, libraries: Sequence[Any] = ()) -> Any:
    """Loaded machine code of an LLVM module that calls these libraries, by the code generator that
    Numba's own goes to.
    """
    with global_compiler_lock:
        made = cpu_target.target_context.codegen().create_library(name)
        made.enable_object_caching()
        made.add_llvm_module(llvm.parse_assembly(text))
        for called in libraries:
            made.add_linking_library(called)
        made.finalize()
    return made


_WORDS = {name: builtin.numba for name, builtin in BUILTINS.items()}


def _symbol(kernel: Kernel) -> str:
    """The name of its function, of which a process must not load two."""
    return f"{kernel.template}_{hashlib.sha256(kernel.text.encode()).hexdigest()[:32]}"


def _module(kernel: Kernel) -> tuple[str, list[Any]]:
    """A kernel as LLVM, and the libraries it calls."""
    if kernel.llvm:
        return kernel.llvm().replace('"kernel"', f'"{_symbol(kernel)}"'), []
    return translated(kernel.text, _symbol(kernel), _WORDS, FAST if kernel.fast else set())


def _compile(kernel: Kernel, origin: Iterable[Any]) -> tuple[int, Any, tuple[bytes, ...]]:
    symbol = _symbol(kernel)
    try:
        made = assembled(symbol, *_module(kernel))
    except MachineCodeLost:
        raise
    except Exception as error:
        path = source_folder() / f"{kernel.name}.py"
        path.write_text("".join(f"# {line}\n" for line in origin) + kernel.text)
        operations = "\n  ".join(map(str, origin))
        told = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = " ".join([line for line in told if not line.startswith("Failed in")][:3])
        raise CompileError(
            f"kernel {kernel.name} did not compile: {type(error).__name__}: {said}\n"
            f"its source is in {path}; it comes from\n  {operations}"
        ) from error
    return made.get_pointer_to_function(symbol), made, parts_of(made, symbol)


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
        address, keep, parts = _compile(kernel, origin)
        statistics.compiled += 1
        statistics.seconds += time.perf_counter() - began
        object_cache.write(name, *parts)
        _ready[text] = (address, keep)
        return address


def _quiet() -> None:
    """Wait until no thread is within Numba or LLVM, whose state a forked child takes over."""
    _one.acquire()
    global_compiler_lock.acquire()


def _go_on() -> None:
    global_compiler_lock.release()
    _one.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_quiet, after_in_parent=_go_on, after_in_child=_go_on)

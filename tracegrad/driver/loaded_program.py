"""export and load_program: a compiled function in a file, and again as a function, in a process
that has none of its code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ..codegen.program_file import Unreadable
from ..functions.torch.creation import from_numpy
from ..runtime.cpu.executable import Executable, address
from ..serialization import atomic_file
from ..tracer.mode import mode
from ..tracer.pytree import flatten, unflatten
from ..tracer.tensor.tensor import Tensor, wrap
from .c_export import ENDING, write_shared_object
from .cfunc import CFunc
from .closed import Port, close
from .overlaps import overlap
from .program_archive import Archive, archive_of, packed, prepare, unpacked

Path = str | os.PathLike


def export(fn: Callable, path: Path, args: tuple, fast_math: bool,
           gradient: int | Sequence[int] | None) -> None:
    """Write the program of calls like `fn(*args)` to a file, with its state; if that ends in .so,
    as a shared object with a C header.
    """
    path = os.fsdecode(path)
    closed = close(fn, args, fast_math, gradient, "export", written_out=True)
    if path.endswith(ENDING):
        write_shared_object(closed, path)
    else:
        _write(archive_of(closed), path)


def _write(archive: Archive, path: str) -> None:
    data = packed(archive)
    with atomic_file(path, "export") as file:
        file.write(data)


def load_program(path: Path) -> LoadedProgram:
    """The function that `compiled.export(path, ...)` wrote, which needs none of the code that it
    was made of.

    It is called with tensors or arrays of the same shapes and dtypes, in the same containers, and
    has a state of its own, which goes on from where it was: parameters, states of optimizers and
    of generators. The file holds machine code; load only what you trust.

    Raises FileNotFoundError; RuntimeError for a damaged file, or one that does not run here.

    >>> f = torch.compile(lambda x: (x**2).sum())
    >>> f.export("square.tgp", torch.ones(3))
    >>> g = torch.load_program("square.tgp")
    >>> g(torch.tensor([1.0, 2.0, 3.0]))
    tensor(14.)
    """
    if mode.trace is not None:
        raise RuntimeError("load_program: not allowed inside a compiled function")
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        data = file.read()
    try:
        return _loaded(data)
    except (Unreadable, RuntimeError) as error:
        raise RuntimeError(f"load_program: {path}: {error}") from error


def _loaded(data: bytes) -> LoadedProgram:
    archive = unpacked(data)
    prepare(archive)
    return LoadedProgram(archive)


class LoadedProgram:
    """A function from a file, made by `load_program`."""

    def __init__(self, archive: Archive):
        self._archive = archive
        self._closed = closed = archive.closed
        self.__name__ = closed.name
        self._executable = executable = Executable(closed.program)
        for held in closed.state:
            executable.table[held.slot] = address(held.array)
        set_ = {p.slot for p in (*closed.arguments.ports, *closed.results.ports)}
        set_ |= {held.slot for held in closed.state}
        self._ranges = [byte_bounds(held.array) for held in closed.state if held.array.size]
        self._inside = []  # outputs that nobody sees: gradients of parameters
        for slot, buffer in enumerate(closed.program.buffers):
            if buffer.kind == "output" and slot not in set_:
                self._inside.append(np.empty(buffer.shape, buffer.dtype.storage))
                executable.table[slot] = address(self._inside[-1])

    # ---- calls
    def __call__(self, *args: Any) -> Any:
        """What the function returned for such arguments; its state changes as it did."""
        if mode.trace is not None:
            raise RuntimeError(
                f"{self.__name__}: a loaded program is not called inside a compiled function"
            )
        arrays = self._arrays(args)
        made = [np.empty(p.shape, p.dtype.storage) for p in self._closed.results.ports]
        executable = self._executable
        with executable.lock:
            if executable.busy[0]:
                raise RuntimeError(f"{self.__name__}: called by a signal handler, within a call")
            executable.busy[0] = True
            try:
                pairs = zip(
                    (*self._closed.arguments.ports, *self._closed.results.ports),
                    (*arrays, *made), strict=True,
                )
                for port, array in pairs:
                    executable.table[port.slot] = address(array)
                self._run()
            finally:
                executable.busy[0] = False
        results = iter(made)
        return unflatten(
            [
                wrap(next(results), leaf.dtype) if isinstance(leaf, Port) else leaf
                for leaf in self._closed.results.leaves
            ],
            self._closed.results.structure,
        )

    def _run(self) -> None:
        """Walk; if a signal handler raises in the last walk, the call is completed first."""
        executable, stopped = self._executable, None
        for span in executable.early:
            try:
                wrong = executable.walk(span)
            except BaseException:
                executable.failed()
                raise
            if wrong:
                executable.fail()
        try:
            wrong = executable.walk(executable.whole)
        except BaseException as error:
            if executable.failed():
                raise
            wrong, stopped = 0, error
        if wrong:
            executable.fail()
        for held in self._closed.state:
            if held.taken:
                held.array[1] += held.taken
        if stopped is not None:
            raise stopped

    def _arrays(self, args: tuple) -> list[np.ndarray]:
        """The arrays of a call, if it is like the example."""
        takes = self._closed.arguments
        leaves, structure = flatten(args)
        if structure != takes.structure:
            raise TypeError(
                f"{self.__name__}: it was exported for arguments {takes.structure}, not {structure}"
            )
        arrays = []
        for port, leaf in zip(takes.leaves, leaves, strict=True):
            if isinstance(port, Port):
                arrays.append(self._accepted(port, leaf))
            elif type(leaf) is not type(port) or repr(leaf) != repr(port):
                raise ValueError(
                    f"{self.__name__}: it was exported for {port!r} among the arguments, not "
                    f"{leaf!r}"
                )
        self._refuse_overlap(takes.ports, arrays)
        return arrays

    def _accepted(self, port: Port, leaf: Any) -> np.ndarray:
        what = f"{self.__name__}: argument {port.name!r}"
        if isinstance(leaf, np.ndarray):
            leaf = from_numpy(leaf)
        if not isinstance(leaf, Tensor):
            raise TypeError(f"{what} must be a tensor, not {type(leaf).__name__}")
        if leaf._dtype is not port.dtype or tuple(leaf.shape) != port.shape:
            raise ValueError(
                f"{what} must have dtype {port.dtype} and shape {list(port.shape)}, not "
                f"{leaf._dtype} and {list(leaf.shape)}"
            )
        if leaf._requires_grad and mode.grad:
            raise RuntimeError(
                f"{what} requires grad, and a loaded program has no derivative: detach() it, or "
                "export the function with gradient="
            )
        array = leaf._array
        if port.written and not (array.flags.c_contiguous and array.flags.writeable):
            raise ValueError(f"{what}, which it changes in place, must be contiguous and writable")
        return np.ascontiguousarray(array).reshape(array.shape)

    def _refuse_overlap(self, ports: Sequence[Port], arrays: list[np.ndarray]) -> None:
        """Copy arguments that lie in the state; raise if a written one shares memory."""
        for k, (port, array) in enumerate(zip(ports, arrays, strict=True)):
            begin = address(array)
            end = begin + array.nbytes
            in_state = any(begin < stop and start < end for start, stop in self._ranges)
            others = (b for j, b in enumerate(arrays) if j != k)
            if port.written and (in_state or any(overlap(array, b) for b in others)):
                raise RuntimeError(
                    f"{self.__name__}: argument {port.name!r}, which it changes in place, shares "
                    "memory with another argument or with its state"
                )
            if in_state:
                arrays[k] = array.copy()

    # ---- state
    def state_dict(self) -> dict[str, Tensor]:
        """The state by name, in the program's own memory: parameters and buffers that it uses,
        states and settings of optimizers, generators (seed, and how many numbers were drawn).
        """
        return {held.name: wrap(held.array, held.dtype) for held in self._closed.state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy a state into the program's. All names, shapes and dtypes must be the same: nothing
        is changed otherwise.

        Raises RuntimeError.
        """
        own = self.state_dict()
        missing, unexpected = sorted(own.keys() - state_dict), sorted(state_dict.keys() - own)
        problems = [f"missing {name!r}" for name in missing]
        problems += [f"unexpected {name!r}" for name in unexpected]
        for name in own.keys() & state_dict:
            old, new = own[name], state_dict[name]
            if not isinstance(new, Tensor) or new._array is None:
                problems.append(f"{name!r} is a {type(new).__name__}")
            elif (new.dtype, tuple(new.shape)) != (old.dtype, tuple(old.shape)):
                problems.append(
                    f"{name!r} has dtype {new.dtype} and shape {list(new.shape)}, not {old.dtype} "
                    f"and {list(old.shape)}"
                )
        if problems:
            raise RuntimeError(f"{self.__name__}: load_state_dict: {'; '.join(problems)}")
        copies = {name: np.array(t._array) for name, t in state_dict.items()}
        with self._executable.lock:
            for held in self._closed.state:
                held.array[...] = copies[held.name]

    def save(self, path: Path) -> None:
        """Write the program to a file, with its present state, for `load_program`."""
        with self._executable.lock:
            _write(self._archive, os.fsdecode(path))

    def __reduce__(self) -> tuple:
        """A copy has a state of its own, which goes on from the present one."""
        with self._executable.lock:
            return (_loaded, (packed(self._archive),))

    # ---- as others see it
    def cfunc(self) -> CFunc:
        """The program for C and Numba, which works on the same state."""
        return CFunc(self._closed)

    def source(self) -> str:
        """The generated kernels, as Python."""
        return self._closed.program.source()

    def __repr__(self) -> str:
        names = ", ".join(p.name for p in self._closed.arguments.ports)
        return f"<LoadedProgram {self.__name__}({names})>"



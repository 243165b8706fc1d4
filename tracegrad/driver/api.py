"""`compile`: what users call, and what they can ask of a compiled function.

@tracegrad.compile
def step(x, y):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any, NamedTuple

from ..codegen.program import Program
from ..functions.torch_function import refuse_subclass, subclasses
from ..ir.graph import Graph
from ..nn.module import Module
from ..runtime.cpu.compiler import statistics
from ..tracer.pytree import flatten
from .cfunc import CFunc
from .closed import close
from .compiled_function import CompiledFunction, EagerStep
from .compiler_choice import choose_compiler
from .loaded_program import Path, export as write_program
from .profile import Profile
from .profiler import profile as profile_of
from .program_store import statistics as programs_made
from .replay.function import MISS, Reentered
from .replay.stages import forget_misses, misses
from .report import name_of, summary
from .tuning import Tuned


class CacheInfo(NamedTuple):
    """Counts of a compiled function: calls that an existing program served, traces, and programs
    that are kept.

    >>> f = torch.compile(lambda x: x * 2)
    >>> _ = f(torch.ones(2)), f(torch.zeros(2))
    >>> f.cache_info()
    CacheInfo(hits=1, misses=1, currsize=1)
    """

    hits: int
    misses: int
    currsize: int


def compile(model: Callable | None = None, *, fullgraph: bool = False,
            dynamic: bool | None = None, backend: str = "tracegrad", mode: str | None = None,
            options: dict[str, Any] | None = None, disable: bool = False,
            device: Any = None, fast_math: bool = False) -> Any:
    """Compile a function, a method or a Module: traced once per signature, then replayed as one
    native call.

    Works as a decorator, with or without arguments, and as a call. Inside, torch's names mean what
    they mean eagerly: in-place changes, `.grad`, `backward()` and `optimizer.step()` all become
    part of the program. The result has `explain()`, `graph()`, `source()`, `program()`,
    `cache_info()`; `cfunc()` for C and Numba, and `export()` to a file. `device` may be None or
    'cpu'.

    Programs are specialised to shapes, kernels are not: a new size costs a trace and planning.
    `dynamic=True` says that the sizes of tensor arguments change from call to call. Then they are
    no reason for the warning about many traces; nothing else differs. None and False say that of
    those sizes alone that `mark_dynamic` names. Programs that were not used for longest are
    dropped where there are too many.

    Numbers are computed as they are eagerly: operation by operation, each rounded. Two things may
    differ in the last digits: the order in which reductions and matrix products add up, and
    functions such as exp, which are within a few units in the last place. `fast_math=True` allows
    what holds for real numbers and not for rounded ones, in the function and in its backward:
    regrouped sums and products, reciprocals, fused multiply-adds, either sign of a zero, more
    accurate formulas (log1p for log(1 + x)), and float16 and bfloat16 kept in float32 inside a
    kernel. NaN and infinities are not assumed away, but what overflows on the way eagerly need not
    overflow then. A compiled function that is called inside
    another one is part of that program, and computed as the outer one says.

    torch's other options are taken as well. With `disable`, and with the backends 'eager' and
    'aot_eager', what was given comes back as it is. Other backends of torch, other modes and
    `options` choose among compilers that are not here; they are accepted, with one warning.

    `mode="max-autotune"` times some programs at the first call with new shapes, on copies of its
    arguments, for some ten seconds at most, and keeps the best one, on disk too. They differ in
    what is fused, kept or computed again, and in what threads share, not in what they compute; sums
    may be added up in another order. `explain()` says what was found. Only on the CPU.

    Raises what the function raises; RuntimeError for side effects that cannot be replayed;
    IndexError, with nothing written, for an index out of range.

    >>> @torch.compile
    ... def f(x):
    ...     return (x.sin() ** 2).sum()
    >>> f(torch.zeros(3)), f.cache_info()
    (tensor(0.), CacheInfo(hits=0, misses=1, currsize=1))
    """
    fn = model
    compiles, tune = choose_compiler(backend, mode, options)
    compiles = compiles and not disable
    if fn is None:
        return lambda f: compile(
            f, fullgraph=fullgraph, dynamic=dynamic, disable=not compiles, device=device,
            fast_math=fast_math, mode="max-autotune" if tune else None,
        )
    if not compiles:
        return fn
    if device is not None and str(device) != "cpu":
        raise RuntimeError(
            f"compile: device {device!r} is not available; this build compiles for 'cpu'"
        )
    if isinstance(fn, Module):
        return OptimizedModule(fn, fullgraph, fast_math, dynamic, tune)
    if not callable(fn):
        raise TypeError(f"compile expects a function or a Module, got {type(fn).__name__}")
    return _callable(CompiledFunction(fn, fullgraph, fast_math, dynamic, tune))


def compile_step(step: Callable, pays: Callable[[], bool]) -> Callable:
    """The step of an optimizer, which makes programs where `pays` says so."""
    return _callable(EagerStep(step, pays))


def _callable(state: CompiledFunction) -> Any:
    """The function that a user calls."""
    fn, programs = state.fn, state.programs

    def compiled(*args: Any, **kwargs: Any) -> Any:
        if subclasses:
            for x in flatten((args, kwargs))[0]:
                refuse_subclass(x)
        try:
            entry = programs.fast_entry()
            if entry is not None and not kwargs:
                try_fast_path = entry.tensor_arguments is not None
                result = state.try_fast_path(entry, args) if try_fast_path else entry.replay(args)
                if result is not MISS:
                    return result
                if misses.all:
                    result = state.take_another_way(entry, args)
                    if result is not MISS:
                        return result
            return state.call(args, kwargs)
        except Reentered:  # a signal handler's call, within another one of this thread
            return fn(*args, **kwargs)
        except BaseException:
            forget_misses()
            raise

    update_wrapper(compiled, fn)
    _attach(compiled, state)
    return compiled


_QUERIES = (
    "graph", "source", "program", "cache_info", "explain", "profile", "cfunc", "export",
)


def _attach(compiled: Any, state: CompiledFunction) -> None:
    def graph() -> Graph:
        """The simplified IR graph of the last call's program; printing it gives readable code."""
        return state.latest().low.graph()

    def source() -> str:
        """The generated kernels of the last call's program, as Python."""
        return state.latest().program.source()

    def program() -> Program:
        """The last call's Program: launches, buffers, memory plan."""
        return state.latest().program

    def cache_info() -> CacheInfo:
        """How many calls an existing program served, and how often the function was traced."""
        entries = list(state.programs)
        runs = sum(e.executable.runs for e in entries)
        return CacheInfo(runs - len(entries), state.traces, len(entries))

    def explain() -> str:
        """What was compiled, what was reused, and why the last trace was made."""
        if state.programs.last() is None:
            return f"{name_of(state.fn)}: {state.why}"
        tuned = state.latest().low.tuned
        lines = [
            f"{name_of(state.fn)}: traced {state.traces} time(s); last because: {state.why}",
            f"  {summary(state.latest())}",
            f"  kernels of this process: {statistics.compiled} compiled in "
            f"{statistics.seconds:.2f} s, {statistics.loaded} loaded from the cache",
            f"  programs of this process: {programs_made.lowered} lowered, {programs_made.loaded} "
            "loaded from the cache",
        ]
        lines += [f"  max-autotune: {tuned.words}"] if isinstance(tuned, Tuned) else []
        return "\n".join(lines)

    def profile(*args: Any, runs: int | None = None, **kwargs: Any) -> Profile:
        """The time of each launch of a call with these arguments, with the bytes that it moves and
        its arithmetic, beside what the machine can do; and of a backward from its results. `runs`
        says how often the function is called for that, as always and with a clock, by turns; if
        not, that is about a second. What the calls change is put back at the end: tensors, `.grad`,
        states of optimizers and generators, attributes; and nothing is printed. Without
        arguments, they are like those of the last call.

        Raises what the function raises; RuntimeError if no program serves such calls.
        """
        args = args if args or kwargs else state.last_arguments("profile")
        return profile_of(state, compiled, runs, args, kwargs)

    def cfunc(*args: Any, gradient: int | Sequence[int] | None = None) -> CFunc:
        """The function for C, by a pointer, and for `@numba.njit` code, with dtypes and shapes like
        those of `args`. With `gradient`, it returns the value and the gradient with respect to
        these positional arguments. Without `args`, they are like those of the last call. Traces
        anew, and changes nothing.
        """
        args = args or state.last_arguments("cfunc")
        return CFunc(close(state.fn, args, state.fast_math, gradient, "cfunc"))

    def export(path: Path, *args: Any, gradient: int | Sequence[int] | None = None) -> None:
        """Write the function to a file for `load_program`, with its state, for dtypes and shapes
        like those of `args`; if `path` ends in .so, as a shared object with a C header beside it.
        `gradient` is that of `cfunc`, and so is what is done without `args`. Traces anew, and
        changes nothing.
        """
        args = args or state.last_arguments("export")
        write_program(state.fn, path, args, state.fast_math, gradient)

    functions = graph, source, program, cache_info, explain, profile, cfunc, export
    for name, f in zip(_QUERIES, functions, strict=True):
        setattr(compiled, name, f)
    compiled.tracegrad_state = state


class OptimizedModule(Module):
    """A Module whose forward is compiled; everything else is the original module's."""

    def __init__(self, module: Module, fullgraph: bool, fast_math: bool, dynamic: bool | None,
                 tune: bool = False):
        super().__init__()
        compiled = compile(
            module.__call__, fullgraph=fullgraph, fast_math=fast_math, dynamic=dynamic,
            mode="max-autotune" if tune else None,
        )
        functions = {name: getattr(compiled, name) for name in _QUERIES}
        own = {"forward": compiled, "_options": (fullgraph, fast_math, dynamic, tune), **functions}
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

"""A cell of the sweep: one operation at one size, and its time with each library.

The libraries take turns in one process. A peer whose results are not tracegrad's has no time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

Run = Callable[[], Any]
Clock = Callable[[], float]
BATCH = 200e-6  # seconds: shorter calls are timed several at once
THREADED = 20e-6  # seconds: a longer call may have used threads, which then wait for more ...
SETTLE = 3e-3  # ... and need this long to go to sleep
MOST_ROUNDS = 25
HOPELESS = 10  # times as long as the fastest: measured once


@dataclass(frozen=True)
class Cell:
    row: str  # what is computed
    column: str  # at which size
    torch: Callable[..., Any]  # of torch or tracegrad, and of the tensors
    jax: Callable[..., Any] | None  # of jax and the arrays; None if it has no such function
    arrays: Callable[[], list[np.ndarray]]
    wrt: int = 0  # so many arrays are differentiated, the first ones; 0: no gradient
    exact: bool = True  # results are compared
    rtol: float = 1e-3


@dataclass
class Times:
    """What was measured of a cell, in seconds by library."""

    row: str
    column: str
    least: dict[str, float] = field(default_factory=dict)
    median: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The best peer's least time over tracegrad's."""
        peers = [t for library, t in self.least.items() if library != "tracegrad"]
        ours = self.least.get("tracegrad")
        return min(peers) / ours if peers and ours else None


def normal(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def one(*shape: int) -> Callable[[], list[np.ndarray]]:
    """The arrays of a cell with one argument."""
    return lambda: [normal(*shape)]


def cotangents(results: Any) -> np.ndarray:
    shape = tuple(results[0].shape if isinstance(results, tuple | list) else results.shape)
    return np.random.default_rng(9).uniform(0.5, 1.5, shape)


def first(results: Any) -> Any:
    return results[0] if isinstance(results, tuple | list) else results


def torch_run(T: Any, cell: Cell, arrays: list[np.ndarray]) -> Run:
    tensors = [T.from_numpy(a.copy()) for a in arrays]
    if cell.wrt:
        with T.no_grad():
            c = cotangents(cell.torch(T, *tensors))
        cotangent = T.from_numpy(c).to(tensors[0].dtype)
        leaves = [t.requires_grad_() for t in tensors[: cell.wrt]]

        def call(cotangent: Any, *tensors: Any) -> Any:
            y = first(cell.torch(T, *tensors))
            return y.detach(), *T.autograd.grad(y, tensors[: cell.wrt], cotangent)

        tensors = [cotangent, *leaves, *tensors[cell.wrt :]]
    else:
        def call(*tensors: Any) -> Any:  # type: ignore[misc]
            results = cell.torch(T, *tensors)
            return tuple(results) if isinstance(results, tuple | list) else results

    step = T.compile(call) if T.__name__ == "tracegrad" else call
    return lambda: step(*tensors)


def jax_run(jax: Any, cell: Cell, arrays: list[np.ndarray]) -> Run:
    f = cell.jax
    assert f is not None
    inputs: list[Any] = [jax.numpy.asarray(a) for a in arrays]
    if cell.wrt:
        shape = jax.eval_shape(lambda *a: first(f(jax, *a)), *inputs)
        cotangent = jax.numpy.asarray(cotangents(shape), shape.dtype)

        def call(cotangent: Any, *arrays: Any) -> Any:
            leaves, rest = arrays[: cell.wrt], arrays[cell.wrt :]
            y, back = jax.vjp(lambda *leaves: first(f(jax, *leaves, *rest)), *leaves)
            return y, *back(cotangent)

        inputs = [cotangent, *inputs]
    else:
        def call(*arrays: Any) -> Any:  # type: ignore[misc]
            return f(jax, *arrays)

    step = jax.jit(call)
    return lambda: jax.block_until_ready(step(*inputs))


def numbers(results: Any) -> list[np.ndarray]:
    results = results if isinstance(results, tuple | list) else [results]
    return [np.asarray(r) for r in results]


def differs(ours: Any, theirs: Any, rtol: float) -> str:
    """In which way the results differ; empty if they do not."""
    for k, (a, b) in enumerate(zip(numbers(ours), numbers(theirs), strict=True)):
        if a.shape != b.shape:
            return f"result {k} has the shape {a.shape}, ours {b.shape}"
        finite = np.abs(a[np.isfinite(a)].astype(float))
        if not np.allclose(a, b, rtol, rtol * finite.max(initial=0.0), equal_nan=True):
            return f"result {k} differs"
    return ""


def contestants(cell: Cell, libraries: dict[str, Any], times: Times) -> dict[str, Run]:
    """A call of each library that can do it, and whose results are ours."""
    arrays, runs, results = cell.arrays(), {}, None
    for name, library in libraries.items():
        if name == "jax" and cell.jax is None:
            continue
        try:
            run = (jax_run if name == "jax" else torch_run)(library, cell, arrays)
            theirs = run()
        except Exception as error:  # whoever cannot do it has no time
            times.errors[name] = f"{type(error).__name__}: {error}"[:300]
            continue
        if results is not None and cell.exact:
            if how := differs(results, theirs, cell.rtol):
                times.errors[name] = how
                continue
        results = theirs if results is None else results
        runs[name] = run
    return runs


def seconds_of(run: Run, count: int, clock: Clock) -> float:
    began = clock()
    for _ in range(count):
        run()
    return (clock() - began) / count


def measured(cell: Cell, libraries: dict[str, Any], seconds: float, clock: Clock) -> Times:
    """Times of a cell, from rounds that take about `seconds` altogether."""
    times = Times(cell.row, cell.column)
    runs = contestants(cell, libraries, times)
    if "tracegrad" not in runs or len(runs) < 2:
        return times
    once = {name: min(seconds_of(run, 1, clock) for _ in range(3)) for name, run in runs.items()}
    bound = HOPELESS * min(once.values())
    times.least = {name: t for name, t in once.items() if t > bound}
    runs = {name: run for name, run in runs.items() if once[name] <= bound}
    counts = {name: max(1, round(BATCH / t)) for name, t in once.items()}
    every: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    for turn in range(MOST_ROUNDS):
        if turn >= 2 and time.perf_counter() > end:
            break
        for name in turned(runs, turn):
            if once[name] > THREADED:
                time.sleep(SETTLE)
            runs[name]()  # what lay in the processor's caches was another's
            every[name].append(seconds_of(runs[name], counts[name], clock))
    times.least |= {name: min(t) for name, t in every.items()}
    times.median = {name: median(t) for name, t in every.items()}
    return times


def turned(names: Iterable[str], turn: int) -> list[str]:
    """All of them, another one first at every turn."""
    every = list(names)
    turn %= len(every)
    return every[turn:] + every[:turn]

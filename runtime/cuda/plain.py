"""Kernels for a GPU run in plain Python, on memory of the host: block by block, the threads of a
block in turns, each until the next barrier.

Takes a kernel's text and its launch; knows no driver. A thread is a generator: a call of a builtin
at which threads wait for each other becomes a `yield from`. That all of them come to the same
barrier is checked, as is every access, and shared memory begins with nonsense.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from ...codegen.program import Grid, Kernel, Launch, Slot
from ..cpu import python_executor
from ..cpu.python_executor import Pointers
from .builtins import EXCHANGES, PLAIN, Exchange

_NONSENSE = 0xB5
Waiting = Generator[str, None, Any]


class Place:
    """Which thread of which block runs now: what `cuda` means in a kernel."""

    def __init__(self) -> None:
        self.threadIdx, self.blockIdx = SimpleNamespace(x=0), SimpleNamespace(x=0)
        self.blockDim, self.gridDim = SimpleNamespace(x=1), SimpleNamespace(x=1)
        self.shared = SimpleNamespace(array=self._array)
        self.arrays: list[np.ndarray] = []  # of the block, in the order in which threads ask
        self.asked: list[int] = []
        self.box: list[Any] = []  # what each thread brings to an exchange

    def grid(self, dimensions: int) -> int:
        return self.blockIdx.x * self.blockDim.x + self.threadIdx.x

    def gridsize(self, dimensions: int) -> int:
        return self.blockDim.x * self.gridDim.x

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return a * b + c

    def _array(self, shape: Any, dtype: Any) -> np.ndarray:
        k = self.asked[self.threadIdx.x]
        self.asked[self.threadIdx.x] += 1
        if k == len(self.arrays):
            fresh = np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, _NONSENSE, np.uint8)
            self.arrays.append(fresh.view(dtype).reshape(shape))
        return self.arrays[k]

    def syncthreads(self) -> Waiting:
        yield "syncthreads"

    def exchange(self, name: str, how: Exchange, values: Sequence[Any]) -> Waiting:
        """What a thread gets for its number, when all threads of the block have brought theirs."""
        self.box[self.threadIdx.x] = values[0]
        yield name
        t = self.threadIdx.x
        total = how.together(self.box, t, *values[1:])
        yield name
        return total


class _Waits(ast.NodeTransformer):
    """Calls at which threads wait."""

    def __init__(self) -> None:
        self.some = False

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = ast.unparse(node.func)
        if name == "cuda.syncthreads" or name in EXCHANGES:
            self.some = True
            return ast.YieldFrom(node)
        return node


@cache
def _compiled(kernel: Kernel) -> Any:
    tree = ast.parse(kernel.text)
    waits = _Waits()
    tree = ast.fix_missing_locations(waits.visit(tree))
    return compile(tree, f"<cuda {kernel.name}>", "exec"), waits.some


def _function(kernel: Kernel, place: Place) -> tuple[Callable[..., Any], bool]:
    def waiting(name: str, how: Exchange) -> Callable[..., Waiting]:
        return lambda *values: place.exchange(name, how, values)

    code, waits = _compiled(kernel)
    namespace = dict(PLAIN)
    namespace |= {name: waiting(name, how) for name, how in EXCHANGES.items()}
    namespace["cuda"] = place
    exec(code, namespace)
    return namespace[kernel.name], waits


def run_launch(launch: Launch, pointers: Pointers, pieces: int = 1) -> None:
    """A launch of a program, of so many blocks; one for the host as the CPU does it."""
    if launch.grid is None:
        python_executor.run_launch(launch, pointers, pieces)
        return
    args = [pointers[a.index] if isinstance(a, Slot) else a for a in launch.args]
    run(launch.kernel, args, launch.grid)


def run(kernel: Kernel, args: Sequence[Any], grid: Grid) -> None:
    """A launch. `args` are Pointers and numbers, as the kernel's argument block has them."""
    place = Place()
    function, waits = _function(kernel, place)
    place.blockDim.x, place.gridDim.x = grid.threads, grid.blocks
    with np.errstate(all="ignore"):
        for block in reversed(range(grid.blocks)):
            place.blockIdx.x = block
            place.arrays, place.asked = [], [0] * grid.threads
            place.box = [None] * grid.threads
            if waits:
                _together(place, [function(args) for _ in range(grid.threads)], kernel)
                continue
            for thread in reversed(range(grid.threads)):
                place.threadIdx.x = thread
                function(args)


def _together(place: Place, threads: Sequence[Iterator[str]], kernel: Kernel) -> None:
    """The threads of a block, from barrier to barrier."""
    while True:
        barriers = []
        for t, thread in enumerate(threads):
            place.threadIdx.x = t
            barriers.append(next(thread, None))
        if set(barriers) == {None}:
            return
        if len(set(barriers)) > 1:
            raise RuntimeError(f"{kernel.name}: threads of a block wait at {set(barriers)}")

"""What this machine can do: bytes that it copies per second, from each level of its memory, and
multiply-adds per second in matrix products, by one thread and by all.

Measured with kernels of this library, once, in a few seconds, and kept in the cache folder under
the name of the processor and the number of threads. Whatever is wrong with what is kept, it is
measured again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from ..codegen.build import build
from ..codegen.program import Buffer, Kernel, Launch, Program, Slot
from ..ir.dtype import DType, float32, float64, int64
from ..ir.graph import Graph
from ..ir.node import input_node, intern
from ..ir.ops.contract import dot
from ..ir.progress import progress
from ..runtime.cpu import object_cache
from ..runtime.cpu.executable import Executable, address, aligned
from ..runtime.cpu.threads import wanted

_SIZES = 256, 512  # of square matrices
_SECONDS = 0.15  # of each measurement
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")  # where Linux says how large they are
_USUAL = {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}
_MOST = 256 << 20  # bytes that are copied from memory
_AT_ONCE = 32 << 20  # bytes of one call: threads must be woken up for it
_COPY = """\
    p0 = pointer_f4(args, 0)
    p1 = pointer_f4(args, 1)
    n2 = extent(args, 2)
    for k0 in range(n2):
        for j0 in range(start, stop):
            store_f4(p1, j0, load_f4(p0, j0, 0), 1)
"""


@dataclass(frozen=True)
class Level:
    """A level of memory: how much of it one core has, and the bytes that are read and written per
    second while what is copied lies there.
    """

    name: str
    size: int
    one: float
    all: float


@dataclass(frozen=True)
class Machine:
    """Peak rates. `products` are additions and multiplications per second, by dtype: of one thread
    and of all.
    """

    processor: str
    threads: int
    day: str
    levels: tuple[Level, ...]
    products: dict[str, tuple[float, float]]

    def copy_rate(self, nbytes: int) -> float:
        """Bytes per second of all threads, for what so many bytes lie in."""
        for level in self.levels:
            own = self.threads if level.name in ("L1", "L2") else 1
            if nbytes <= own * level.size:
                return level.all
        return self.levels[-1].all

    def product_rate(self, double: bool) -> float:
        return self.products[("float64" if double else "float32")][1]

    def to_dict(self) -> dict[str, Any]:
        """The rates, in bytes and operations per second."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.processor}, {self.threads} thread(s), measured {self.day}",
                 f"{'':20}{'one thread':>12}{'all threads':>13}"]
        for level in self.levels:
            size = f", {_bytes(level.size)}" if level.size else ""
            name = f"copy in {level.name}{size}"
            lines.append(f"{name:20}{level.one / 1e9:12.1f}{level.all / 1e9:13.1f} GB/s")
        for dtype, (one, every) in self.products.items():
            lines.append(f"product in {dtype:9}{one / 1e9:12.1f}{every / 1e9:13.1f} GFLOP/s")
        return "\n".join(lines)


def _bytes(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count >> 10} KB"


def machine(again: bool = False) -> Machine:
    """The rates of this machine: as they are kept, or measured now, or `again`."""
    name = object_cache.key(f"rates of {wanted()} threads")
    if not again and (parts := object_cache.read(name)) is not None:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            return _decoded(json.loads(parts[0]))
    with progress("measuring this machine"):
        rates = _measured()
    object_cache.write(name, json.dumps(rates.to_dict()).encode())
    return rates


def _decoded(kept: dict[str, Any]) -> Machine:
    levels = tuple(Level(str(x["name"]), int(x["size"]), float(x["one"]), float(x["all"]))
                   for x in kept["levels"])
    products = {d: (float(kept["products"][d][0]), float(kept["products"][d][1]))
                for d in ("float32", "float64")}
    rates = [r for x in levels for r in (x.one, x.all)] + [r for p in products.values() for r in p]
    if not levels or not all(0 < r < 1e18 for r in rates):
        raise ValueError
    return Machine(str(kept["processor"]), int(kept["threads"]), str(kept["day"]), levels, products)


def _measured() -> Machine:
    threads, levels = wanted(), []
    sizes = cache_sizes()
    for name, size in (*sizes.items(), ("memory", 0)):
        own = name in ("L1", "L2")  # which each core has for itself
        whole = size // 2 if size else min(4 * max(sizes.values()), _MOST)
        one = _copied(whole, 1)
        every = one if threads == 1 else _copied(whole * (threads if own else 1), threads)
        levels.append(Level(name, size, one, max(one, every)))
    products = {d.name: _products(d, threads) for d in (float32, float64)}
    day = date.today().isoformat()
    return Machine(object_cache.processor(), threads, day, tuple(levels), products)


def cache_sizes(folder: Path = _CACHES) -> dict[str, int]:
    """Bytes of each level of data caches, smallest first; usual ones where nothing says so."""
    sizes: dict[str, int] = {}
    for index in sorted(folder.glob("index*")):
        with suppress(OSError, ValueError, KeyError):
            level, kind, size = ((index / n).read_text().strip() for n in ("level", "type", "size"))
            if kind != "Instruction":
                sizes[f"L{int(level)}"] = int(size[:-1]) * {"K": 1 << 10, "M": 1 << 20}[size[-1]]
    return dict(sorted(sizes.items())) or _USUAL


def _copied(nbytes: int, threads: int) -> float:
    """Bytes read and written per second, of `nbytes` in all, by so many threads."""
    count = max(nbytes // 8, 16 * threads)  # numbers of four bytes, there and back
    repeats = max(1, _AT_ONCE // nbytes)
    buffers = tuple(Buffer(kind, (count,), float32) for kind in ("input", "output"))
    grain = -(-count // threads) if threads > 1 else 0
    launch = Launch(Kernel("copy", _COPY), (Slot(1), Slot(2), repeats), count, grain)
    program = Program((Buffer("status", (4,), int64), *buffers), (1,), (2,), (launch,), 1, 0)
    memory = [aligned(4 * count) for _ in buffers]
    for one in memory:
        one[:] = 0
    executable = Executable(program)
    for slot, one in enumerate(memory, 1):
        executable.table[slot] = address(one)
    return 8 * count * repeats / _fastest(executable.run)


def _products(dtype: DType, threads: int) -> tuple[float, float]:
    """Additions and multiplications per second of the best square product."""
    one = [_product(dtype, n, True) for n in _SIZES]
    every = [_product(dtype, n, False) for n in _SIZES] if threads > 1 else []
    return max(one), max(one + every)


def _product(dtype: DType, n: int, alone: bool) -> float:
    a, b = (input_node((n, n), dtype, "matrix") for _ in range(2))
    program = build(Graph((a, b), (intern(dot, (a, b), {}),)))
    if alone:
        launches = [Launch(x.kernel, x.args, x.extent, 0) for x in program.launches]
        program = Program(program.buffers, program.inputs, program.outputs, tuple(launches),
                          program.commit, program.arena_bytes)
    executable = Executable(program)
    arrays = [np.ones((n, n), dtype.storage) for _ in range(3)]
    for slot, array in zip((*program.inputs, *program.outputs), arrays, strict=True):
        executable.table[slot] = address(array)
    return 2 * n**3 / _fastest(executable.run)


def _fastest(run: Callable[[], None]) -> float:
    """Seconds of the fastest of some calls."""
    run()
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while True:
        began = time.perf_counter()
        run()
        ended = time.perf_counter()
        best = min(best, ended - began)
        if ended >= end:
            return best

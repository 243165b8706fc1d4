"""A launch of a kernel for the CPU within a program for a GPU: what it touches is copied here and
back. Factorisations run so.
"""

from __future__ import annotations

from ctypes import CFUNCTYPE, c_int64, c_void_p

import numpy as np

from ...codegen.program import Buffer, Launch, Program, Slot, as_word
from ..cpu.compiler import addresses_of
from .gpu import Gpu

_KERNEL = CFUNCTYPE(None, c_void_p, c_int64, c_int64, c_int64)


def reach(buffer: Buffer) -> tuple[int, int]:
    """Where the elements of a buffer begin and end, in bytes from its pointer."""
    if buffer.strides is None or 0 in buffer.shape:
        return 0, buffer.nbytes
    size = buffer.dtype.itemsize
    ends = [(n - 1) * s * size for n, s in zip(buffer.shape, buffer.strides, strict=True)]
    return sum(min(e, 0) for e in ends), sum(max(e, 0) for e in ends) + size


def run_on_host(gpu: Gpu, program: Program, launch: Launch, table: np.ndarray) -> None:
    """`table` has the pointers as they are on the device."""
    buffers, own = program.buffers, np.zeros(len(table), np.int64)
    copies = {}
    for slot in dict.fromkeys(a.index for a in launch.args if isinstance(a, Slot)):
        low, high = reach(buffers[slot])
        data = copies[slot] = np.zeros(max(high - low, 1), np.uint8)
        own[slot] = data.ctypes.data - low
        gpu.read(data[: high - low], int(table[slot]) + low)
    block = np.array([
        own.ctypes.data + 8 * a.index if isinstance(a, Slot) else as_word(a) for a in launch.args
    ], np.int64)
    address = addresses_of({launch.kernel: launch.origin})[launch.kernel]
    _KERNEL(address)(block.ctypes.data, 0, launch.extent, 0)
    for slot, data in copies.items():
        low, high = reach(buffers[slot])
        if buffers[slot].kind != "input" or slot in program.outputs:
            gpu.write(int(table[slot]) + low, data[: high - low])

"""Machine code of kernels for GPUs: from the cache of objects, or else compiled.

`ptxas` makes it, where one is installed; else it is PTX, which the driver translates when it loads
it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ...codegen.program import Kernel
from ...ir import faults
from ..cpu import object_cache
from .driver import Capability
from .numba_cuda import MISSING
from .ptxas import assembled, assembler

# the modules that give the text of kernels its meaning
_MEANING = ("device_functions", "exchanges", "memory", "special_functions", "ptx", "numba_cuda")
_PACKAGES = ("numba-cuda", "numba-cuda-mlir", "nvidia-nvvm", "nvidia-cuda-nvcc")


@cache
def _versions() -> str:
    """Of what compiles."""
    words = []
    for name in _PACKAGES:
        try:
            words.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"{words} {assembler()}"


@cache
def _meaning() -> str:
    texts = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in _MEANING]
    texts.append(Path(faults.__file__).read_bytes())  # numbers that kernels report
    return hashlib.sha256(b"".join(texts)).hexdigest()


def identity(capability: Capability) -> str:
    """What machine code depends on besides the text of its kernel."""
    return f"cuda {capability} {_versions()} {_meaning()}"


def of(kernel: Kernel, capability: Capability) -> bytes:
    """The machine code of a kernel. RuntimeError if nothing is installed that compiles."""
    name = object_cache.key(f"{identity(capability)}\n{kernel.text}")
    parts = object_cache.read(name)
    if parts is not None and len(parts) == 1:
        return parts[0]
    code = _compiled(kernel, capability)
    object_cache.write(name, code)
    return code


def _compiled(kernel: Kernel, capability: Capability) -> bytes:
    try:
        ptx = import_module(f"{__package__}.ptx").ptx_of(kernel, capability)
    except ImportError as error:
        raise RuntimeError(f"{MISSING} ({error})") from error
    if assembler() is None:
        return ptx.encode() + b"\0"
    return assembled(ptx, capability)[0]

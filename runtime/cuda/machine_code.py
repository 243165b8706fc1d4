"""Machine code of kernels for GPUs: from the cache of objects, or else compiled.

`ptxas` makes it, where one is installed; else it is PTX, which the driver translates when it loads
it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ...codegen.program import Kernel
from ...ir import faults
from ..cpu import object_cache
from .compiler import compiled, compiled_beside
from .driver import Capability
from .ptxas import assembler

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
    """A digest of what gives the text of kernels its meaning."""
    texts = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    texts.append(Path(faults.__file__).read_bytes())  # numbers that kernels report
    return hashlib.sha256(b"".join(texts)).hexdigest()


def identity(capability: Capability) -> str:
    """What machine code depends on besides the text of its kernel."""
    return f"cuda {capability} {_versions()} {_meaning()}"


def of(kernels: Iterable[Kernel], capability: Capability) -> dict[Kernel, bytes]:
    """The machine code of kernels. RuntimeError if nothing is installed that compiles."""
    codes = {kernel: _kept(kernel, capability) for kernel in kernels}
    missing = [kernel for kernel, code in codes.items() if code is None]
    beside = compiled_beside(missing, capability)
    for kernel in missing:
        code = codes[kernel] = beside.get(kernel) or compiled(kernel, capability)
        object_cache.write(_name(kernel, capability), code)
    return codes  # type: ignore[return-value]


def _kept(kernel: Kernel, capability: Capability) -> bytes | None:
    """The machine code of a kernel that is in the cache."""
    parts = object_cache.read(_name(kernel, capability))
    return parts[0] if parts is not None and len(parts) == 1 else None


def _name(kernel: Kernel, capability: Capability) -> str:
    return object_cache.key(f"{identity(capability)}\n{kernel.text}")

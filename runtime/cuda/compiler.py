"""Kernels compiled, here or in processes beside this one: Numba takes a second or two for each.

A process is this file, run as a module. It is given kernels on its stdin, and answers with their
machine code when it is done. What it does not compile, for whatever reason, is left to who asked.
"""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from importlib import import_module

from ...codegen.program import Kernel
from ..cpu.compile_processes import processes_for
from .driver import Capability
from .numba_cuda import MISSING
from .ptxas import assembled, assembler

SECONDS = 1.5  # about what a kernel takes
FEW = 4  # kernels that are not worth a process, whose start takes as long


def compiled(kernel: Kernel, capability: Capability) -> bytes:
    """The machine code of a kernel. RuntimeError if nothing is installed that compiles."""
    try:
        ptx = import_module(f"{__package__}.ptx").ptx_of(kernel, capability)
    except ImportError as error:
        raise RuntimeError(f"{MISSING} ({error})") from error
    if assembler() is None:
        return ptx.encode() + b"\0"
    return assembled(ptx, capability)[0]


def compiled_beside(kernels: Sequence[Kernel], capability: Capability) -> dict[Kernel, bytes]:
    """The machine code of some of these kernels."""
    count = 0 if len(kernels) < FEW else processes_for(SECONDS * len(kernels))
    shares = [kernels[k::count] for k in range(min(count, len(kernels)))]
    codes: dict[Kernel, bytes] = {}
    with ExitStack() as stack, suppress(OSError, ValueError, EOFError, TypeError):
        processes = [stack.enter_context(_started()) for _ in shares]
        for process in processes:
            stack.callback(process.kill)
        for process, share in zip(processes, shares, strict=True):
            assert process.stdin is not None
            rows = [(k.template, k.source, k.fast, k.backend) for k in share]
            process.stdin.write(marshal.dumps((capability, rows)))
            process.stdin.close()
        for process, share in zip(processes, shares, strict=True):
            assert process.stdout is not None
            answer = marshal.loads(process.stdout.read())
            codes |= {k: code for k, code in zip(share, answer, strict=True) if code}
    return codes


def _started() -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
    )


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what others print
    capability, rows = marshal.loads(sys.stdin.buffer.read())
    codes = []
    for template, source, fast, backend in rows:
        code = b""
        with suppress(Exception):  # whoever asked compiles it again, and sees why
            code = compiled(Kernel(template, source, None, fast, backend), tuple(capability))
        codes.append(code)
    answers.write(marshal.dumps(codes))
    answers.close()


if __name__ == "__main__":
    _serve()

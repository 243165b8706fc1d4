"""What `ptxas` makes of PTX: machine code, and what it needs of a processor."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .driver import Capability


class Needs(NamedTuple):
    """What a kernel needs: registers of a thread, bytes that it spills, and shared memory."""

    registers: int
    spills: int
    shared: int


@cache
def assembler() -> str | None:
    """The ptxas of the wheel nvidia-cuda-nvcc, or of a toolkit."""
    wheels = Path(sysconfig.get_paths()["purelib"]).glob("nvidia/*/bin/ptxas")
    return next(map(str, wheels), None) or shutil.which("ptxas")


def assembled(ptx: str, capability: Capability) -> tuple[bytes, Needs]:
    """The machine code, and what it needs. RuntimeError if ptxas refuses the text."""
    program = assembler()
    if program is None:
        raise RuntimeError("there is no ptxas; pip install nvidia-cuda-nvcc")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        arch = "sm_{}{}".format(*capability)
        done = subprocess.run([program, f"-arch={arch}", "-v", source, "-o", target],
                              capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"ptxas: {done.stderr}")
        return target.read_bytes(), _needs(done.stderr)


def _needs(report: str) -> Needs:
    def number(pattern: str) -> int:
        return sum(map(int, re.findall(pattern, report)))

    spills = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
    return Needs(number(r"Used (\d+) registers"), spills, number(r"(\d+) bytes smem"))

"""What kernels for GPUs need of a processor: python -m tests.cuda_needs docs/gpu-kernels.md

The kernels are those of the programs of benchmarks/gpu.py. ptxas tells it, without a device; the
packages are numba-cuda[cu13] and nvidia-cuda-nvcc.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import tracegrad
from benchmarks import gpu
from tracegrad.codegen.build import build
from tracegrad.codegen.cuda.backend import CUDA
from tracegrad.codegen.program import Kernel, Program
from tracegrad.driver import lowering, program_store
from tracegrad.ir.simplify import simplify
from tracegrad.runtime.cuda.ptxas import Needs, assembled

PROCESSORS = ((8, 0), (9, 0))
BEGIN, END = "<!-- needs -->", "<!-- end -->"


class Row(NamedTuple):
    """Of the kernels that one template wrote for a program, the most that any needs."""

    program: str
    template: str
    kernels: int
    registers: tuple[int, ...]  # on each processor
    spills: int  # bytes
    shared: int  # bytes of a block

    def __str__(self) -> str:
        registers = " | ".join(map(str, self.registers))
        cells = self.program, self.template, self.kernels, registers, self.spills, self.shared
        return f"| {' | '.join(map(str, cells))} |"


def programs_of(name: str) -> list[tuple[Program, Program]]:
    """The programs of a benchmark: as it runs on the CPU, and as it would be on a GPU."""
    programs = []

    def both(*args, backend, **options) -> Program:
        here, there = (build(*args, **options, backend=b) for b in (backend, CUDA()))
        programs.append((here, there))
        return here

    with (
        patch.object(lowering, "build", both),
        patch.object(program_store, "name_of", lambda text, place: None),  # not from the disk
    ):
        step, batch = gpu.made(tracegrad, name, "cpu")
        tracegrad.compile(step)(*batch)
    tracegrad.set_default_dtype(tracegrad.float32)
    return programs


def kernels_of(programs: Iterable[Program]) -> list[Kernel]:
    """The kernels for the device, each once."""
    every = (kernel for program in programs for kernel in program.kernels)
    return [kernel for kernel in dict.fromkeys(every) if kernel.backend == "cuda"]


def needs_of(kernel: Kernel) -> list[Needs]:
    """On each processor."""
    ptx_of = import_module("tracegrad.runtime.cuda.ptx").ptx_of
    return [assembled(ptx_of(kernel, processor), processor)[1] for processor in PROCESSORS]


def rows_of(name: str, kernels: Iterable[Kernel]) -> Iterator[Row]:
    needs: dict[str, list[list[Needs]]] = {}
    for kernel in kernels:
        needs.setdefault(kernel.template, []).append(needs_of(kernel))
    for template, found in sorted(needs.items()):
        registers = tuple(max(n[k].registers for n in found) for k in range(len(PROCESSORS)))
        spills, shared = (max(getattr(n, what) for both in found for n in both)
                          for what in ("spills", "shared"))
        yield Row(name, template, len(found), registers, spills, shared)


def examples() -> list[Program]:
    """Programs that have all primitives and templates between them."""
    there = import_module("cuda_examples")
    kinds, seen, chosen = there.KINDS, set(), list(there.of_sizes())
    for kind in kinds.values():
        for _, graph, _ in kind():
            operations = {n.op for n in (*graph.order(), *simplify(graph).order())}
            if not operations <= seen or kind is kinds["types"]:
                chosen.append(graph)
            seen |= operations
    return [build(simplify(graph), backend=CUDA()) for graph in chosen]


def versions() -> str:
    """What made the table."""
    names = ("numba-cuda", "nvidia-cuda-nvcc")
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def table(say=print) -> list[str]:
    """The lines of the table, with what they were made with."""
    processors = " | ".join("sm_{}{}".format(*p) for p in PROCESSORS)
    lines = [
        f"Made with {versions()}.", "",
        f"| program | template | kernels | {processors} | spills | shared |",
        f"|---|---|---|{'---|' * len(PROCESSORS)}---|---|",
    ]
    for name in gpu.PROGRAMS:
        programs = [there for _, there in programs_of(name)]
        for row in rows_of(name, kernels_of(programs)):
            say(row)
            lines.append(str(row))
    return lines


def main(argv: list[str]) -> None:
    path = Path(argv[0])
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text("\n".join([before + BEGIN, *table(), END + after]))


if __name__ == "__main__":
    main(sys.argv[1:])

"""A plan as a shared object, which needs neither Python nor this library: kernels, the walk, and
the memory that outlives calls, linked by a C compiler.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache as memo
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np

from ...codegen.program import Kernel
from .compiler import code_generator, compiling
from .loop_rows import LOOP, LOOP_NAME, ROWS, STOPPED
from .machine_code import symbols
from .object_code import Source, optimised
from .serial_call import IDLE, Plan
from .serial_walk import ENTRY, TYPES, WALK

_ELSEWHERE = ("tracegrad_", "NRT_", "Py", "numba")  # symbols that only this process has


# what Numba's functions would do if one raised, which those in kernels never do
_NEVER = "".join(
    f"define ptr @{name}() {{\n  ret ptr null\n}}\n" for name in (
        "PyErr_Clear", "PyErr_SetNone", "PyErr_SetString", "PyErr_WriteUnraisable",
        "PyUnicode_FromString", "Py_DecRef", "Py_IncRef", "numba_gil_ensure", "numba_gil_release",
    )
) + "".join(f"@{name} = global ptr null\n" for name in ("PyExc_StopIteration", "PyExc_SystemError"))
_HERE = {ENTRY, LOOP_NAME, *re.findall(r"@(\w+)", _NEVER)}


class Static(NamedTuple):
    """Memory that outlives calls: its symbol, what is in it at first, and, of a generator, how many
    numbers a call takes.
    """

    symbol: str
    content: bytes
    taken: int


class NotLinked(RuntimeError):
    """There is no shared object of such a program."""


def shared_object(name: str, plan: Plan, static: Sequence[Static]) -> bytes:
    """A shared object with the function `name`, which takes the pointers of a call."""
    compiler = _compiler()
    with tempfile.TemporaryDirectory(prefix="tracegrad-") as folder:
        texts = WALK.replace("$linkage", "") + _loop() + _NEVER, _module(name, plan, static)
        objects = [_compiled(code_generator().source_of(text)) for text in texts]
        objects += [_compiled(_source(kernel)) for kernel in plan.kernels]
        paths = [Path(folder) / f"{k}.o" for k in range(len(objects))]
        for path, code in zip(paths, objects, strict=True):
            path.write_bytes(code)
        (Path(folder) / "state.bin").write_bytes(b"".join(s.content for s in static))
        (Path(folder) / "state.s").write_text(_memory(static))
        exported = "; ".join([name, *(s.symbol for s in static)])
        script, made = Path(folder) / "exported", Path(folder) / "made.so"
        script.write_text(f"{{ global: {exported}; local: *; }};")
        command = [
            *compiler, "-shared", "-o", str(made), *map(str, paths), "state.s", "-lm",
            "-Wl,-z,defs", f"-Wl,--version-script={script}",
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise NotLinked(f"{shlex.join(compiler)} failed: {done.stderr.strip()[-500:]}")
        return made.read_bytes()


def _compiler() -> list[str]:
    """The command that calls a C compiler."""
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(command[0]) is None:
        raise NotLinked(
            f"a shared object needs a C compiler, and there is no {command[0]}: install one, let "
            "CC name it, or export to a file for load_program, with another ending"
        )
    return command


@memo
def _machine(processor: str, features: str) -> Any:
    """The machine to compile for, with code that may lie anywhere."""
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(cpu=processor, features=features, opt=3, reloc="pic")


def _source(kernel: Kernel) -> Source:
    with compiling():
        return code_generator().written(kernel)


def _compiled(source: Source) -> bytes:
    with compiling(), optimised(source) as module:
        code = _machine(source.processor, source.features).emit_object(module)
    needed, _ = symbols(code) or (set(), set())
    if own := sorted(s for s in needed - _HERE if s.startswith(_ELSEWHERE)):
        raise NotLinked(
            f"it uses functions of SciPy or Numba ({', '.join(own)}), which a shared object cannot "
            "have: export to a file for load_program, with another ending"
        )
    return code


def _module(name: str, plan: Plan, static: Sequence[Static]) -> str:
    """The plan, the memory, and the C function, as an LLVM module. Names of its own have a dot."""
    entries = [*map(code_generator().symbol_of, plan.kernels), LOOP_NAME]
    lines = [TYPES, f"declare i32 @{ENTRY}(ptr, ptr, ptr)"]
    lines += [f"declare void @{symbol}(ptr, i64, i64, i64)" for symbol in entries]
    lines += [f"@{s.symbol} = external global i8" for s in static]
    pointers = {word: entries[number] for word, number in plan.entries}
    pointers |= {word: static[number].symbol for word, number in plan.fixed}
    words = [
        f"i64 ptrtoint (ptr @{pointers[k]} to i64)" if k in pointers else f"i64 {word}"
        for k, word in enumerate(plan.template.tolist())
    ]
    lines.append(_array(".template", words))
    lines.append(_array(".relocated", [f"i64 {word}" for word in plan.relocated.tolist()]))
    lines.append(_array(".ranges", [f"i64 {word}" for word in plan.ranges.ravel().tolist()]))
    draws = [
        f"%Draw {{ ptr getelementptr (i64, ptr @{s.symbol}, i64 1), i64 {s.taken} }}"
        for s in static if s.taken
    ]
    lines.append(_array(".drawn", draws, "%Draw"))
    idle = 1 if plan.exclusive else IDLE
    lines.append(f"@.idle = internal global [{idle} x ptr] zeroinitializer")
    fields = (
        plan.bytes, plan.template.nbytes, "@.template", len(plan.relocated), "@.relocated",
        len(plan.ranges), plan.moving, "@.ranges", *plan.rows, len(draws), "@.drawn",
        int(plan.exclusive), 0, idle, "@.idle",
    )
    values = ", ".join(f"ptr {f}" if isinstance(f, str) else f"i64 {f}" for f in fields)
    lines.append(f"@.plan = internal global %Plan {{ {values} }}")
    lines.append(_entry(name, plan.moving))
    return "\n".join(lines)


def _array(name: str, values: Sequence[str], kind: str = "i64") -> str:
    inside = f"[ {', '.join(values)} ]" if values else "zeroinitializer"
    return f"@{name} = internal constant [{len(values)} x {kind}] {inside}"


def _memory(static: Sequence[Static]) -> str:
    """The memory for the assembler, which takes it from a file; LLVM's text takes long to read."""
    lines, start = ['.section .note.GNU-stack,"",%progbits', ".data"], 0
    for symbol, content, _ in static:
        lines += [
            f".globl {symbol}", f".type {symbol}, %object", ".balign 64", f"{symbol}:",
            *([f'.incbin "state.bin", {start}, {len(content)}'] if content else []),
            f".size {symbol}, {len(content)}",
        ]
        start += len(content)
    return "\n".join([*lines, ""])


def _entry(name: str, count: int) -> str:
    """The C function: it hands its pointers to the walk."""
    taken = ", ".join(f"ptr %p{k}" for k in range(count))
    stores = "".join(
        f"  %at{k} = getelementptr ptr, ptr %all, i64 {k}\n  store ptr %p{k}, ptr %at{k}\n"
        for k in range(count)
    )
    return (
        f"define i32 @{name}({taken}) {{\n  %all = alloca [{max(count, 1)} x ptr]\n{stores}"
        f"  %status = call i32 @{ENTRY}(ptr @.plan, ptr %all, ptr null)\n  ret i32 %status\n}}\n"
    )


def _loop() -> str:
    """The kernel of loops, where nobody looks for signals of Python's."""
    text = LOOP.removeprefix(ROWS).replace("$entry", LOOP_NAME).replace("$stopped", str(STOPPED))
    text = re.sub(r"declare i32 @(Py\w+)\(\)", r"define internal i32 @\1() {\n  ret i32 0\n}", text)
    return re.sub(
        r"declare void @(Py\w+)\(i32\)", r"define internal void @\1(i32 %x) {\n  ret void\n}", text
    )


def span_bytes(array: np.ndarray) -> bytes:
    """The memory of an array from its first element to its last, with what lies between."""
    if not array.size:
        return b""
    steps = [s // array.itemsize for s in array.strides]
    span = 1 + sum((n - 1) * s for n, s in zip(array.shape, steps, strict=True))
    flat = np.zeros(span, array.dtype)
    np.lib.stride_tricks.as_strided(flat, array.shape, array.strides)[...] = array
    return flat.tobytes()

"""LLVM's text to object code.

Knows llvmlite alone, so that this file can also be run as a script: then it is a process that
compiles for another one (compile_processes.py), and starts in a twentieth of a second.
"""

from __future__ import annotations

import marshal
import os
import select
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache as memo
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.append(sys.argv[1])  # where llvmlite is, of the version that follows

import llvmlite  # noqa: E402
import llvmlite.binding as llvm  # noqa: E402

ANSWER = struct.Struct("<qq")  # what a process answers: the number of a source, and a length
ASKED = struct.Struct("<qq")  # before a source that it is handed: the same
_IDLE = 60  # seconds after which a process of which nobody wants anything ends


class Source(NamedTuple):
    """What object code is made of."""

    text: str
    processor: str
    features: str
    called: tuple[bytes, ...] = ()  # LLVM's bitcode of functions that the text calls
    # LLVM looks for vectors and unrolls loops; False: these are written out
    loops: bool = True


@memo
def _target(processor: str, features: str) -> tuple[Any, str]:
    """The machine to compile for, and how its numbers lie in memory."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    reloc = "static" if target.name.startswith("x86") else "default"
    machine = target.create_target_machine(
        cpu=processor, features=features, opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )
    return machine, str(machine.target_data)


@contextmanager
def optimised(source: Source) -> Iterator[Any]:
    """The LLVM module of a source, in its final form. It ends before what it lies in: the garbage
    collector might end them in any order, which LLVM does not survive.
    """
    machine, layout = _target(source.processor, source.features)
    with llvm.create_context() as context, llvm.parse_assembly(source.text, context) as module:
        module.triple, module.data_layout = llvm.get_process_triple(), layout
        for code in source.called:
            module.link_in(llvm.parse_bitcode(code, context))
        tuning = llvm.create_pipeline_tuning_options(speed_level=2)
        tuning.loop_vectorization, tuning.slp_vectorization = True, False
        with llvm.create_pass_builder(machine, tuning) as builder:
            passes = builder.getModulePassManager() if source.loops else _short()
            passes.run(module, builder)
        module.verify()
        yield module


def _short() -> Any:
    """The passes that code needs whose vectors and unrolled loops are written out."""
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_loop_rotate_pass()
    passes.add_new_gvn_pass()
    return passes


def object_code(source: Source) -> bytes:
    machine, _ = _target(source.processor, source.features)
    with optimised(source) as module:
        return machine.emit_object(module)


def packed(number: int, source: Source) -> bytes:
    """A source on its way to a process: texts are long and repeat themselves."""
    content = zlib.compress(marshal.dumps(tuple(source)), 1)
    return ASKED.pack(number, len(content)) + content


# ---- as a process of its own
def _received(size: int) -> bytes:
    """The next bytes; EOFError where there are no more, or none come."""
    content = b""
    while len(content) < size:
        ready, _, _ = select.select([0], [], [], _IDLE)
        new = os.read(0, size - len(content)) if ready else b""
        if not new:
            raise EOFError
        content += new
    return content


def _sent(content: bytes) -> None:
    while content:
        content = content[os.write(0, content) :]


def _serve() -> None:
    """Answer each source with its object code, or with nothing if it cannot be compiled."""
    while True:
        number, size = ASKED.unpack(_received(ASKED.size))
        source = Source(*marshal.loads(zlib.decompress(_received(size))))
        try:
            code = object_code(source)
        except Exception:  # whoever asked will see it himself, and say where it comes from
            code = b""
        _sent(ANSWER.pack(number, len(code)) + code)


if __name__ == "__main__" and llvmlite.__version__ == sys.argv[2]:
    with suppress(EOFError, OSError):
        _serve()

"""A Closed as a shared object and a C header beside it."""

from __future__ import annotations

import sys

from ..runtime.cpu.serial_call import plan_of
from ..runtime.cpu.shared_object import NotLinked, Static, shared_object, span_bytes
from ..serialization import atomic_file
from .c_names import identifiers
from .cfunc import CFunc, c_type, prototype
from .closed import Closed, Held

ENDING = ".so"


def write_shared_object(closed: Closed, path: str) -> None:
    """Write `path`, and the header beside it. RuntimeError if that cannot be had."""
    if sys.byteorder != "little" or not sys.platform.startswith("linux"):
        raise RuntimeError(f"export: shared objects are made on Linux; end {path!r} otherwise")
    ports = closed.arguments.ports, closed.results.ports
    plan = plan_of(
        closed.program, [p.memory() for several in ports for p in several],
        [held.memory() for held in closed.state], closed.stateful,
    )
    names = identifiers((f"{closed.name}_{h.name}" for h in closed.state), {closed.name})
    static = [
        Static(name, span_bytes(held.array), held.taken)
        for name, held in zip(names, closed.state, strict=True)
    ]
    try:
        code = shared_object(closed.name, plan, static)
    except NotLinked as error:
        raise RuntimeError(f"export: {path}: {error}") from None
    header = _header(closed, names)
    with atomic_file(path, "export") as file:
        file.write(code)
    with atomic_file(path.removesuffix(ENDING) + ".h", "export") as file:
        file.write(header.encode())


def _header(closed: Closed, names: list[str]) -> str:
    guard = f"TRACEGRAD_{closed.name.upper()}_H"
    status = "".join(f"     {code}: {words}\n" for code, words in CFunc.STATUS.items())
    lines = [
        f"/* {closed.name}, made by tracegrad. bfloat16 and float16 are given by their bits. */",
        f"#ifndef {guard}\n#define {guard}\n\n#include <stdbool.h>\n#include <stdint.h>\n",
        '#ifdef __cplusplus\nextern "C" {\n#endif\n',
        f"/* Returns\n{status}   Threads may call it at the same time.",
        *(f"   {p.name}: shape {list(p.shape)}" for p in closed.arguments.ports),
        *(f"   {p.name}: shape {list(p.shape)}, written" for p in closed.results.ports),
        "*/",
        prototype(closed.name, closed.arguments.ports, closed.results.ports) + ";\n",
    ]
    if closed.state:
        lines.append("/* The state, from which each call starts" + (
            ", and which it changes */" if closed.stateful else " */"
        ))
    lines += map(_extern, closed.state, names)
    lines.append("\n#ifdef __cplusplus\n}\n#endif\n#endif\n")
    return "\n".join(lines)


def _extern(held: Held, name: str) -> str:
    """The declaration of a part of the state; one that is no plain array is told by its strides."""
    extents = "".join(f"[{n}]" for n in held.array.shape)
    note = f"  /* {held.name} */"
    if not held.array.flags.c_contiguous or not held.array.size:
        strides = [s // held.array.itemsize for s in held.array.strides]
        extents = "[]"
        note = f"  /* {held.name}: shape {list(held.array.shape)}, strides {strides} */"
    return f"extern {c_type(held.dtype)} {name}{extents};{note}"

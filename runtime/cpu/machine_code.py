"""Machine code from an object file into this process, by LLVM alone: Numba's way parses a second
copy of the code first, and takes ten times as long.

LLVM ends the process if an object needs a symbol that is not there, and takes the first of two
functions of one name. So symbols are looked at before.
"""

from __future__ import annotations

import struct
from functools import cache as memo
from typing import Any

import llvmlite.binding as llvm

# of ELF files of 64 bits
_MAGIC = b"\x7fELF\2\1"
_HEADER = struct.Struct("<40xQ10xHH")  # where the headers of sections begin, their size and number
_SECTION = struct.Struct("<4xI16xQQI")  # type, begin, size, and another section: of the names
_SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, section, ...
_TABLE = 2  # the type of the table of symbols
_defined: set[str] = set()  # by the objects in the shared engine


def _new_engine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly("")
    module.triple = llvm.get_process_triple()
    target = llvm.Target.from_triple(module.triple)
    return llvm.create_mcjit_compiler(module, target.create_target_machine())


_shared = memo(_new_engine)
_others: list[Any] = []  # engines of one object each; machine code lives as long as the process


def _object(code: bytes) -> Any:
    """An object file as LLVM sees it, which asks no questions."""
    made: Any = llvm.ObjectFileRef.from_data(code)
    if not made._ptr:
        made.detach()
        raise ValueError("this is no object file")
    return made


def symbols(code: bytes) -> tuple[set[str], set[str]] | None:
    """The symbols that an object takes from elsewhere, and those that it has for others; None if
    this is another kind of file.
    """
    if not code.startswith(_MAGIC):
        return None
    begin, size, count = _HEADER.unpack_from(code)
    sections = [_SECTION.unpack_from(code, begin + k * size) for k in range(count)]
    needed, defined = set[str](), set[str]()
    for kind, start, length, link in sections:
        if kind == _TABLE:
            names = sections[link][1]
            for at, info, _, section, _, _ in _SYMBOL.iter_unpack(code[start : start + length]):
                if at and info >> 4:  # not a local one
                    end = code.index(b"\0", names + at)
                    (defined if section else needed).add(code[names + at : end].decode())
    return needed, defined


def load(code: bytes, symbol: str, unseen: bool = False) -> int | None:
    """The address of a function of an object file. None if it needs what is not there, or if what
    it needs cannot be told, unless that is to be loaded `unseen`.
    """
    engine, found, object_file = _shared(), symbols(code), _object(code)
    if found is None and not unseen:
        return None
    needed, defined = found or ((), None)
    if not all(map(llvm.address_of_symbol, needed)):
        return None
    if defined is not None and _defined.isdisjoint(defined):
        _defined.update(defined)
    else:
        engine = _new_engine()
        _others.append(engine)
    engine.add_object_file(object_file)
    engine.finalize_object()
    return engine.get_function_address(symbol) or None


def assembled(text: str, symbol: str) -> int:
    """The address of a function of an LLVM module, which is compiled as it stands."""
    engine = _new_engine()
    _others.append(engine)
    module = llvm.parse_assembly(text)
    module.verify()
    engine.add_module(module)
    engine.finalize_object()
    return engine.get_function_address(symbol)

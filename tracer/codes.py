"""What a function's code says about what it reads: names of globals and of attributes.

Names that only exist at run time (`eval`, `globals()`, `getattr` with a computed name) are not in
the code; it says that they may be read, and then a whole namespace counts.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

_FIXED = sys.stdlib_module_names | {"tracegrad", "numpy", "numba", "scipy"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"}
_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"}
_ANY_GLOBAL = {"globals", "eval", "exec", "locals", "vars", "dir"}
_ANY_ATTRIBUTE = {"getattr", "hasattr", "vars", "dir", "attrgetter", "methodcaller", "getmembers"}
_KIND = {"type", "is_tensor", "Tensor"}  # tell a Scalar from a number, or may


class Reads(NamedTuple):
    """Names that a code may read: of globals, of attributes, of modules that it imports; whether it
    may read any global, any attribute, and whether it asks what type a value is.
    """

    globals: tuple[str, ...]
    attributes: frozenset[str]
    imports: frozenset[str]
    any_global: bool
    any_attribute: bool
    asks_type: bool


@cache
def fixed(module: str) -> bool:
    """Whether a module is one that does not change while a program runs: of Python, of a package
    that is installed, or ours.
    """
    if module == "__main__":
        return False
    if module.split(".")[0] in _FIXED:
        return True
    where = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" in where or "dist-packages" in where


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


@cache
def reads(code: CodeType) -> Reads:
    spaces: dict[str, None] = {}
    attributes: set[str] = set()
    imports: set[str] = set()
    for part in _codes(code):
        for instruction in dis.get_instructions(part):
            name = instruction.argval
            if instruction.opname in _ATTRIBUTES:
                attributes.add(name)
            elif instruction.opname == "IMPORT_NAME":
                imports.add(name)
            elif instruction.opname in _GLOBALS and name.isidentifier():
                spaces[name] = None  # other names are not the user's: pytest rewrites `assert`
        attributes.update(c for c in part.co_consts if isinstance(c, str) and c.isidentifier())
    named = attributes | spaces.keys()
    return Reads(
        tuple(spaces), frozenset(attributes), frozenset(imports), bool(_ANY_GLOBAL & spaces.keys()),
        bool(_ANY_ATTRIBUTE & named), bool(_KIND & named),
    )  # fmt: skip


def line_of(function: FunctionType, name: str) -> int | None:
    """The first line of a function where a name is used."""
    for part in _codes(function.__code__):
        line = part.co_firstlineno
        for instruction in dis.get_instructions(part):
            line = instruction.starts_line if type(instruction.starts_line) is int else (
                getattr(instruction, "line_number", None) or line)  # fmt: skip
            if instruction.argval == name:
                return line
    return None


def where(function: Any, name: str) -> str:
    """', line FILE:N' of that place, in words; empty where it is not known."""
    line = line_of(function, name)
    return "" if line is None else f"{Path(function.__code__.co_filename).name}:{line}"

"""The names of globals and attributes that the code of a function may read.

Names that exist only at run time (`eval`, `globals()`, `getattr` with a computed name) are not in
the code. If it uses such functions, all names count.
"""

from __future__ import annotations

import dis
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import NamedTuple

_LIBRARIES = {"tracegrad", "numpy", "numba", "scipy"}
_STDLIB = sysconfig.get_path("stdlib")
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"}
_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"}
_ANY_GLOBAL = {"globals", "eval", "exec"}
_ANY_ATTRIBUTE = {"vars", "dir", "attrgetter", "methodcaller", "getmembers"}
_BY_NAME = {"getattr", "hasattr"}  # any attribute, unless the name is a literal
_NO_OTHERS = (None, True, False, ..., "__class__")  # `is` with these does not depend on a number
_MATCHES = {"MATCH_MAPPING", "MATCH_SEQUENCE"}  # they read the flags of a type


def _written_out(after: list[dis.Instruction]) -> bool:
    """Whether a call that begins here has a string literal among its arguments, and no computed
    string.
    """
    has_text = False
    for instruction in after:
        if instruction.opname.startswith("CALL"):
            return has_text
        if instruction.opname.startswith(("BINARY_OP", "FORMAT", "BUILD", "CONVERT")):
            return False
        has_text |= instruction.opname == "LOAD_CONST" and isinstance(instruction.argval, str)
    return False


def _chain(before: list[dis.Instruction]) -> tuple[str, ...] | None:
    """The global and the attributes that the last of these instructions load; None if they load
    something else.
    """
    names: list[str] = []
    for instruction in reversed(before):
        if instruction.opname not in ("LOAD_GLOBAL", "LOAD_ATTR"):
            return None
        names.insert(0, instruction.argval)
        if instruction.opname == "LOAD_GLOBAL":
            return tuple(names)
    return None


class Reads(NamedTuple):
    """Names that code may read: of globals, of attributes, of imported modules; whether it may read
    any global, any attribute; whether it uses the type or the identity of a value; the globals,
    with attributes, that it compares by `is`.
    """

    globals: tuple[str, ...]
    attributes: frozenset[str]
    imports: frozenset[str]
    any_global: bool
    any_attribute: bool
    asks_type: bool
    asks_identity: bool
    compared: frozenset[tuple[str, ...]]


@cache
def fixed(module: str) -> bool:
    """Whether a module is not expected to change: one of Python, of an installed package, or of
    this library.
    """
    first = module.split(".")[0]
    if module == "__main__" or first in _LIBRARIES:
        return first in _LIBRARIES
    where = getattr(sys.modules.get(module), "__file__", None)
    if not where:  # a built-in module, or one that the user made at run time
        return first in sys.stdlib_module_names
    return where.startswith(_STDLIB) or "site-packages" in where or "dist-packages" in where


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
    computed = identity = False
    compared: set[tuple[str, ...]] = set()
    for part in _codes(code):
        instructions = list(dis.get_instructions(part))
        for k, instruction in enumerate(instructions):
            name = instruction.argval
            computed |= name in _BY_NAME and not _written_out(instructions[k + 1 :])
            if instruction.opname == "IS_OP":
                if (names := _chain(instructions[:k])) is not None:
                    compared.add(names)
                elif instructions[k - 1].argval not in _NO_OTHERS:
                    identity = True
            identity |= instruction.opname in _MATCHES
            if instruction.opname in _ATTRIBUTES:
                attributes.add(name)
            elif instruction.opname == "IMPORT_NAME":
                imports.add(name)
            elif instruction.opname in _GLOBALS and name.isidentifier():
                spaces[name] = None  # pytest adds other names when it rewrites `assert`
        attributes.update(c for c in part.co_consts if isinstance(c, str) and c.isidentifier())
    named = attributes | spaces.keys()
    return Reads(
        tuple(spaces), frozenset(attributes), frozenset(imports), bool(_ANY_GLOBAL & spaces.keys()),
        computed or bool(_ANY_ATTRIBUTE & named), "type" in named, identity,
        frozenset(compared),
    )


def may_be_plain(space: dict, names: tuple[str, ...]) -> bool:
    """Whether the value of such a global, with attributes, may be a number or a container."""
    value = space.get(names[0])
    for name in names[1:]:
        if not isinstance(value, (type, ModuleType)):
            return True
        value = getattr(value, name, None)
    return type(value) in (int, float, list, dict, set, deque)


def _line_of(function: FunctionType, name: str, changed: bool) -> int:
    """The first line of a function that uses a name or, with `changed`, that changes its value; 0
    if there is none.
    """
    for part in _codes(function.__code__):
        line: int | None = part.co_firstlineno
        used = 0
        for instruction in dis.get_instructions(part):
            line = instruction.positions.lineno if instruction.positions else line
            if instruction.argval == name:
                used = line or 0
                if not changed or instruction.opname in _STORES:
                    return used
            elif used and line == used and (
                instruction.argval in _CHANGING or instruction.opname in _STORES
            ):
                return used
    return 0


_STORES = {"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_ATTR", "DELETE_ATTR"}
_CHANGING = {"append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse", "add",
             "discard", "update", "popitem", "setdefault", "appendleft", "popleft", "normal",
             "setattr", "delattr", "fill", "put"}


def where(functions: list[FunctionType], label: str, changed: bool = False) -> str:
    """The line, FILE:N, where one of the functions uses, or changes, the name that is quoted in
    `label`; empty if there is none.
    """
    for name in reversed(label.split("'")[1::2]):
        for f in functions:
            if line := _line_of(f, name, changed):
                return f"{Path(f.__code__.co_filename).name}:{line}"
    return where(functions, label) if changed else ""

"""What a function's code says about what it reads: names of globals and of attributes.

Names that only exist at run time (`eval`, `globals()`, `getattr` with a computed name) are not in
the code; it says that they may be read, and then a whole namespace counts.
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
_BY_NAME = {"getattr", "hasattr"}  # any attribute, unless the name is written out
_NO_OTHERS = (None, True, False, ..., "__class__")  # compared by `is`, tell of no number
_MATCHES = {"MATCH_MAPPING", "MATCH_SEQUENCE"}  # look at the flags of a type


def _written_out(after: list[dis.Instruction]) -> bool:
    """Whether a call that begins here has a text among its arguments, and computes none."""
    found = False
    for instruction in after:
        if instruction.opname.startswith("CALL"):
            return found
        if instruction.opname.startswith(("BINARY_OP", "FORMAT", "BUILD", "CONVERT")):
            return False
        found |= instruction.opname == "LOAD_CONST" and isinstance(instruction.argval, str)
    return False


def _chain(before: list[dis.Instruction]) -> tuple[str, ...] | None:
    """The names by which the last of these instructions reach into a global; None if they do not.
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
    """Names that a code may read: of globals, of attributes, of modules that it imports; whether it
    may read any global, any attribute; whether it asks what type a value is, or which object; and
    with what global, by its name and names of attributes, it compares by `is`.
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
    """Whether a module is one that does not change while a program runs: of Python, of a package
    that is installed, or ours.
    """
    first = module.split(".")[0]
    if module == "__main__" or first in _LIBRARIES:
        return first in _LIBRARIES
    where = getattr(sys.modules.get(module), "__file__", None)
    if not where:  # built into Python, or made by the user at run time
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
                spaces[name] = None  # other names are not the user's: pytest rewrites `assert`
        attributes.update(c for c in part.co_consts if isinstance(c, str) and c.isidentifier())
    named = attributes | spaces.keys()
    return Reads(
        tuple(spaces), frozenset(attributes), frozenset(imports), bool(_ANY_GLOBAL & spaces.keys()),
        computed or bool(_ANY_ATTRIBUTE & named), "type" in named, identity,
        frozenset(compared),
    )


def may_be_plain(space: dict, names: tuple[str, ...]) -> bool:
    """Whether what such names reach from a module's globals may be a number or a container."""
    found = space.get(names[0])
    for name in names[1:]:
        if not isinstance(found, (type, ModuleType)):
            return True
        found = getattr(found, name, None)
    return type(found) in (int, float, list, dict, set, deque)


def _line_of(function: FunctionType, name: str, changed: bool) -> int:
    """The first line of a function where a name is used or, with `changed`, where what it stands
    for is changed; 0 where there is none.
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


def where(functions: list[FunctionType], words: str, changed: bool = False) -> str:
    """The line, FILE:N, where one of the functions uses, or changes, what stands in quotes in
    `words`; empty where there is none.
    """
    for name in reversed(words.split("'")[1::2]):
        for f in functions:
            if line := _line_of(f, name, changed):
                return f"{Path(f.__code__.co_filename).name}:{line}"
    return where(functions, words) if changed else ""

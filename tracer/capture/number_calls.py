"""Calls of `float` and `int` in the code of a user, which may give a Scalar during a trace.

Python demands a true number of `__float__`, of whose use nothing is seen. So while a function is
traced, its code calls a stand-in where it names the built-in: `float(loss)` then is what
`loss.item()` is. Code that names the built-in otherwise (`isinstance(x, float)`) stays as it is.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from functools import lru_cache
from operator import is_
from types import CodeType, FunctionType
from typing import Any

from ..mode import mode
from ..tensor.tensor import Tensor
from .object_kinds import builtins_of
from .scalar import Scalar, apply

_LOAD = dis.opmap["LOAD_GLOBAL"]
_CONSTANT, _EXTENDED = dis.opmap["LOAD_CONST"], dis.opmap["EXTENDED_ARG"]
_NULL, _NOTHING, _CACHE = dis.opmap["PUSH_NULL"], dis.opmap["NOP"], dis.opmap["CACHE"]
_NULL_FIRST = sys.version_info < (3, 13)


def _stand_in(kind: type) -> Callable:
    name = f"__{kind.__name__}__"

    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and mode.trace is not None:
            (x,) = args
            if isinstance(x, Tensor) and getattr(type(x), name) is getattr(Tensor, name):
                if x.numel() == 1:
                    args = (x.item(),)
            if type(args[0]) is Scalar:
                s = args[0]
                return s if type(s._value) is kind else apply(kind, s)
        return kind(*args, **kwargs)

    call.__name__ = kind.__name__
    return call


_STAND_INS = {kind.__name__: _stand_in(kind) for kind in (float, int)}
_BUILTINS = {"float": float, "int": int}


def with_stand_ins(f: FunctionType) -> CodeType:
    """The code of a function with its calls of these built-ins exchanged."""
    names = builtins_of(f.__globals__)
    return _exchanged(f.__code__, f.__code__.co_filename, frozenset(
        name for name, kind in _BUILTINS.items()
        if name not in f.__globals__ and names.get(name) is kind
    ))


@lru_cache(1000)
def _exchanged(code: CodeType, file: str, names: frozenset[str]) -> CodeType:
    """Code of two files may be equal to Python, but errors and warnings name the file."""
    constants = [
        _exchanged(c, file, names) if isinstance(c, CodeType) else c for c in code.co_consts
    ]
    text = bytearray(code.co_code)
    for name in names.intersection(code.co_names):
        calls = [i.offset for i in dis.get_instructions(code)
                 if i.opcode == _LOAD and i.argval == name and i.arg is not None and i.arg & 1]
        if calls:
            load = _load(len(constants))
            constants.append(_STAND_INS[name])
            for offset in calls:
                _replace(text, offset, load)
    if len(constants) == len(code.co_consts) and all(map(is_, constants, code.co_consts)):
        return code
    return code.replace(co_code=bytes(text), co_consts=tuple(constants))


def _replace(text: bytearray, offset: int, load: bytes) -> None:
    """Put other instructions in the place of one, with its cache, which takes more room."""
    end = offset + 2
    while text[end] == _CACHE:
        end += 2
    while text[offset - 2] == _EXTENDED:
        offset -= 2
    text[offset:end] = load + bytes([_NOTHING, 0]) * ((end - offset - len(load)) // 2)


def _load(number: int) -> bytes:
    """Instructions that load a constant to call it."""
    load = [_CONSTANT, number & 255]
    if number > 255:
        load = [_EXTENDED, number >> 8, *load]
    return bytes([_NULL, 0, *load] if _NULL_FIRST else [*load, _NULL, 0])

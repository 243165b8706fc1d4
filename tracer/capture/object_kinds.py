"""Kinds of Python objects: atoms, containers, tools of libraries, objects of users, and the parts
of callables and views.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from argparse import Namespace
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Iterator
from functools import cached_property, partial, partialmethod
from types import (
    BuiltinMethodType,
    CodeType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from ...ir.dtype import DType
from . import code_names
from .locations import PLAIN
from .scalar import Scalar
from .unread import Unread

# values that refer to no other objects
_ATOMS = frozenset((*PLAIN, np.dtype, CodeType, BuiltinMethodType, type(Ellipsis), slice, range,
                    type(NotImplemented), DType, Scalar, Unread))
CONTAINERS = (list, tuple, dict, deque)
_VIEWS: tuple[type, ...] = (MappingProxyType, type({}.keys()), type({}.values()), type({}.items()))
# classes of the standard library whose objects hold values of the user
HOLDERS = (Namespace, SimpleNamespace, UserDict, UserList, ChainMap, threading.local, os._Environ,
           WeakKeyDictionary, WeakValueDictionary)
# packages of the standard library whose objects threads share
BETWEEN_THREADS = frozenset(("asyncio", "concurrent", "queue", "threading"))
HIDDEN = {"__dict__", "__class__", "__weakref__", "__doc__", "__module__"}
_OURS = ("tracegrad.nn", "tracegrad.optim", "tracegrad.utils")  # users change their objects
HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: not a static type of C


def is_atom(value: Any) -> bool:
    return type(value) in _ATOMS or isinstance(value, np.generic)


def is_users(value: Any, cls: type, package: str, reports: tuple[type, ...]) -> bool:
    """Whether a value belongs to the user's program, and is no tool of a library."""
    if package == "tracegrad":
        return isinstance(value, reports) or cls.__module__.startswith(_OURS)
    if package in ("numpy", "numba"):
        return False
    return True


def builtins_of(space: dict) -> Any:
    builtins = space.get("__builtins__", ())
    return vars(builtins) if isinstance(builtins, ModuleType) else builtins


def attributes_of(value: Any) -> dict | None:
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None


def slots_of(cls: type) -> Iterator[tuple[str, Any]]:
    for one in cls.__mro__:
        for name, member in vars(one).items():
            if isinstance(member, MemberDescriptorType) and not code_names.fixed(one.__module__):
                yield name, member


def parts_of(value: Any) -> tuple | None:
    """The parts of a callable, a view or a descriptor; None for other objects."""
    if isinstance(value, MethodType):
        return (value.__self__, value.__func__)
    if isinstance(value, (partial, partialmethod)):
        return (value.func, value.args, value.keywords)
    if isinstance(value, (staticmethod, classmethod)):
        return (value.__func__,)
    if isinstance(value, property):
        return (value.fget, value.fset)
    if isinstance(value, cached_property):
        return (value.func,)
    return tuple(gc.get_referents(value)) if isinstance(value, _VIEWS) else None


def asked_by_us() -> bool:
    """Whether code of this library is reading the attribute."""
    frame = sys._getframe(4)  # attribute, noted, __getattribute__
    return frame.f_globals.get("__name__", "").startswith("tracegrad.")

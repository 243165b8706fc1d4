"""Impure functions of Python and NumPy: their result differs at each call, or they have side
effects.

During a trace they are exchanged for functions that raise, with the user's line: a program would
keep the first result, or leave the effect out. Only the thread that traces is concerned. `print`
and warnings are different: they are noted, and happen at each call.
"""

from __future__ import annotations

import builtins
import datetime
import io
import logging
import math
import mmap
import os
import queue
import random
import secrets
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, update_wrapper
from typing import Any

import numpy as np

from ...ir.node import Site
from .code_names import fixed
from .scalar import MATH, Scalar, ScalarLog
from .shown import show_later
from .texts import printing
from .unread import Unread

_PASS = "call it outside and pass the value as an argument"
_LATER = "do it outside of the compiled function"


def _names(module: Any, text: str) -> list[tuple[Any, str]]:
    return [(module, name) for name in text.split() if hasattr(module, name)]


def _functions(module: Any, without: tuple[str, ...]) -> list[tuple[Any, str]]:
    return [(module, name) for name in module.__all__
            if name[0].islower() and name not in without and callable(getattr(module, name))]


# (module, name) -> what to do instead of calling it in a trace
_REFUSED: dict[tuple[Any, str], str] = {
    **dict.fromkeys([
        *_names(time, "time time_ns perf_counter perf_counter_ns monotonic monotonic_ns "
                      "process_time process_time_ns thread_time thread_time_ns clock_gettime "
                      "localtime gmtime ctime"),
        *_names(os, "urandom getrandom listdir scandir stat read"),
        *_names(secrets, "token_bytes token_hex token_urlsafe randbelow randbits choice"),
        *_names(uuid, "uuid1 uuid4"),
        *_names(threading, "current_thread get_ident get_native_id active_count enumerate"),
        *_names(builtins, "open input"), *_names(io, "open"),
    ], _PASS),
    **dict.fromkeys([
        *_names(time, "sleep"), *_names(os, "write remove unlink mkdir makedirs rename system"),
        *_names(logging.Logger, "_log"),
    ], _LATER),
    **dict.fromkeys([*_functions(random, ()), *_functions(np.random, ("default_rng",))],
        "draw from tracegrad's own generators, which compiled functions replay, or " + _PASS),
}
# random unless they get a seed
_UNSEEDED = [
    (random, "Random"), (np.random, "default_rng"), (np.random, "RandomState"),
    (np.random, "SeedSequence"), (np.random, "PCG64"), (np.random, "MT19937"),
    (np.random, "Philox"), (np.random, "SFC64"),
]
# clocks in classes and modules that cannot be exchanged, with the names that read them
_NOW = {"now", "utcnow", "today"}
CLOCKS: dict[Any, set[str]] = {datetime: _NOW, datetime.datetime: _NOW, datetime.date: {"today"}}
# objects of which every use is a side effect
ACTING: dict[type, str] = {
    io.IOBase: "a file, which each call would read from or write to",
    queue.Queue: "a queue, which each call would change",
    queue.SimpleQueue: "a queue, which each call would change",
    mmap.mmap: "a file in memory, which others may change",
}
_IDS = {id(getattr(m, n)): n for m, n in _REFUSED if hasattr(getattr(m, n), "__name__")}


def refused(value: Any) -> str | None:
    """The name of `value`, if it is a function that is refused."""
    return _IDS.get(id(value))


def _call(module: Any, name: str) -> str:
    where = getattr(module, "__name__", "")
    return f"{name}()" if module is builtins else f"{where}.{name}()"


def _line() -> Site | None:
    """The user's line, also where a function of Python's library is in between."""
    frame: Any = sys._getframe(2)
    while frame is not None and fixed(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return None if frame is None else Site(frame.f_code.co_filename, frame.f_lineno)


def _refusing(module: Any, name: str, instead: str, on: Callable, refuse: Callable) -> Callable:
    original = getattr(module, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if not on():
            return original(*args, **kwargs)
        refuse(
            f"{_call(module, name)} was called while a function was compiled, line {_line()}: "
            f"what it does or returns is another at each call; {instead}"
        )
        return original(*args, **kwargs)

    return update_wrapper(call, original, assigned=("__name__", "__doc__", "__module__"),
                          updated=())


class _Seeded(type):
    """A class whose objects can be made with a seed alone, and that otherwise is the original."""

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, cls.original)  # type: ignore[attr-defined]


def _seeded(module: Any, name: str, on: Callable, refuse: Callable) -> Any:
    original = getattr(module, name)
    refused = _refusing(module, name, "give it a seed", on, refuse)

    def make(cls: Any, *args: Any, **kwargs: Any) -> Any:
        seeded = any(a is not None for a in (*args, *kwargs.values()))
        return (original if seeded else refused)(*args, **kwargs)

    if not isinstance(original, type):
        return lambda *args, **kwargs: make(None, *args, **kwargs)
    return _Seeded(name, (), {"__new__": make, "original": original})


def _warning(message: Any, category: Any, stacklevel: int) -> Callable[[], None]:
    """A function that gives this warning for the line that calls `warn`, or for one that is
    `stacklevel` - 1 calls above it.
    """
    frame: Any = sys._getframe(2)
    for _ in range(stacklevel - 1):
        frame = frame.f_back or frame
    space = frame.f_globals
    return partial(
        warnings.warn_explicit, message,
        type(message) if isinstance(message, Warning) else category or UserWarning,
        frame.f_code.co_filename, frame.f_lineno, space.get("__name__"),
        space.setdefault("__warningregistry__", {}),
    )


@contextmanager
def guarded(
    on: Callable[[], bool], log: ScalarLog, refuse: Callable[[str], Any]
) -> Iterator[None]:
    """Within it calls of such functions are refused while `on()`. Calls of `print` and `warn` are
    appended to `log.later`. Functions of `math` take Scalars.
    """
    original, warn, identity = builtins.print, warnings.warn, builtins.id

    def asked_id(x: Any) -> int:
        """`id`. User code does not get that of a Scalar or an Unread; code of libraries does."""
        if type(x) in (Scalar, Unread) and on():
            if not fixed(sys._getframe(1).f_globals.get("__name__", "")):
                hash(x)  # which raises NeedsValue
        return identity(x)

    def note(*args: Any, **kwargs: Any) -> None:
        if on():
            show_later(log, *printing(original, log.texts, args, kwargs))
        else:
            original(*args, **kwargs)

    def note_warning(message: Any, category: Any = None, stacklevel: int = 1, *args: Any,
                     **kwargs: Any) -> None:
        if on():
            log.later.append((_warning(message, category, stacklevel), (), {}))
        else:
            warn(message, category, stacklevel + 1, *args, **kwargs)

    exchanged = {(m, n): _refusing(m, n, way, on, refuse) for (m, n), way in _REFUSED.items()}
    exchanged |= {(m, n): _seeded(m, n, on, refuse) for m, n in _UNSEEDED}
    exchanged |= {(math, n): f for n, f in MATH.items()}
    exchanged |= {(builtins, "print"): note, (warnings, "warn"): note_warning}
    exchanged[builtins, "id"] = asked_id
    before = {(m, n): getattr(m, n) for m, n in exchanged}
    try:
        for (m, n), f in exchanged.items():
            setattr(m, n, f)
        yield
    finally:
        for (m, n), f in before.items():
            setattr(m, n, f)

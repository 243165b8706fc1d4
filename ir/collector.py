"""Python's garbage collector, kept out of the way of code that makes many objects and no garbage:
it would look at each of them again and again.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

_waiting: list[bool] = []  # one for each thread that has it wait


@contextmanager
def collector_waits() -> Iterator[None]:
    """Within it nothing is collected, unless references say so."""
    if not gc.isenabled():
        yield
        return
    _waiting.append(True)
    try:
        gc.disable()  # a signal handler may raise from here on
        yield
    finally:
        if _waiting:
            _waiting.pop()
            gc.enable()


_SELDOM = (100_000, 20, 100)  # thresholds, as of gc.set_threshold


@contextmanager
def collector_is_seldom() -> Iterator[None]:
    """Within it memory is looked through only after many more objects than usual: for code that may
    be the user's, and may make garbage.
    """
    usual = gc.get_threshold()
    if not 0 < usual[0] < _SELDOM[0]:
        yield
        return
    try:
        gc.set_threshold(*_SELDOM)
        yield
    finally:
        if gc.get_threshold() == _SELDOM:
            gc.set_threshold(*usual)


def _after_fork() -> None:
    """In a child there is no thread any more that would have it go on."""
    if _waiting:
        _waiting.clear()
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

"""Locks for what threads share.

A signal handler runs in the middle of what its thread just does, so a thread may come to a lock
that it holds: a Turn says so. A forked child finds open what other threads of its parent held: they
do not exist there.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet

_all: WeakSet[Any] = WeakSet()


def lock() -> Any:
    """One that its own thread may take again."""
    new = threading.RLock()
    _all.add(new)
    return new


class Turn:
    """For what can be done once at a time: hold `lock`, look whether `busy[0]` is set, in which
    case this thread is at it already, and set it.
    """

    def __init__(self, shared: Any = None):
        self.lock = lock() if shared is None else shared
        self.busy = [False]
        _turns.add(self)


_turns: WeakSet[Turn] = WeakSet()


def _after_fork() -> None:
    for one in list(_all):
        if not one._is_owned():
            one._at_fork_reinit()
    for turn in list(_turns):
        if not turn.lock._is_owned():
            turn.busy[0] = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

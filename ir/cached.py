"""`cached_property`, as Python has it from 3.12 on: without a lock.

That of Python 3.11 holds a lock while it computes. A process that was forked meanwhile by another
thread would wait for it for ever. Two threads may both compute a value here, which is the same.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

__all__ = ["cached_property"]

if TYPE_CHECKING or sys.version_info >= (3, 12):
    from functools import cached_property
else:
    _MISSING = object()

    class cached_property(functools.cached_property):
        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            values = instance.__dict__
            if (value := values.get(self.attrname, _MISSING)) is _MISSING:
                value = values[self.attrname] = self.func(instance)
            return value

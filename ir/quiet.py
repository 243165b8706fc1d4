"""NumPy without its warnings of overflow, division by zero and invalid operations."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

import numpy as np

_T = TypeVar("_T")
_QUIET = Context()  # NumPy keeps what it warns of in a context variable
_QUIET.run(np.seterr, all="ignore")
quiet_context = _QUIET.copy  # a context in which NumPy does not warn; see below


def quietly(function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """`function(*args, **kwargs)` as within `np.errstate(all="ignore")`, which takes four times as
    long as an addition of small arrays. It also sets a context variable and resets it: CPython 3.11
    reads freed memory if a garbage collection comes in between and a finalizer, or a signal handler
    within one, does the same.

    The copy, which takes no time, can be entered by any thread, and while another one runs. No code
    of the user's may run in it: it would miss its context variables.
    """
    return quiet_context().run(function, *args, **kwargs)

"""Functions with `functools.cache`: the results in the cache, which no call shows."""

from __future__ import annotations

import gc
from functools import lru_cache
from typing import Any

from ..tensor.tensor import Tensor

CACHED = type(lru_cache(lambda: None))


def inside(function: Any) -> list:
    """The function behind a cache, and the results in it."""
    tables = [x for x in gc.get_referents(function) if type(x) is dict]
    results = [y for x in tables if x is not function.__dict__ for y in x.values()]
    return [function.__wrapped__, *results]


def refuse_traced(label: str, function: Any) -> None:
    """Raise if a traced tensor is in a cache."""
    if any(isinstance(x, Tensor) and x._node is not None for x in inside(function)):
        function.cache_clear()
        raise RuntimeError(
            f"{label} has got a tensor that stands for a value of the program: call a function "
            "with a cache outside of the compiled function"
        )

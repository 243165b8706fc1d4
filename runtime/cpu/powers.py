"""Powers in kernels: of integers by squaring, of floats Numba's own.

Numba's power of integers goes by floats from an exponent of 2**16 on, and wraps around no more.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload


def power(a: Any, b: Any) -> Any:
    """a ** b. Kernels as plain Python have NumPy's instead."""
    raise NotImplementedError


@overload(power)
def _power(a: Any, b: Any) -> Any:
    return _whole if isinstance(a, types.Integer) else _of_floats


def _of_floats(a: Any, b: Any) -> Any:
    return a**b


def _whole(a: Any, b: Any) -> Any:
    base, left, product = types.int64(a), types.int64(b), types.int64(1)
    while left > 0:
        if left & 1:
            product *= base
        base *= base
        left >>= 1
    return product

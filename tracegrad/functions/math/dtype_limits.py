"""The limits of number types."""

from __future__ import annotations

import math
from typing import Any

from ...tracer.tensor.promotion import as_dtype

__all__ = ["finfo", "iinfo"]


class finfo:
    """The limits of a floating point type.

    `eps`, `max`, `min`, `tiny`, `bits` and others. Raises TypeError for other types.

    >>> torch.finfo(torch.float32).max
    3.4028234663852886e+38
    """

    def __init__(self, type: Any = None):
        d = as_dtype(float if type is None else type)
        if not d.is_floating_point:
            raise TypeError(f"finfo expects a floating point type, got {d}; use iinfo for integers")
        digits, exponent = {
            "float64": (52, 1023),
            "float32": (23, 127),
            "float16": (10, 15),
            "bfloat16": (7, 127),
        }[d.name]
        self.bits, self.dtype = d.bits, d.name
        self.eps, self.max = 2.0**-digits, (2 - 2.0**-digits) * 2.0**exponent
        self.min, self.tiny = -self.max, 2.0 ** (1 - exponent)
        self.smallest_normal, self.resolution = (
            self.tiny,
            10.0 ** -math.floor(digits * math.log10(2)),
        )


class iinfo:
    """The limits of an integer type.

    `max`, `min` and `bits`. Raises TypeError for other types.

    >>> torch.iinfo(torch.int8).max
    127
    """

    def __init__(self, type: Any):
        d = as_dtype(type)
        if d.kind not in ("int", "uint"):
            raise TypeError(
                f"iinfo expects an integer type, got {d}; use finfo for floating point types"
            )
        self.bits, self.dtype = d.bits, d.name
        self.min = -(2 ** (d.bits - 1)) if d.kind == "int" else 0
        self.max = 2 ** (d.bits - (d.kind == "int")) - 1

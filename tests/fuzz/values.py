"""The numbers of inputs: ordinary ones, with ties and zeros, and special ones."""

from __future__ import annotations

from math import inf, nan
from random import Random

FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")
DTYPES = (*FLOATS, *INTEGERS, "bool")
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
SPECIAL = {
    "float64": (nan, inf, -inf, -0.0, 5e-324, 1e150, -1e-310, 1e16),
    "float32": (nan, inf, -inf, -0.0, 1e-45, 1e18, -1e-40, 1e8),
    "float16": (nan, inf, -inf, -0.0, 6e-08, 65504.0, 2049.0),
    "bfloat16": (nan, inf, -inf, -0.0, 1e-40, 1e18, 257.0),
    "int64": (2**63 - 1, -(2**63), 2**53 + 1),
    "int32": (2**31 - 1, -(2**31), 2**24 + 1),
    "int16": (2**15 - 1, -(2**15)),
    "int8": (127, -128),
    "uint8": (255, 128),
    "bool": (True, False),
}


def integral(dtype: str) -> bool:
    return dtype in INTEGERS


def numbers(rng: Random, dtype: str, count: int, special: bool) -> tuple:
    """`count` numbers of a dtype, of one sort; `special` mixes in a few of its extremes."""
    if dtype == "bool":
        return tuple(rng.random() < 0.5 for _ in range(count))
    sort = rng.random()
    found = []
    for _ in range(count):
        if special and rng.random() < 0.2:
            found.append(rng.choice(SPECIAL[dtype]))
        elif dtype in INTEGERS:
            low = 0 if dtype == "uint8" or sort < 0.3 else -5
            found.append(rng.randint(low, 9 if sort < 0.9 else 100))
        elif sort < 0.45:
            found.append(rng.randint(-12, 12) / 4)
        elif sort < 0.6:
            found.append(round(rng.uniform(0.1, 2), 3))
        else:
            found.append(round(rng.gauss(0, 1.5), 3))
    return tuple(found)


def shifted(values: tuple, dtype: str | None) -> tuple:
    """Other numbers of the same sort: turned round by one, floats less by a quarter of each."""
    turned = values[1:] + values[:1]
    if dtype in FLOATS or (dtype is None and isinstance(values[0], float)):
        return tuple(0.75 * v for v in turned)
    return turned

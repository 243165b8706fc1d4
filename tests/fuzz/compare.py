"""Two answers beside each other: type, dtype, shape, numbers. The numbers may differ by what a
tolerance says, element by element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import tracegrad

from .program import code
from .values import EPS, FLOATS

# of the last place, before anything is measured
UNITS = {"exact": 0, "correct": 1, "near": 16, "rough": 16}
UNITS_OF_HALVES = {"exact": 0, "correct": 0, "near": 2, "rough": 2}


@dataclass(frozen=True)
class Difference:
    """What differs (`value`, `dtype`, `error`, ...), after which statement (-1: the inputs), and
    how in words. `reason` says why it is as it should be, where it is.
    """

    kind: str
    at: int
    detail: str
    reason: str = ""


class Differs(Exception):
    def __init__(self, kind: str, detail: str):
        super().__init__(detail)
        self.kind = kind


def is_tensor(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, tracegrad.Tensor))


def dtype_of(t: Any) -> str:
    return str(t.dtype).rpartition(".")[2]


def array(t: Any) -> np.ndarray:
    """A tensor's numbers; those of bfloat16 as float32."""
    t = t.detach()
    if isinstance(t, torch.Tensor):
        if t._is_zerotensor():  # a gradient without memory, of which numpy() may crash
            t = torch.zeros(t.shape, dtype=t.dtype)
        return (t.float() if t.dtype is torch.bfloat16 else t).numpy(force=True)
    if dtype_of(t) == "bfloat16":
        return (t._array.astype(np.uint32) << 16).view(np.float32)
    return t._array


def units(rounding: str, dtype: str) -> int:
    return (UNITS if dtype in ("float32", "float64") else UNITS_OF_HALVES)[rounding]


def apart(mine: np.ndarray, theirs: np.ndarray, allowed: Any) -> np.ndarray:
    """Where they differ by more than is allowed. Exactly nothing: signs of zeros count."""
    if mine.dtype.kind != "f" and (allowed is None or mine.dtype.kind == "b"):
        return mine != theirs
    both_nan = np.isnan(mine) & np.isnan(theirs)
    if allowed is None:
        return ~(((mine == theirs) & (np.signbit(mine) == np.signbit(theirs))) | both_nan)
    wide = np.float64
    gap = np.abs(mine.astype(wide) - theirs.astype(wide))
    return ~((mine == theirs) | both_nan | (gap <= allowed) | (allowed == np.inf))


def ordinary(theirs: np.ndarray, dtype: str, count: int) -> Any:
    """A tolerance of `count` units in the last place of each number; of 0 units, None."""
    if not count or dtype not in FLOATS:
        return None
    with np.errstate(all="ignore"):
        size = np.abs(theirs.astype(np.float64))
    smallest = {"float64": 5e-324, "float32": 1.5e-45, "float16": 6e-8, "bfloat16": 1e-40}[dtype]
    return np.where(np.isfinite(size), count * (EPS[dtype] * size + smallest), 0)


def numbers_differ(mine: Any, theirs: Any, allowed: Any) -> str | None:
    """In words, the first place at which two tensors of one dtype and shape differ; one with two
    numbers before those with infinities and NaN.
    """
    a, b = array(mine), array(theirs)
    wrong = apart(a, b, allowed)
    if not wrong.any():
        return None
    places = np.argwhere(wrong)
    numbers = places[(np.isfinite(a) & np.isfinite(b))[wrong]]
    at = tuple(int(i) for i in (numbers if len(numbers) else places)[0])
    share = f"({int(wrong.sum())} of {wrong.size} differ)"
    return f"{a[at]!r} at {list(at)}, expected {b[at]!r} {share}"


def same_kind(name: str, mine: Any, theirs: Any) -> None:
    """Raise Differs unless both are tensors of one dtype and shape, or equal Python values."""
    if is_tensor(mine) != is_tensor(theirs):
        raise Differs("type", f"{name} is a {type(mine).__name__}, not a {type(theirs).__name__}")
    if not is_tensor(mine):
        if not python_equal(mine, theirs):
            raise Differs("python", f"{name} is {mine!r}, expected {theirs!r}")
        return
    if dtype_of(mine) != dtype_of(theirs):
        raise Differs("dtype", f"{name} has dtype {dtype_of(mine)}, expected {dtype_of(theirs)}")
    if tuple(mine.shape) != tuple(theirs.shape):
        raise Differs("shape", f"{name} has shape {tuple(mine.shape)}, expected "
                               f"{tuple(theirs.shape)}")
    if mine.requires_grad != theirs.requires_grad:
        raise Differs("requires_grad", f"{name}.requires_grad is {mine.requires_grad}")


def python_equal(mine: Any, theirs: Any) -> bool:
    if isinstance(theirs, (list, tuple)):
        return (isinstance(mine, (list, tuple)) and len(mine) == len(theirs)
                and all(map(python_equal, mine, theirs)))
    if isinstance(theirs, torch.dtype):
        return str(mine).rpartition(".")[2] == str(theirs).rpartition(".")[2]
    if type(mine) is not type(theirs):
        return False
    if isinstance(theirs, float):
        return bool(np.isclose(mine, theirs, rtol=1e-4, equal_nan=True))
    return mine == theirs


def builtin_class(error: BaseException) -> str:
    """The first class of Python itself that an error is of."""
    return next(c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins")


def attempt(text: str, env: dict[str, Any]) -> BaseException | None:
    try:
        exec(code(text), env)
    except Exception as error:
        return error
    return None


def told(error: BaseException | None) -> str:
    if error is None:
        return "no error"
    return f"{builtin_class(error)}: {(str(error).splitlines() or [''])[0]}"

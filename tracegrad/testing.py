"""Assertions for tests of programs: numbers that agree, gradients that are right, kernels that were
fused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from .functions.tensors.creation import as_tensor
from .ir.dtype import DType
from .tracer.tensor.tensor import Tensor

__all__ = ["GradcheckError", "assert_close", "assert_kernels", "gradcheck", "gradgradcheck"]

# (rtol, atol) by dtype, as torch has them; other types must agree exactly
_TOLERANCES = {
    "float64": (1e-7, 1e-7), "float32": (1.3e-6, 1e-5),
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5),
}  # fmt: skip


def _tolerance(a: DType, b: DType) -> tuple[float, float]:
    pairs = [_TOLERANCES.get(d.name, (0.0, 0.0)) for d in (a, b)]
    return max(p[0] for p in pairs), max(p[1] for p in pairs)


def _fail(words: str, where: str, msg: Any) -> None:
    text = f"The values for {where} are not close: {words}" if where else words
    raise AssertionError(msg(text) if callable(msg) else text if msg is None else msg)


def assert_close(actual: Any, expected: Any, *, allow_subclasses: bool = True,
                 rtol: float | None = None, atol: float | None = None, equal_nan: bool = False,
                 check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
                 check_stride: bool = False, msg: Any = None) -> None:  # fmt: skip
    """Assert that |actual - expected| <= atol + rtol * |expected| everywhere.

    Takes tensors, NumPy arrays, numbers, and sequences and mappings of them. rtol and atol, given
    together or not at all, default to what the dtypes allow. NaN equals NaN only if `equal_nan`.

    Raises AssertionError that says how many elements differ, by how much at most, and where; `msg`
    is put in its place, or called with it.
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            f"Both 'rtol' and 'atol' must be either specified or unspecified, but got no "
            f"{'rtol' if rtol is None else 'atol'}"
        )

    def compare(a: Any, b: Any, where: str) -> None:
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if a.keys() != b.keys():
                _fail(f"The keys of the mappings do not match: {list(a)} != {list(b)}", where, msg)
            for key in b:
                compare(a[key], b[key], f"{where}[{key!r}]")
        elif isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str):
            if len(a) != len(b):
                words = f"The length of the sequences mismatch: {len(a)} != {len(b)}"
                _fail(words, where, msg)
            for i, (u, v) in enumerate(zip(a, b, strict=True)):
                compare(u, v, f"{where}[{i}]")
        else:
            numbers = not isinstance(a, Tensor) and not isinstance(b, Tensor)
            _tensors(as_tensor(a).detach(), as_tensor(b).detach(), where, numbers)

    def _tensors(a: Tensor, b: Tensor, where: str, numbers: bool) -> None:
        if a.shape != b.shape:
            words = f"The values for attribute 'shape' do not match: {a.shape} != {b.shape}."
            _fail(words, where, msg)
        if check_dtype and not numbers and a.dtype is not b.dtype:
            words = f"The values for attribute 'dtype' do not match: {a.dtype} != {b.dtype}."
            _fail(words, where, msg)
        if check_stride and a.stride() != b.stride():
            words = f"The values for attribute 'stride()' do not match: {a.stride()}, {b.stride()}."
            _fail(words, where, msg)
        r, t = _tolerance(a.dtype, b.dtype) if rtol is None or atol is None else (rtol, atol)
        x, y = (np.asarray(v.dtype.decode(v._array), np.float64) for v in (a, b))
        with np.errstate(invalid="ignore"):
            apart = np.abs(x - y)
            close = (x == y) | (apart <= t + r * np.abs(y)) & np.isfinite(y)
        if equal_nan:
            close |= np.isnan(x) & np.isnan(y)
        if close.all():
            return
        apart = np.where(close, 0.0, np.where(np.isnan(apart), np.inf, apart))
        at = tuple(int(k) for k in np.unravel_index(int(np.argmax(apart)), apart.shape))
        kind = "Scalars" if x.ndim == 0 else "Tensor-likes"
        _fail(
            f"{kind} are not close!\n\nMismatched elements: {int((~close).sum())} / {close.size} "
            f"({100 * (~close).mean():.1f}%)\nGreatest absolute difference: {apart[at]} at index "
            f"{at}: {x[at]} and {y[at]} (up to rtol={r}, atol={t} allowed)", where, msg,
        )  # fmt: skip

    compare(actual, expected, "")


def assert_kernels(compiled: Any, launches: int, distinct: int | None = None) -> None:
    """Assert that the last call's program is `launches` kernel launches, of `distinct` kernels.

    >>> assert_kernels(step, 3)  # a lost fusion fails
    """
    program = compiled.program()
    found = len(program.launches), len(program.kernels)
    if found[0] != launches or distinct not in (None, found[1]):
        wanted = f"{launches} launches" + (f" of {distinct} kernels" if distinct else "")
        names = ", ".join(launch.kernel.name for launch in program.launches)
        raise AssertionError(
            f"expected {wanted}, got {found[0]} of {found[1]}: {names}\n{program.source()}"
        )

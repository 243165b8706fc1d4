"""Assertions for tests of programs: close values, correct gradients, fused kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from .functions.torch.creation import as_tensor
from .ir.dtype import DType
from .tracer.tensor.device_memory import host
from .tracer.tensor.tensor import Tensor

__all__ = ["GradcheckError", "assert_close", "assert_kernels", "gradcheck", "gradgradcheck"]

# torch's (rtol, atol) by dtype; other dtypes must be equal
_TOLERANCES = {
    "float64": (1e-7, 1e-7), "float32": (1.3e-6, 1e-5),
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5),
}


def _tolerance(a: DType, b: DType) -> tuple[float, float]:
    pairs = [_TOLERANCES.get(d.name, (0.0, 0.0)) for d in (a, b)]
    return max(p[0] for p in pairs), max(p[1] for p in pairs)


def assert_close(actual: Any, expected: Any, *, allow_subclasses: bool = True,
                 rtol: float | None = None, atol: float | None = None, equal_nan: bool = False,
                 check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
                 check_stride: bool = False, msg: Any = None) -> None:
    """Assert that |actual - expected| <= atol + rtol * |expected| everywhere.

    Takes tensors, NumPy arrays, numbers, and sequences and mappings of them. rtol and atol, given
    together or not at all, default to what the dtypes allow. NaN equals NaN only if `equal_nan`.

    Raises AssertionError that says how many elements differ, by how much at most, and where; `msg`
    is put in its place, or called with it.

    >>> torch.testing.assert_close(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]))
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            "Both 'rtol' and 'atol' must be either specified or unspecified, but got no "
            f"{'rtol' if rtol is None else 'atol'}"
        )

    tolerance = None if rtol is None or atol is None else (rtol, atol)
    _Comparison(tolerance, equal_nan, check_dtype, check_stride, msg).compare(actual, expected, "")


@dataclass
class _Comparison:
    """The options of a comparison, and the messages of its failures."""

    tolerance: tuple[float, float] | None
    equal_nan: bool
    check_dtype: bool
    check_stride: bool
    msg: Any

    def fail(self, words: str, where: str) -> None:
        text = f"The values for {where} are not close: {words}" if where else words
        msg = self.msg
        raise AssertionError(msg(text) if callable(msg) else text if msg is None else msg)

    def compare(self, a: Any, b: Any, where: str) -> None:
        """Compare `a` and `b`; `where` is their path in the compared structures."""
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if a.keys() != b.keys():
                self.fail(f"The keys of the mappings do not match: {list(a)} != {list(b)}", where)
            for key in b:
                self.compare(a[key], b[key], f"{where}[{key!r}]")
        elif isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str):
            if len(a) != len(b):
                self.fail(f"The length of the sequences mismatch: {len(a)} != {len(b)}", where)
            for i, (u, v) in enumerate(zip(a, b, strict=True)):
                self.compare(u, v, f"{where}[{i}]")
        else:
            numbers = not isinstance(a, Tensor) and not isinstance(b, Tensor)
            x, y = as_tensor(a).detach(), as_tensor(b).detach()
            self.attribute("shape", x.shape, y.shape, where)
            if self.check_dtype and not numbers:
                self.attribute("dtype", x.dtype, y.dtype, where)
            if self.check_stride:
                self.attribute("stride()", x.stride(), y.stride(), where)
            self.values(x, y, where)

    def attribute(self, name: str, a: Any, b: Any, where: str) -> None:
        if a != b:
            self.fail(f"The values for attribute {name!r} do not match: {a} != {b}.", where)

    def values(self, a: Tensor, b: Tensor, where: str) -> None:
        r, t = self.tolerance or _tolerance(a.dtype, b.dtype)
        x, y = (np.asarray(v.dtype.decode(host(v._array)), np.float64) for v in (a, b))
        with np.errstate(invalid="ignore"):
            apart = np.abs(x - y)
            close = (x == y) | (apart <= t + r * np.abs(y)) & np.isfinite(y)
        if self.equal_nan:
            close |= np.isnan(x) & np.isnan(y)
        if close.all():
            return
        apart = np.where(close, 0.0, np.where(np.isnan(apart), np.inf, apart))
        at = tuple(int(k) for k in np.unravel_index(int(np.argmax(apart)), apart.shape))
        kind = "Scalars" if x.ndim == 0 else "Tensor-likes"
        self.fail(
            f"{kind} are not close!\n\nMismatched elements: {int((~close).sum())} / {close.size} "
            f"({100 * (~close).mean():.1f}%)\nGreatest absolute difference: {apart[at]} at index "
            f"{at}: {x[at]} and {y[at]} (up to rtol={r}, atol={t} allowed)",
            where,
        )


def assert_kernels(compiled: Any, launches: int, distinct: int | None = None) -> None:
    """Assert that the last call's program is `launches` kernel launches, of `distinct` kernels.

    Raises AssertionError, with the program, if it is not: a lost fusion fails.

    >>> f = torch.compile(lambda x: x.sin() * 2 + 1)
    >>> _ = f(torch.ones(100))
    >>> torch.testing.assert_kernels(f, launches=1)
    """
    program = compiled.program()
    counts = len(program.launches), len(program.kernels)
    if counts[0] != launches or distinct not in (None, counts[1]):
        wanted = f"{launches} launches" + (f" of {distinct} kernels" if distinct else "")
        names = ", ".join(launch.kernel.name for launch in program.launches)
        raise AssertionError(
            f"expected {wanted}, got {counts[0]} of {counts[1]}: {names}\n{program.source()}"
        )

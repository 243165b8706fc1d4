"""torch's `_foreach_` functions: one operation for each tensor of a list.

In a compiled function they are operations like any others, and share loops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...tracer.tensor.tensor import Tensor

__all__: list[str] = []

# methods of Tensor that also come as `name_`
_UNARY = """abs acos asin atan ceil cos cosh erf erfc exp expm1 floor frac lgamma log log10 log1p
log2 neg reciprocal round rsqrt sigmoid sign sin sinh sqrt tan tanh trunc"""
_SECOND = "add sub mul div maximum minimum clamp_max clamp_min pow"
_THIRD = "addcmul addcdiv"  # the last argument is the keyword `value` of the method


def _column(x: Any, count: int) -> Sequence[Any]:
    """One value for each tensor: those of a list, or the same one."""
    if not isinstance(x, (list, tuple)):
        return [x] * count
    if len(x) != count:
        raise RuntimeError(
            f"Tensor lists must have the same number of tensors, got {count} and {len(x)}"
        )
    return x


def _rows(tensors: Any, *others: Any) -> list[tuple]:
    if isinstance(tensors, Tensor) or not isinstance(tensors, (list, tuple)):
        raise TypeError(
            "argument 'self' must be tuple of Tensors, not " + type(tensors).__name__
        )
    if not tensors:
        raise RuntimeError("Tensor list must have at least one tensor.")
    for x in tensors:
        if not isinstance(x, Tensor):
            raise TypeError(f"argument 'self' must be tuple of Tensors, but has {x!r}")
    columns = [_column(x, len(tensors)) for x in others]
    return list(zip(tensors, *columns, strict=True))


def _called(method: str, row: tuple, **options: Any) -> Tensor:
    x, *rest = row
    if method.rstrip("_") in ("maximum", "minimum") and not isinstance(rest[0], Tensor):
        method = method.replace("maximum", "clamp_min").replace("minimum", "clamp_max")
    return getattr(x, method)(*rest, **options)


def _results(method: str, rows: list[tuple], **options: Any) -> tuple[Tensor, ...] | None:
    """What the method gives for each row; nothing if it works in place, as torch has it."""
    results = tuple(_called(method, row, **options) for row in rows)
    return None if method.endswith("_") else results


def _unary(method: str) -> Callable:
    def function(self: Sequence[Tensor]) -> Any:
        return _results(method, _rows(self))

    return function


def _second(method: str) -> Callable:
    def function(self: Any, other: Any = None, *, alpha: Any = None, **named: Any) -> Any:
        # torch's names for it: scalar, scalars, exponent
        other = next(iter(named.values())) if other is None and len(named) == 1 else other
        if method == "pow" and not isinstance(self, (list, tuple)):
            return tuple(self**x for (x,) in _rows(other))
        options = {} if alpha is None else {"alpha": alpha}
        return _results(method, _rows(self, other), **options)

    return function


def _third(method: str) -> Callable:
    def function(self: Any, tensor1: Any, tensor2: Any, value: Any = 1, *,
                 scalars: Any = None) -> Any:
        value = value if scalars is None else scalars
        if isinstance(value, Tensor) and value.ndim:
            value = value.tolist()
        rows = _rows(self, tensor1, tensor2, value)
        results = tuple(getattr(x, method)(a, b, value=v) for x, a, b, v in rows)
        return None if method.endswith("_") else results

    return function


def _lerp(method: str) -> Callable:
    def function(self: Any, tensors1: Any, weight: Any) -> Any:
        return _results(method, _rows(self, tensors1, weight))

    return function


def _foreach_norm(self: Any, ord: Any = 2, dtype: Any = None) -> tuple[Tensor, ...]:
    return tuple(x.norm(ord, dtype=dtype) for (x,) in _rows(self))


def _foreach_powsum(self: Any, ord: Any = 2, dtype: Any = None) -> tuple[Tensor, ...]:
    return tuple(x.to(dtype or x.dtype).abs().pow(ord).sum() for (x,) in _rows(self))


def _foreach_copy_(self: Any, src: Any, non_blocking: bool = False) -> None:
    _results("copy_", _rows(self, src))


def _named(makers: dict[str, tuple[Callable, str]]) -> dict[str, Callable]:
    functions: dict[str, Callable] = {}
    for names, (make, endings) in makers.items():
        for method in (n + end for n in names.split() for end in endings.split(",")):
            function = make(method)
            function.__name__ = function.__qualname__ = f"_foreach_{method}"
            function.__doc__ = f"`{method}` of each tensor."
            functions[function.__name__] = function
    return functions


_made = _named({
    _UNARY: (_unary, ",_"),
    _SECOND: (_second, ",_"),
    _THIRD: (_third, ",_"),
    "lerp": (_lerp, ",_"),
    "clone max": (_unary, ""),
    "mm": (_second, ""),
    "zero": (_unary, "_"),
})
globals().update(_made)
__all__ += [*_made, "_foreach_copy_", "_foreach_norm", "_foreach_powsum"]

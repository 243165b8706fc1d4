"""NumPy's ufuncs on Tensors: np.exp(t), np.add(t, 1, out=u)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.ops import elementwise
from ..tracer.tensor.tensor import Tensor
from . import namespace
from .numpy_arguments import ours, theirs, written
from .torch.creation import tensor

# their names are ours, but for these
_OPERATORS: dict[str, Callable] = {  # these take Python numbers, on either side, as operators do
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "true_divide": operator.truediv, "power": operator.pow,
    "floor_divide": operator.floordiv, "remainder": operator.mod, "matmul": operator.matmul,
    "negative": operator.neg, "positive": operator.pos, "absolute": operator.abs,
    "fabs": operator.abs, "invert": operator.invert, "bitwise_and": operator.and_,
    "bitwise_or": operator.or_, "bitwise_xor": operator.xor, "left_shift": operator.lshift,
    "right_shift": operator.rshift, "equal": operator.eq, "not_equal": operator.ne,
    "less": operator.lt, "less_equal": operator.le, "greater": operator.gt,
    "greater_equal": operator.ge,
}
_RENAMED = {
    "rint": "round", "conjugate": "conj", "degrees": "rad2deg", "radians": "deg2rad",
    "psi": "digamma", "gammaln": "lgamma",
}
_MADE: dict[str, Callable] = {
    "divmod": lambda a, b: (a // b, a % b),
    "modf": lambda a: (a - elementwise.trunc(a), elementwise.trunc(a)),
    "cbrt": lambda a: elementwise.sign(a) * abs(a) ** (1 / 3),
}


def array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    name = ufunc.__name__
    out = kwargs.get("out", ())
    if out and all(isinstance(o, np.ndarray) for o in out):  # array += tensor
        return getattr(ufunc, method)(*theirs(f"np.{name}", inputs), **kwargs)
    if method != "__call__":
        raise TypeError(
            f"np.{name}.{method} is not defined for Tensors: use a reduction by name, as np.sum"
        )
    name, where = f"np.{name}", ours(kwargs.get("where", True))
    _refuse_options(name, kwargs)
    if where is not True and not out:
        raise TypeError(f"{name}() of Tensors: where= leaves elements without a value; give out=")
    result = _result(ufunc, tuple(map(ours, inputs)), ours(kwargs.get("dtype")))
    return written(name, out, result, where) if out else result


# options and the values that change nothing
_USUAL: dict[str, Any] = {"casting": "same_kind", "order": "K", "subok": True}


def _refuse_options(name: str, kwargs: dict) -> None:
    """Raise for options of ufuncs that Tensors have not."""
    for option, value in kwargs.items():
        if option not in ("out", "where", "dtype") and value != _USUAL.get(option):
            raise TypeError(f"{name}() of Tensors does not take {option}={value!r}")


def _result(ufunc: np.ufunc, inputs: tuple, dtype: Any) -> Any:
    name = ufunc.__name__
    if dtype is not None:
        if all(signature[-1] in "?O" for signature in ufunc.types):  # it asks a question
            raise TypeError(f"np.{name}() of Tensors does not take dtype=: the result is bool")
        inputs = tuple(x.to(dtype) if isinstance(x, Tensor) else x for x in inputs)
    if name in _OPERATORS:
        return _OPERATORS[name](*inputs)
    found = _MADE.get(name) or getattr(namespace, _RENAMED.get(name, name), None)
    if found is None:
        return ufunc(*theirs(f"np.{name}", inputs))
    return found(*(x if isinstance(x, Tensor) else _beside(inputs, x) for x in inputs))


def _beside(inputs: tuple, x: Any) -> Tensor:
    """A Python number as a Tensor that does not change the dtype of the others."""
    like = next(t.dtype for t in inputs if isinstance(t, Tensor))
    weak = like.is_floating_point or not isinstance(x, float)
    return tensor(x, dtype=like if weak else None)

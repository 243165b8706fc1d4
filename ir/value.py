"""The operators that Nodes, Tensors and rewrite patterns share, so that one rule reads the same on
all three.

A Value has `shape` and `dtype` and says, in `bind`, what applying a primitive to it means. Knows no
primitive: which one an operator is, the primitive says (`OpDef.operator`).
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from .dtype import DType

REGISTRY: dict[str, Any] = {}  # name -> OpDef; filled by ir.op
OPERATORS: dict[str, Any] = {}  # method of Python -> OpDef, of those that say so


def is_operand(x: Any) -> bool:
    """Whether an operator takes it beside a Value; what it does not may have an operator itself."""
    return isinstance(x, (Value, Number, np.ndarray, np.generic))


def _binary(name: str) -> Callable[..., Any]:
    def operator(self: Value, other: Any) -> Any:
        try:
            return self.bind(OPERATORS[name], (self, other), {})
        except TypeError:
            if is_operand(other):
                raise
            return NotImplemented

    return operator


def _reflected(name: str) -> Callable[..., Any]:
    def operator(self: Value, other: Any) -> Any:
        return OPERATORS[name](other, self)

    return operator


def _unary(name: str) -> Callable[..., Any]:
    def operator(self: Value) -> Any:
        return self.bind(OPERATORS[name], (self,), {})

    return operator


class Value:
    """Base of everything that primitives apply to."""

    __slots__ = ()
    shape: tuple[int, ...]
    dtype: DType
    if TYPE_CHECKING:  # set below
        __add__: Any
        __radd__: Any
        __sub__: Any
        __rsub__: Any
        __mul__: Any
        __rmul__: Any
        __truediv__: Any
        __rtruediv__: Any
        __pow__: Any
        __rpow__: Any
        __neg__: Any
        __lt__: Any
        __le__: Any
        __gt__: Any
        __ge__: Any
        __and__: Any
        __or__: Any
        __lshift__: Any
        __rshift__: Any

    @classmethod
    def bind(cls, op: Any, inputs: tuple[Any, ...], params: dict[str, Any]) -> Any:
        raise NotImplementedError

    def __bool__(self) -> bool:
        raise TypeError(f"a {type(self).__name__} has no truth value while a graph is being built")


UNARY = ("__neg__", "__abs__", "__invert__")
COMPARISONS = ("__lt__", "__le__", "__gt__", "__ge__")
ARITHMETIC = (  # these have reflected forms, and forms that write into their left operand
    "__add__", "__sub__", "__mul__", "__pow__", "__truediv__", "__floordiv__", "__mod__",
    "__and__", "__or__", "__xor__", "__lshift__", "__rshift__",
)
for _name in UNARY:
    setattr(Value, _name, _unary(_name))
for _name in (*COMPARISONS, *ARITHMETIC):
    setattr(Value, _name, _binary(_name))
for _name in ARITHMETIC:
    setattr(Value, f"__r{_name[2:]}", _reflected(_name))

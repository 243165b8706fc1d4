"""The operators that Nodes, Tensors and rewrite patterns share, so that one rule reads the same on
all three.

A Value has `shape` and `dtype` and says, in `bind`, what applying a primitive to it means. Knows no
primitive but by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .dtype import DType

REGISTRY: dict[str, Any] = {}  # name -> OpDef; filled by ir.op


def _binary(name: str) -> Callable:
    def operator(self: Value, other: Any) -> Any:
        return REGISTRY[name](self, other)

    return operator


def _reflected(name: str) -> Callable:
    def operator(self: Value, other: Any) -> Any:
        return REGISTRY[name](other, self)

    return operator


def _unary(name: str) -> Callable:
    def operator(self: Value) -> Any:
        return REGISTRY[name](self)

    return operator


class Value:
    """Base of everything that primitives apply to."""

    __slots__ = ()
    shape: tuple[int, ...]
    dtype: DType
    if TYPE_CHECKING:  # set below, by name
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
    def bind(cls, op: Any, inputs: tuple, params: dict) -> Any:
        raise NotImplementedError

    def __bool__(self) -> bool:
        raise TypeError(f"a {type(self).__name__} has no truth value while a graph is being built")


for _name in ("add", "sub", "mul", "pow"):
    setattr(Value, f"__{_name}__", _binary(_name))
    setattr(Value, f"__r{_name}__", _reflected(_name))
for _name, _op in {
    "truediv": "div", "floordiv": "floor_div", "mod": "remainder", "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "shift_left", "rshift": "shift_right",
}.items():  # fmt: skip
    setattr(Value, f"__{_name}__", _binary(_op))
    setattr(Value, f"__r{_name}__", _reflected(_op))
for _name, _op in {"lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}.items():
    setattr(Value, f"__{_name}__", _binary(_op))
for _name, _op in {"neg": "neg", "abs": "abs", "invert": "bitwise_not"}.items():
    setattr(Value, f"__{_name}__", _unary(_op))

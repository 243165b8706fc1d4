"""The wildcards that the tables share, and the questions that rows ask of constants."""

from __future__ import annotations

import math

from ..dtype import DType
from ..node import Node, constant
from ..rewrite import Const, Var

x, a, b = Var("x"), Var("a"), Var("b")
c, d = Const("c"), Const("d")
p, q = (Var(name, lambda node: node.dtype.kind == "bool") for name in "pq")
r, s = (Var(name, lambda node: node.dtype.kind == "float") for name in "rs")
i = Var("i", lambda node: node.dtype.kind != "float")


def value(c: Node) -> bool | int | float:
    return c.params["value"]


def is_ordinary(c: Node) -> bool:
    """Neither zero nor subnormal nor infinite nor NaN."""
    number = float(value(c))
    return math.isfinite(number) and abs(number) >= smallest_normal(c.dtype)


def smallest_normal(dtype: DType) -> float:
    if dtype.kind != "float":
        return 1.0
    return {
        "float64": 2.0**-1022,
        "float32": 2.0**-126,
        "bfloat16": 2.0**-126,
        "float16": 2.0**-14,
    }[dtype.name]


def number(value: float, like: Node) -> Node:
    return constant(value, like.dtype)

"""Control flow as plain Python loops, in either library: what the functions of the same names are
to give.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


def mapped(tree: Any, change: Callable) -> Any:
    """The same nesting, with its tensors changed."""
    if isinstance(tree, dict):
        return {k: mapped(v, change) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(mapped(v, change) for v in tree)
    return None if tree is None else change(tree)


def leaves(tree: Any) -> list:
    found: list = []
    mapped(tree, found.append)
    return found


def rows_stacked(T: Any, rows: list, dim: int = 0) -> Any:
    columns = list(zip(*map(leaves, rows), strict=True))
    stacked = iter([T.stack(c, min(dim, c[0].ndim)) for c in columns])
    return mapped(rows[0], lambda _: next(stacked))


def plain(T: Any) -> SimpleNamespace:
    copied = lambda tree: mapped(tree, lambda t: t.clone())

    def scan(f: Callable, init: Any, xs: Any, dim: int = 0, reverse: bool = False,
             checkpoints: int | None = None) -> tuple:
        n = leaves(xs)[0].shape[dim]
        rows: list = [None] * n
        carry = copied(init)
        for i in range(n)[:: -1 if reverse else 1]:
            x = mapped(xs, lambda t: t.select(dim, i).clone())  # noqa: B023
            carry, y = f(copied(carry), x)
            rows[i] = copied(y)
        return carry, rows_stacked(T, rows, dim)

    def map(f: Callable, xs: Any, *args: Any) -> Any:
        n = leaves(xs)[0].shape[0]
        return rows_stacked(T, [f(mapped(xs, lambda t: t[i].clone()), *args)  # noqa: B023
                                for i in range(n)])

    def fori_loop(lower: Any, upper: Any, f: Callable, init: Any) -> Any:
        value = copied(init)
        for i in range(int(lower), int(upper)):
            value = f(T.tensor(i), copied(value))
        return value

    def while_loop(cond: Callable, f: Callable, values: Any, **_: Any) -> Any:
        values = copied(values)
        while bool(cond(*copied(values))):
            values = f(*copied(values))
        return values

    def cond(p: Any, f: Callable, g: Callable, operands: Any = ()) -> Any:
        return copied((f if bool(p) else g)(*copied(operands)))

    return SimpleNamespace(scan=scan, map=map, fori_loop=fori_loop, while_loop=while_loop,
                           cond=cond)

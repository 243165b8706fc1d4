"""Numbers that may be symbols in torch's compiler; here they are numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .refusals import refused


def sym_int(a: Any) -> int:
    """`int(a)`.

    >>> torch.sym_int(2.7)
    2
    """
    return int(a)


def sym_float(a: Any) -> float:
    """`float(a)`.

    >>> torch.sym_float(2)
    2.0
    """
    return float(a)


def sym_not(a: Any) -> bool:
    """`not a`.

    >>> torch.sym_not(True)
    False
    """
    return not a


def sym_max(a: Any, b: Any) -> Any:
    """The larger number.

    >>> torch.sym_max(1, 2)
    2
    """
    return max(a, b)


def sym_min(a: Any, b: Any) -> Any:
    """The smaller number.

    >>> torch.sym_min(1, 2)
    1
    """
    return min(a, b)


def sym_sum(args: Iterable[Any]) -> Any:
    """The sum of numbers.

    >>> torch.sym_sum([1, 2])
    3
    """
    return sum(args)


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """`t if b else f`.

    >>> torch.sym_ite(True, 1, 2)
    1
    """
    return t if b else f


globals().update(refused("", "SymBool SymFloat SymInt", "sizes are numbers"))

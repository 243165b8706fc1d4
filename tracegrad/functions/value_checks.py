"""What functions demand of the values they are given, the same eagerly, compiled and under vmap.

Takes a condition, or whole numbers and a bound, and a name in `ir.faults.DEMANDS`, which says what
is raised. Nothing need be made of the answer: a check is part of a program by itself.
"""

from __future__ import annotations

from ..ir.dtype import int32, int64
from ..ir.faults import demand
from ..ir.ops.elementwise import cast, check_index, logical_not, maximum
from ..tracer.tensor.tensor import Tensor


def require(condition: Tensor, name: str) -> None:
    """Raise unless the bool tensor holds everywhere."""
    check_index(cast(logical_not(condition), dtype=int32), size=1, dim=demand(name))


def at_most(numbers: Tensor, most: int, name: str) -> None:
    """Raise if one of the whole numbers is greater."""
    check_index(maximum(cast(numbers, dtype=int64), 0), size=most + 1, dim=demand(name))

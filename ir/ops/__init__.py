"""The primitives. Each module holds one kind; importing this package registers them all."""

from . import (
    contract,
    elementwise,
    implicit,
    index,
    linalg,
    movement,
    order,
    prefix,
    random,
    reduce,
    source,
    special,
)

__all__ = [
    "contract", "elementwise", "implicit", "index", "linalg", "movement", "order", "prefix",
    "random", "reduce", "source", "special",
]  # fmt: skip

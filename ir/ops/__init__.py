"""The primitives. Each module holds one kind; importing this package registers them all."""

from . import (
    band,
    contract,
    determinants,
    elementwise,
    implicit,
    index,
    kinks,
    linalg,
    loop,
    movement,
    order,
    prefix,
    random,
    reduce,
    samplers,
    slopes,
    source,
    special,
)

__all__ = [
    "band", "contract", "determinants", "elementwise", "implicit", "index", "kinks", "linalg",
    "loop", "movement", "order", "prefix", "random", "reduce", "samplers", "slopes", "source",
    "special",
]

"""The primitives. Each module holds one kind; importing this package registers them all."""

from . import contract, elementwise, index, movement, order, prefix, random, reduce, source, special

__all__ = [
    "contract", "elementwise", "index", "movement", "order", "prefix", "random", "reduce",
    "source", "special",
]  # fmt: skip

"""The groups of cells by name, and the order in which a group is measured."""

from __future__ import annotations

import random

from . import (
    attention,
    convolutions,
    factorisations,
    moving,
    ordering,
    pointwise,
    products,
    rows,
)
from .cell import Cell

GROUPS = {
    "element-wise": pointwise.cells, "rows": rows.cells, "ordering": ordering.cells,
    "moving": moving.cells, "factorisations": factorisations.cells, "products": products.cells,
    "convolutions": convolutions.cells, "attention": attention.cells,
}


def shuffled(name: str) -> list[Cell]:
    """All cells of a group in an order that is the same each time, and of which every beginning is
    an even sample: a budget may end before the last of them."""
    every = list(GROUPS[name]())
    random.Random(0).shuffle(every)
    return every

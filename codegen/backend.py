"""What a kind of device brings to a Schedule: which loops it has, and how they are written.

Lowering, fusion and the memory plan are the same for all devices. A backend says what a matrix
product computes besides its sums, and makes the kernels of a group. How a Program is run is the
affair of its room in runtime/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from ..ir.dtype import DType
from ..ir.graph import Graph
from ..ir.node import Node
from .schedule.fuse import Fusion
from .schedule.groups import Group
from .schedule.lower import Lowered
from .schedule.schedule import Schedule
from .text import Piece


class Backend(Protocol):
    """The kernels of one kind of device. Those of a GPU set `Piece.grid`, and `Kernel.backend` to
    the name of the backend; all find their arguments in one block, of words: numbers, and addresses
    of entries of the pointer table.
    """

    name: str  # 'cpu' | 'cuda'

    def fuse_products(self, low: Lowered, fusion: Fusion) -> None:
        """Let each matrix product compute the anchors that its kernel can compute."""

    def pieces(self, s: Schedule, group: Group, stored: set[Node], fast: bool) -> Iterator[Piece]:
        """The launches of a group. `stored` are the anchors that have memory; `fast` allows
        arithmetic to be regrouped.
        """

    def copy(self, count: int, dtype: DType) -> Piece:
        """A copy of so many numbers from the buffer "source" to the buffer "target"."""

    def zeros(self, count: int, dtype: DType) -> Piece:
        """So many zeros in the buffer "target"."""

    def by_columns(self, body: Graph) -> Mapping[Node, bool]:
        """The inputs of the body of a loop that are best copied before it, for its products."""

    def rows_apart(self, s: Schedule, body: Graph, carried: int) -> tuple[int, int] | None:
        """How many rows of a loop's body threads may take through all iterations, and how many of
        them must stay together; None if they may not. Then the schedule is `row_by_row`.
        """

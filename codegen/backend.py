"""What a kind of device brings to a Schedule: which loops it has, and how they are written.

Lowering, fusion and the memory plan are the same for all devices. A backend says what a matrix
product computes besides its sums, and makes the kernels of a group. How a Program is run is the
affair of its room in runtime/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ..ir.node import Node
from .schedule.fuse import Fusion
from .schedule.groups import Group
from .schedule.lower import Lowered
from .schedule.schedule import Schedule
from .text import Piece


class Backend(Protocol):
    """The kernels of one kind of device."""

    name: str

    def fuse_products(self, low: Lowered, fusion: Fusion) -> None:
        """Let each matrix product compute the anchors that its kernel can compute."""

    def pieces(self, s: Schedule, group: Group, stored: set[Node], fast: bool) -> Iterator[Piece]:
        """The launches of a group. `stored` are the anchors that have memory; `fast` allows
        arithmetic to be regrouped.
        """

"""The inputs of a program: what they are, and where their values are at each call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...ir.dtype import int64
from ...ir.node import Node, constant, user_site
from ...ir.ops.movement import reshape, slice as slice_
from ...ir.ops.random import signed
from ..autograd.graph import GradFn
from ..autograd.transform import Origin
from ..tensor.tensor import Tensor, traced


@dataclass(eq=False)
class Input:
    """An input of the program: its node, and where its value is at each call.

    | kind | is | key |
    |---|---|---|
    | argument | a tensor argument | its position among the tensors of the call |
    | tensor | a captured tensor | None |
    | location | the tensor at a promoted location | the Location |
    | grad | the `.grad` of another input | that Input |
    | scalar | a number that is read at each call | the Scalar |
    | hyper | an optimizer's setting | the parameter group, and a name in it |
    | random | the state of a generator | the Generator |
    """

    node: Node
    kind: str
    key: Any
    tensor: Any  # a Tensor; None for 'scalar', 'hyper' and 'random'
    twin: Tensor
    start: GradFn | None = None  # the autograd node of the value at entry
    hooks: frozenset[int] = frozenset()  # ids of those of the tensor at entry

    @property
    def is_grad_leaf(self) -> bool:
        """Whether the function made it a leaf that requires grad."""
        return self.twin._requires_grad and self.twin._grad_fn is None

    def forget(self) -> None:
        """Drop what only the trace needs. A program keeps captured tensors alone."""
        self.twin = self.start = None  # type: ignore[assignment]
        if self.kind != "tensor":
            self.tensor = None


class ExternalHistory(Origin):
    """The history that a tensor brings into a trace."""

    __slots__ = ("shape",)

    def __init__(self, x: Tensor):
        GradFn.__init__(self, x._grad_fn.title, ())
        self.shape = list(x.shape)

    def retain(self, t: Tensor) -> None:
        raise RuntimeError(
            f"retain_grad() inside a compiled function (line {user_site()}) for a tensor that was "
            f"computed outside of it (shape {self.shape}): call it outside"
        )

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(
            "backward() inside a compiled function reached a tensor that was computed outside of "
            f"it (shape {self.shape}); detach it, compute it inside, or call backward() outside"
        )


@dataclass(eq=False)
class Stream:
    """A generator within a trace. Its state at each call is an input. The program uses `count`
    numbers from there, or from the start of `seed`, if the function has set a seed.
    """

    generator: Any
    source: Input  # (seed, numbers used), int64
    seed: int | None = None
    count: int = 0

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """The seed and the position of the next `count` numbers."""
        start, self.count = self.count, self.count + count
        if self.seed is not None:
            seed = constant(signed(self.seed), int64)
            return traced(seed), traced(constant(start, int64))
        seed, used = (
            reshape(slice_(self.source.node, slices=((k, k + 1, 1),)), shape=()) for k in (0, 1)
        )
        return traced(seed), traced(used + constant(start, int64))

    def mark(self) -> tuple[int | None, int]:
        """The current position, for `restart`."""
        return self.seed, self.count

    def restart(self, position: Any) -> None:
        """Go on from a position that `mark` gave."""
        if not isinstance(position, tuple):
            raise RuntimeError(
                "set_state: within a compiled function a generator takes only states that its "
                "get_state gave there"
            )
        self.seed, self.count = position

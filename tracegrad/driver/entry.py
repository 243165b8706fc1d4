"""Entry: the program for one signature, with what its replay needs: inputs, outputs, guards and
effects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..codegen.program import Program
from ..ir.dtype import DType
from ..ir.node import Aval, Site
from ..runtime.device import Executable
from ..tracer.capture.guards import GuardSet
from ..tracer.capture.inputs import Input, Stream
from ..tracer.capture.locations import Location
from ..tracer.capture.scalar import Scalar
from ..tracer.mode import Forward
from .backward_programs import Derivative
from .lowering import Lowered
from .stages import Looked, Stage, Ways


def nobody() -> None:
    """A dead weak reference."""


class Freed(NamedTuple):
    """An output that backward cannot go through: its graph was freed inside the compiled function,
    or what it needs was changed there. It came from `sources`.
    """

    title: str
    why: str
    sources: list[Input]


@dataclass(eq=False)
class Entry:
    """One traced program of a compiled function."""

    low: Lowered
    outputs: list[Aval]
    inputs: list[Input]
    avals: list[tuple]  # of the inputs, as they were traced
    # what is returned, what the effects set, what is printed: structures in which the classes of
    # outputs.py stand for tensors
    result: tuple
    graded: list[tuple[Input, int | None]]  # (whose .grad is set, output; None: set to None)
    written: list[Input]  # changed in place
    gaining_history: dict[int, Input]  # written inputs that get a history, by output
    streams: list[Stream]  # generators whose random numbers it uses
    stages: list[Stage]  # run before the program
    looked: Looked  # after it
    way: tuple  # the answers to all questions
    constants: frozenset  # origins of the program's numbers that are questions themselves
    lines: list[str]  # the user's, of these
    first_look: Site | None  # the user's line that is the first to look at a value
    cuts: list[int]  # the number of questions before each cut
    guarded: bool  # whether Python looks at values before the program may write
    risky: list[Scalar]  # numbers whose computation may raise
    grad_presence: list[tuple[Input, bool]]  # whose .grad must be a tensor, or None
    flags: list[tuple[Input, bool]]  # requires_grad set by the function
    identities: list[tuple[Any, Any]]  # pairs that must be one object: inputs, locations, tensors
    attribute_guards: list[tuple[Input, str, Any]]  # (tensor, attribute, required value)
    numbers: list[Any]  # number arguments: the required value, or the Scalar that reads it
    scalars: list[tuple[Location, Any]]  # promoted inputs that are numbers or Unread containers
    decisions: list[tuple[Scalar, Any]]  # comparisons of these, with the required result
    effects: list[Location]  # set after the call
    guard_set: GuardSet
    derivative: Derivative | None
    freed: dict[int, Freed]  # outputs that backward cannot go through
    grad_mode: bool | Forward
    autocast: Any  # the casts that were on, or None
    default_dtype: DType
    repetition: tuple[int, ...]  # of the arguments: which are one object
    replay: Callable[..., Any] = lambda *args: None
    key: Any = None  # the signature of its calls
    siblings: list[Entry] = field(default_factory=list)  # all kept programs for this signature
    ways: Ways = field(default_factory=Ways)
    # for the fast path: the positions of tensors (None: all arguments are tensors), those of
    # numbers with their types, and the other arguments, which must be the same objects
    tensor_arguments: tuple[int, ...] | None = None
    number_arguments: tuple[tuple[int, type], ...] = ()
    fixed_arguments: tuple[tuple[int, Any], ...] = ()
    pools: list[Any] = field(default_factory=list)  # of buffers.py
    # the change counter when all guards that depend on it were last checked
    checked_at: list[int] = field(default_factory=lambda: [-1])

    @property
    def program(self) -> Program:
        return self.low.executable.program

    @property
    def executable(self) -> Executable:
        return self.low.executable

    def bound(self) -> Iterator[tuple[Executable, list[Input]]]:
        """Its segments and its program, with their inputs."""
        yield from ((stage.segment.executable, stage.inputs) for stage in self.stages)
        yield self.executable, self.inputs

    def forget_trace(self) -> None:
        """Drop the references to tensors of the trace, except captured ones."""
        d = self.derivative
        named = [i for i, _ in (*self.grad_presence, *self.graded, *self.flags)]
        named += [i for i, _, _ in self.attribute_guards]
        named += [i for freed in self.freed.values() for i in freed.sources]
        named += [i for stage in self.stages for i in stage.inputs]
        for i in (*self.inputs, *named, *((*d.wanted, *d.kept_inputs) if d else ())):
            i.forget()

    def _programs(self) -> Iterator[tuple[Executable, list[Any]]]:
        yield self.executable, self.pools
        for backward in list(self.derivative.backwards.values()) if self.derivative else ():
            yield backward.executable, backward.pools

    def memory(self) -> int:
        """The bytes that it keeps between calls: the arena, and buffers to use again."""
        return sum(e.memory() + sum(p.memory() for p in pools) for e, pools in self._programs())

    def release_memory(self) -> None:
        """Free this memory, unless a call is running. The next call allocates anew."""
        for executable, pools in self._programs():
            if executable.lock.acquire(blocking=False):
                try:
                    if not executable.busy[0]:
                        self.checked_at[0] = -1  # so the replay binds its arena again
                        executable.cool()
                        for pool in pools:
                            pool.clear()
                finally:
                    executable.lock.release()

"""Source: the text of a replay function that is being written, the names that it refers to, and the
expressions for the inputs of a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...tracer.capture.inputs import Input
from ...tracer.capture.locations import Location
from ...tracer.capture.scalar import Scalar
from ..entry import Entry
from ..places import is_apart


class Source:
    """The lines of the replay of `entry`, whose calls have `count` tensors."""

    def __init__(self, entry: Entry, count: int) -> None:
        self.entry, self.count = entry, count
        self.names: dict[str, Any] = {}
        self.lines: list[str] = []
        self.depth = 1
        self.scalars: dict[int, str] = {}  # by the id of a Scalar: the variable that holds it
        self.outputs: dict[int, str] = {}  # by number: the variable that holds an output
        self.computed: dict[int, str] = {}  # by the id of a Computed: the variable of its arrays
        self.states: list[str] = []  # the state of each generator at the start of the call
        self.undo = ""  # statements that give back the random numbers of a call that fails
        self.commits: list[str] = []  # statements for after the launches

    def name(self, prefix: str, value: Any) -> str:
        """A name by which the function refers to a value."""
        name = f"{prefix}{len(self.names)}"
        self.names[name] = value
        return name

    def add(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Within it, lines are indented under `head`."""
        self.add(head)
        self.depth += 1
        yield
        self.depth -= 1

    def text(self) -> str:
        return "def replay(args, numbers=(), retry=False):\n" + "\n".join(self.lines) + "\n"

    # ---- expressions for inputs
    def tensor(self, i: Input) -> str:
        """The tensor of an input at the call."""
        if i.kind == "grad":
            return grad_before(i.key)
        if i.kind == "location":
            return tensor_at(i)
        return f"a{i.key}" if i.kind == "argument" else self.name("tensor", i.tensor)

    def copied(self, i: Input) -> str:
        """The variable for the copy on a GPU of a tensor of the CPU; empty for other inputs."""
        apart = i.tensor is not None and is_apart(i.tensor._array, self.entry.low.place)
        return f"copy{id(i)}" if apart else ""

    def look(self, location: Location) -> str:
        """The value at a settable location."""
        holder = self.name("h", location.holder)
        if location.kind == "item" and type(location.holder) in (dict, list):
            return f"{holder}[{self.literal(location.key)}]"
        if location.kind == "cell":
            return f"{holder}.cell_contents"
        return f"{self.name('slot', location.now)}()"

    def literal(self, key: Any) -> str:
        return repr(key) if isinstance(key, (str, int)) else self.name("key", key)

    def scalar(self, s: Any) -> str:
        """The variable that holds a number. Adds the lines that compute it from its operands."""
        stack = [s]
        while stack:
            top = stack[-1]
            pending = [x for x in top._operands if type(x) is Scalar and id(x) not in self.scalars]
            if id(top) in self.scalars or not pending:
                stack.pop()
            if id(top) not in self.scalars and not pending:
                operands = [
                    self.scalars[id(x)] if type(x) is Scalar else self.name("c", x)
                    for x in top._operands
                ]
                name = f"v{len(self.scalars)}"
                self.add(f"{name} = {self.name('f', top._function)}({', '.join(operands)})")
                self.scalars[id(top)] = name
            stack.extend(pending)
        return self.scalars[id(s)]


def grad_before(owner: Input) -> str:
    """The variable for the `.grad` of an input from before the call."""
    return f"grad{id(owner)}"


def tensor_at(i: Input) -> str:
    """The variable for the tensor at a promoted location."""
    return f"tensor_at{id(i)}"


def generator_state(source: Input) -> str:
    """The variable for the state of a generator at the start of the call, kept for backward."""
    return f"state{id(source)}"

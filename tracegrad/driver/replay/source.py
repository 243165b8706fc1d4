"""Source: the text of a replay function that is being written, the names that it refers to, and how
it spells the inputs of a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...tracer.capture.locations import Location
from ...tracer.capture.scalar import Scalar
from ...tracer.capture.trace import Input
from ..entry import Entry


class Source:
    """The lines of the replay of `entry`, whose calls have `count` tensors."""

    def __init__(self, entry: Entry, count: int) -> None:
        self.entry, self.count = entry, count
        self.names: dict[str, Any] = {}
        self.lines: list[str] = []
        self.depth = 1
        self.scalars: dict[int, str] = {}  # by the id of a Scalar: the variable that holds it
        self.outputs: dict[int, str] = {}  # by its number: the variable that holds an output
        self.states: list[str] = []  # where each generator stands when the call begins
        self.undo = ""  # statements that give back the random numbers of a call that fails
        self.commits: list[str] = []  # what is changed once the launches are over

    def name(self, prefix: str, value: Any) -> str:
        """A name by which the function refers to a value."""
        name = f"{prefix}{len(self.names)}"
        self.names[name] = value
        return name

    def add(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """What is added within it is indented under `head`."""
        self.add(head)
        self.depth += 1
        yield
        self.depth -= 1

    def text(self) -> str:
        return "def replay(args, numbers=()):\n" + "\n".join(self.lines) + "\n"

    # ---- how inputs are spelt
    def tensor(self, i: Input) -> str:
        """The tensor that is this input at the call."""
        if i.kind == "grad":
            return found(i.key)
        if i.kind == "place":
            return placed(i)
        return f"a{i.key}" if i.kind == "argument" else self.name("tensor", i.tensor)

    def look(self, location: Location) -> str:
        """What is at a settable place."""
        holder = self.name("h", location.holder)
        if location.kind == "item" and type(location.holder) in (dict, list):
            return f"{holder}[{self.literal(location.key)}]"
        if location.kind == "cell":
            return f"{holder}.cell_contents"
        return f"{self.name('slot', location.now)}()"

    def literal(self, key: Any) -> str:
        return repr(key) if isinstance(key, (str, int)) else self.name("key", key)

    def scalar(self, s: Any) -> str:
        """The variable that holds a number; what it is computed from comes before."""
        waiting = [s]
        while waiting:
            one = waiting[-1]
            operands = [x for x in one._operands if type(x) is Scalar and id(x) not in self.scalars]
            if id(one) in self.scalars or not operands:
                waiting.pop()
            if id(one) not in self.scalars and not operands:
                spelt = [
                    self.scalars[id(x)] if type(x) is Scalar else self.name("c", x)
                    for x in one._operands
                ]
                name = f"v{len(self.scalars)}"
                self.add(f"{name} = {self.name('f', one._function)}({', '.join(spelt)})")
                self.scalars[id(one)] = name
            waiting.extend(operands)
        return self.scalars[id(s)]


def found(owner: Input) -> str:
    """The `.grad` that a call finds."""
    return f"found{id(owner)}"


def placed(i: Input) -> str:
    """The tensor that a call finds at a place."""
    return f"placed{id(i)}"


def drawn(source: Input) -> str:
    """What backward keeps of a generator: its state at this call."""
    return f"drawn{id(source)}"

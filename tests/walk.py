"""The walk of a call through the rooms: which function of which file runs, in order.

`python -m tests.walk` prints the walk of the first call of a training step: a line where the driver
enters another room. test_walk.py checks that the stages come one after the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import tracegrad as tg
from tracegrad import nn, optim

ROOT = Path(__file__).resolve().parents[1]
DRIVER = "tracegrad/driver"


class Step(NamedTuple):
    """A call of a function of this library, or of the user's program."""

    file: str  # from the root of the checkout; "user" and "replay" for the others
    function: str
    caller: str  # the file of the caller; "" for code of other libraries

    @property
    def room(self) -> str:
        return room_of(self.file)


def room_of(file: str) -> str:
    """The folder of a file."""
    return file.rpartition("/")[0] or file


def walk(call: Callable[[], Any]) -> list[Step]:
    """The calls of functions while `call` runs, in this thread."""
    events: list[CodeType | None] = []

    def note(frame: Any, event: str, _: Any) -> None:  # nothing impure: a function may be traced
        if event == "call":
            events.append(frame.f_code)
        elif event == "return":
            events.append(None)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(_steps(events))


def _steps(events: list[CodeType | None]) -> Iterator[Step]:
    files: dict[str, str | None] = {}
    stack: list[str | None] = []  # files of calls that have not returned; None: of other libraries
    for code in events:
        if code is None:
            if stack:
                stack.pop()
            continue
        name = code.co_filename
        if name not in files:
            files[name] = _file(name)
        if (file := files[name]) is not None:
            yield Step(file, code.co_qualname, stack[-1] or "" if stack else "")
        stack.append(file)


def _file(name: str) -> str | None:
    if name.startswith("<"):
        return "replay" if name.startswith("<tracegrad replay") else None
    path = Path(name).resolve()
    if not path.is_relative_to(ROOT) or "site-packages" in path.parts:
        return None
    relative = path.relative_to(ROOT).as_posix()
    return "user" if relative.startswith("tests/") else relative


def training_step() -> Callable[[], Any]:
    """The first call of a small training step."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @tg.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    x, y = tg.randn(6, 4), tg.randn(6, 2)
    return lambda: step(x, y)


def main() -> None:
    last = ""
    for step in walk(training_step()):
        if room_of(step.caller) == DRIVER and step.room not in (DRIVER, last):
            last = step.room
            print(f"{step.room:24} {step.function}")


if __name__ == "__main__":
    main()

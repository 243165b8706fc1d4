"""What the function of a loop does besides computing: it runs once, while it is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..mode import mode
from .body import NoLoop


def _observer() -> Any:
    trace = mode.trace
    while (outer := getattr(trace, "outer", None)) is not None:
        trace = outer
    return trace.observer


@contextmanager
def refuse_effects(name: str) -> Iterator[None]:
    """Raise if what runs within it changes objects of Python; NoLoop if it prints."""
    observer = _observer()
    if observer is None:
        yield
        return
    before, printed = observer.changes(), len(observer.printed)
    yield
    after = observer.changes()
    changed = [label for key, label in after.items() if key not in before]
    if changed:
        raise RuntimeError(
            f"{name}: the function changes {changed[0]}, but in a compiled function it runs once "
            "and not in each iteration: hand it on as a part of the carry, or keep it in a tensor "
            "that is changed in place"
        )
    if len(observer.printed) > printed:
        del observer.printed[printed:]
        raise NoLoop("the function prints")

"""What the program of a compiled function is guarded by, for tests that look at guards."""

from __future__ import annotations

from collections.abc import Callable

import tracegrad as tg


def guard_set(compiled):
    """The guards of the last program of a compiled function or Module."""
    return getattr(compiled, "forward", compiled).tracegrad_state.latest().guard_set


def guards_of(function: Callable, *args) -> tuple[list, list]:
    """The guards of its one program after a call: those checked at every call, and those checked
    when the change counter has moved.
    """
    compiled = tg.compile(function)
    compiled(*args)
    assert compiled.cache_info().misses == 1
    found = guard_set(compiled)
    return found.every_call, found.on_report


def kinds(guards: list) -> set[tuple[str, str]]:
    """(in words, kind of place) of each."""
    return {(place[0], place[1]) for place, _ in guards}

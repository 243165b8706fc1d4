"""The garbage collector rests while this package is imported. That makes many objects and no
garbage, and looking at them all time and again is a tenth of the time.

`from .import_pause import pause` makes it rest as long as that `pause` lives, which also ends
where an import fails.
"""

from __future__ import annotations

import gc


class _Pause:
    def __init__(self) -> None:
        self.was_on = gc.isenabled()
        gc.disable()

    def __del__(self) -> None:
        if self.was_on:
            gc.enable()


def __getattr__(name: str) -> _Pause:
    """A new `pause`, to which nothing here refers."""
    if name == "pause":
        return _Pause()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

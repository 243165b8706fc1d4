"""The user's list of classes and functions that `load` may use besides those of tensors.

`torch.serialization` has these names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from .unpickling import TRUSTED

_Entry = Callable | tuple[Callable, str]


def _named(entry: _Entry) -> tuple[tuple[str, str], Any]:
    """The module and name by which files say it, and the object."""
    if isinstance(entry, tuple):
        if len(entry) != 2 or not isinstance(entry[1], str):
            raise ValueError(
                f"Expected a tuple of a global and its full name, got {entry!r}"
            )
        value, path = entry
        module, _, name = path.rpartition(".")
        return (module, name), value
    if not callable(entry):
        raise TypeError(f"add_safe_globals takes classes and functions, got {entry!r}")
    return (entry.__module__, entry.__qualname__), entry


def add_safe_globals(safe_globals: Sequence[_Entry]) -> None:
    """Let `load` call these classes and functions, and set the state of their objects, though a
    file is read with `weights_only=True`. An entry is an object, or a pair of it and the name that
    the file has for it.

    Raises TypeError for an entry that cannot be called.

    >>> torch.serialization.add_safe_globals([nn.Linear])
    >>> torch.serialization.get_safe_globals() == [nn.Linear]
    True
    >>> torch.serialization.clear_safe_globals()
    """
    TRUSTED.update(map(_named, safe_globals))


def get_safe_globals() -> list[_Entry]:
    """What was added."""
    return [
        value if _named(value)[0] == key else (value, ".".join(key))
        for key, value in TRUSTED.items()
    ]


def clear_safe_globals() -> None:
    """Take all away again."""
    TRUSTED.clear()


class safe_globals:
    """`add_safe_globals` for a `with` block."""

    def __init__(self, safe_globals: Sequence[_Entry]):
        self.entries = dict(map(_named, safe_globals))

    def __enter__(self) -> Self:
        self.before = dict(TRUSTED)
        TRUSTED.update(self.entries)
        return self

    def __exit__(self, *error: object) -> None:
        TRUSTED.clear()
        TRUSTED.update(self.before)

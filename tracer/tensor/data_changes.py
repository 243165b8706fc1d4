"""Changes through `.data`, which do not count as changes of the tensor.

A version counter is a list. The version comes first, then the traces of such changes: a NewData for
each tensor whose `.data` was set, and one without a tensor if values were written through `.data`.
A saved input is the tensor itself, as in torch: backward reads what `x.data = new` gave it. The
backward of a compiled call cannot, so it compares the whole list and raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

if TYPE_CHECKING:
    from .tensor import Tensor


class NewData:
    """What the setter of `.data` gave a tensor. Each is equal to itself alone."""

    __slots__ = ("array", "node", "tensor")

    def __init__(self, t: Tensor | None):
        self.array: Any = None if t is None else t._array
        self.node: Any = None if t is None else t._node
        self.tensor = None if t is None else ref(t)


def _note(counter: list[Any], change: NewData) -> None:
    counter[1:] = [c for c in counter[1:] if c.tensor is not change.tensor] + [change]


def data_was_set(t: Tensor) -> None:
    """Note that `t` has other data now."""
    _note(t._version, NewData(t))


def follow_data(saved: Any) -> None:
    """Let a graph.Saved have what the setter of `.data` gave it since."""
    for new in saved.version_counter[1:]:
        if new.tensor is saved.tensor:
            before, now = _shape(saved), _shape(new)
            if before != now:
                raise RuntimeError(
                    f"one of the variables needed for gradient computation, of shape {[*before]}, "
                    f"was given data of shape {[*now]} since"
                )
            saved.array, saved.node = new.array, new.node


def _shape(value: Any) -> tuple[int, ...]:
    return (value.node if value.array is None else value.array).shape


def changed_since(shape: tuple[int, ...], now: list, then: list, user: str) -> RuntimeError:
    """The error of a backward that needs a tensor which was changed since the call."""
    if now[0] != then[0]:
        how = "modified by an inplace operation"
        end = f"is at version {now[0]}; expected version {then[0]} instead."
    else:
        how = "changed through `.data`"
        end = "has other values. Change it before the call, or after backward()."
    return RuntimeError(
        f"one of the variables needed for gradient computation has been {how}: a tensor of shape "
        f"{list(shape)}, used by {user}, {end}"
    )


class UncountedVersion(list):
    """The version counter of `x.data`: its changes leave the version of `x`, but also a note."""

    __slots__ = ("owner",)

    def __init__(self, owner: list):
        super().__init__([0])
        self.owner = owner

    def __setitem__(self, at: Any, value: Any) -> None:
        super().__setitem__(at, value)
        _note(self.owner, NewData(None))

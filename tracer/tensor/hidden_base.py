"""Results that an operation makes by a last movement of its own: mostly no views in torch."""

from __future__ import annotations

from .tensor import Tensor

# torch's names of the views with which some functions end
_VIEWS = ("View", "Squeeze", "Select", "Slice", "Permute", "Transpose", "TBackward", "Expand")


def cut_off_hidden_base(t: Tensor, start: int) -> None:
    """Make the result of an operation a tensor of its own if it is a view of a tensor that the
    operation, which began at the sequence number `start`, has made itself.
    """
    base = t
    while base._view is not None:
        base = base._base  # type: ignore[assignment]
    if base is t or base._grad_fn is None or base._grad_fn.sequence <= start:
        return
    if t._grad_fn.title.startswith(_VIEWS):
        return
    t._base = t._view = t._memory_location = None

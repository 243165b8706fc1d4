"""Changes through `.data`, which do not count as changes of the tensor.

A version counter is a list. The version comes first, then the traces of such changes: a NewData for
each tensor whose `.data` was set, and one without a tensor if values were written through `.data`.
A saved input is the tensor itself, as in torch: backward reads what `x.data = new` gave it. The
backward of a compiled call cannot, so it compares the whole list and raises.
"""

from __future__ import annotations

from sys import getrefcount
from typing import TYPE_CHECKING, Any
from weakref import ref

from ..mode import sequence_numbers

if TYPE_CHECKING:
    from .tensor import Tensor


class NewData:
    """What the setter of `.data` gave a tensor. Each is equal to itself alone."""

    __slots__ = ("array", "node", "sequence", "tensor")

    def __init__(self, t: Tensor | None):
        self.sequence = next(sequence_numbers)
        self.array: Any = None if t is None else t._array
        self.node: Any = None if t is None else t._node
        self.tensor = None if t is None else ref(t)


def _note(counter: list[Any], change: NewData) -> None:
    before = [c for c in counter[1:] if c.tensor is not change.tensor and not _is_forgotten(c)]
    counter[1:] = [*before, change]


def _is_forgotten(change: NewData) -> bool:
    """Whether the tensor is gone, and no autograd node saved it: nobody asks for its data."""
    gone = change.tensor is not None and change.tensor() is None
    return gone and getrefcount(change.tensor) == 2  # this call's, and that of `change`


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


# Functions of several primitives whose backward reads inputs, or outputs, in torch, and here values
# that were computed from them: by the names of their nodes.
_READS = {
    "an input": {f"{name}Backward{k}" for k in (0, 1) for name in """
        BinaryCrossEntropyWithLogits Cdist Clamp Cumprod Dist Gelu Glu Hardshrink Hardsigmoid
        Hardswish Hardtanh HuberLoss IndexReduce Ldexp LinalgCross LinalgMatrixExp LinalgVectorNorm
        LogSigmoid Logcumsumexp Logit Logsumexp Median Mish MseLoss Nanmedian NativeBatchNorm
        NativeGroupNorm NativeLayerNorm Pdist Prod Renorm ScaledDotProductFlashAttentionForCpu
        ScatterReduce Silu Sinc SmoothL1Loss SoftMarginLoss Softplus Softshrink SpecialLogNdtr Std
        StdMean Threshold Var VarMean
    """.split()},
    "an output": {f"{name}Backward{k}" for k in (0, 1) for name in """
        Cumprod IndexReduce Ldexp LinalgDet LinalgVectorNorm LogSoftmax Logcumsumexp Logsumexp Prod
        ScaledDotProductFlashAttentionForCpu ScatterReduce Softmax SpecialLogNdtr
    """.split()},
}


READ_BY_TORCH = frozenset().union(*_READS.values())
OUTPUT_READ_BY_TORCH = frozenset(_READS["an output"])


def refuse_changed_data(title: str, inputs: list, outputs: list, start: int) -> None:
    """Raise if torch would read what was changed after `start`, by the version counters."""
    for kind, versions in (("an input", inputs), ("an output", outputs)):
        for version in versions if title in _READS[kind] else ():
            # an output that was saved stays what it was if its `.data` is set
            if any(change.sequence > start and (versions is inputs or change.tensor is None)
                   for change in version[1:]):
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been changed through "
                    f"`.data`: {kind} of {title} has other values. Change it before the "
                    "operation, or after backward()."
                )


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

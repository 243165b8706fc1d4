"""Dual numbers, by the names of torch.autograd.forward_ad.

A dual tensor has an Origin in the autograd graph, to which its tangent belongs. The tangent of an
output is computed from the tangents at the Origins when it is read, exactly (see
tracer/autograd/transform.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..tracer.autograd.backward import backpropagate, filled
from ..tracer.autograd.graph import GradFn, edge
from ..tracer.autograd.transform import detached_alias, origin, reaches_outer_history
from ..tracer.mode import resolve
from ..tracer.tensor.tensor import Tensor

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual",
           "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """A value and its tangent, which is None for a tensor without one."""

    primal: Tensor
    tangent: Tensor | None


_levels: list[list[tuple[GradFn, Tensor]]] = []  # at most one; Origins and tangents


def enter_dual_level() -> int:
    """Enter a level. As in torch, levels cannot be nested."""
    if _levels:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _levels.append([])
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """Leave the level. Its dual tensors have no tangents any more."""
    if not _levels:
        raise RuntimeError("exit_dual_level was called without a dual_level")
    _levels.pop()


class dual_level:
    """Within it, duals can be made and unpacked."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *_: Any) -> None:
        exit_dual_level()


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """`tensor` with a tangent of the same shape and dtype."""
    if not _levels:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to "
            "enter_dual_level() first."
        )
    if tensor.shape != tangent.shape or tensor.dtype is not tangent.dtype:
        raise RuntimeError(
            "Expected tangent to have the shape and dtype of the primal, got "
            f"{list(tangent.shape)} {tangent.dtype} for {list(tensor.shape)} {tensor.dtype}"
        )
    dual = origin(tensor)
    _levels[-1].append((dual._grad_fn, resolve(tangent)))
    return dual


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The value and the tangent of a tensor."""
    y = resolve(tensor)
    if not _levels or y._grad_fn is None:
        return UnpackedDualTensor(tensor, None)
    origins = [fn for fn, _ in _levels[-1]]
    u = origin(filled(y.shape, y._dtype, 0.0))
    pulled = backpropagate([(y._grad_fn, u)], origins, True, True)
    roots = [
        (g._grad_fn, t)
        for g, (_, t) in zip(pulled, _levels[-1], strict=True)
        if g is not None and g._grad_fn is not None
    ]
    if not roots:
        return UnpackedDualTensor(detached_alias(y), None)
    (tangent,) = backpropagate(roots, [u._grad_fn], True, True)
    if tangent is not None and not reaches_outer_history([edge(tangent)], {*origins, u._grad_fn}):
        tangent = detached_alias(tangent)
    return UnpackedDualTensor(detached_alias(y), tangent)

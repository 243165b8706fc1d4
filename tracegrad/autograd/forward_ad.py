"""Dual numbers, by the names of torch.autograd.forward_ad.

A dual tensor has an Origin in the autograd graph, to which its tangent belongs. The tangent of an
output is computed from the tangents at the Origins when it is read, exactly (see
tracer/autograd/transform.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..tracer.autograd.backward import backpropagate, filled_like
from ..tracer.autograd.graph import GradFn, edge
from ..tracer.autograd.transform import STOPPED, detached_alias, origin, reaches_outer_history
from ..tracer.mode import Forward, is_grad_enabled, mode, resolve
from ..tracer.tensor.tensor import Tensor

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual",
           "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """A value and its tangent, which is None for a tensor without one."""

    primal: Tensor
    tangent: Tensor | None


class _Level:
    """The Origins and tangents of a level. Within it operations run in forward mode, as in
    `func.jvp`: `no_grad` stops no tangent.
    """

    def __init__(self) -> None:
        self.duals: list[tuple[GradFn, Tensor]] = []
        self.before, self.enabled, self.stopped = mode.grad, is_grad_enabled(), mode.stopped
        mode.grad, mode.stopped = Forward(self.enabled), not self.enabled

    def leave(self) -> None:
        enabled = is_grad_enabled()
        mode.grad = Forward(enabled) if isinstance(self.before, Forward) else enabled
        mode.stopped = self.stopped or mode.stopped


_levels: list[_Level] = []  # at most one


def enter_dual_level() -> int:
    """Enter a level. As in torch, levels cannot be nested."""
    if _levels:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _levels.append(_Level())
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """Leave the level. Its dual tensors have no tangents any more."""
    if not _levels:
        raise RuntimeError("exit_dual_level was called without a dual_level")
    if is_grad_enabled() != _levels[-1].enabled:  # what changed it would restore the forward mode
        raise RuntimeError("leave a dual_level in the grad mode in which it was entered")
    _levels.pop().leave()


class dual_level:
    """Within it, duals can be made and unpacked."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *_: Any) -> None:
        if _levels:  # what changed the grad mode within a block has ended, or restores nothing
            _levels[-1].enabled = is_grad_enabled()
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
    _levels[-1].duals.append((dual._grad_fn, resolve(tangent)))
    return dual


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The value and the tangent of a tensor."""
    y = resolve(tensor)
    if not _levels or y._grad_fn is None:
        return UnpackedDualTensor(tensor, None)
    duals = _levels[-1].duals
    origins = [fn for fn, _ in duals]
    if mode.stopped and reaches_outer_history([y._grad_fn], {*origins}):
        raise NotImplementedError(STOPPED)
    u = origin(filled_like(y, 0.0))
    pulled = backpropagate([(y._grad_fn, u)], origins, True, True)
    roots = [
        (g._grad_fn, t)
        for g, (_, t) in zip(pulled, duals, strict=True)
        if g is not None and g._grad_fn is not None
    ]
    if not roots:
        return UnpackedDualTensor(detached_alias(y), None)
    (tangent,) = backpropagate(roots, [u._grad_fn], True, True)
    if tangent is not None and not reaches_outer_history([edge(tangent)], {*origins, u._grad_fn}):
        tangent = detached_alias(tangent)
    return UnpackedDualTensor(detached_alias(y), tangent)

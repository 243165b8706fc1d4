"""Names of torch.optim.optimizer that optimizers of others import."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from ..tracer.mode import mode, set_grad_enabled
from ..tracer.tensor.tensor import Tensor

ParamsT = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
_params_t = ParamsT


class _Required:
    """The default of an option that must be given."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def _use_grad_for_differentiable(func: Callable) -> Callable:
    """A step that is recorded where the optimizer is differentiable."""

    @wraps(func)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        with set_grad_enabled(bool(self.defaults["differentiable"])):
            return func(self, *args, **kwargs)

    return step


def _default_to_fused_or_foreach(params: list[Tensor], differentiable: bool,
                                 use_fused: bool = False) -> tuple[bool, bool]:
    """Whether torch would take a fused step, and lists: on a GPU."""
    if differentiable:
        return False, False
    fused = use_fused and all(p is None or p.dtype.is_floating_point for p in params)
    return fused, not fused and all(p is None or p.is_cuda for p in params)


def _get_capturable_supported_devices(supports_xla: bool = True) -> list[str]:
    return ["cuda"]


def _get_value(x: Any) -> Any:
    return x.item() if isinstance(x, Tensor) and mode.trace is None else x

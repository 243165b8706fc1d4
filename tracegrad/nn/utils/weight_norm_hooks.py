"""torch.nn.utils.weight_norm, the older way: a hook computes the weight before every call."""

from __future__ import annotations

import warnings
from typing import Any

from ...tracer.tensor.tensor import Tensor
from ..module import Module
from ..parameter import Parameter
from .parametrizations import norm_except_dim

__all__ = ["WeightNorm", "remove_weight_norm", "weight_norm"]


class WeightNorm:
    """The hook: weight = weight_v * (weight_g / its norm)."""

    def __init__(self, name: str, dim: int | None):
        self.name, self.dim = name, -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Tensor:
        g, v = (getattr(module, f"{self.name}_{x}") for x in "gv")
        return v * (g / norm_except_dim(v, self.dim))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))

    def remove(self, module: Module) -> None:
        """Make an ordinary parameter again, with the present weight."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        for x in "gv":
            delattr(module, f"{self.name}_{x}")
        setattr(module, self.name, Parameter(weight.detach()))

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Take the parameter apart and hang the hook on the module."""
        for hook, _ in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm) and hook.name == name:
                raise RuntimeError(
                    f"Cannot register two weight_norm hooks on the same parameter {name}"
                )
        new, weight = WeightNorm(name, dim), getattr(module, name)
        length = norm_except_dim(weight, new.dim).detach()
        del module._parameters[name]
        module.register_parameter(f"{name}_g", Parameter(length))
        module.register_parameter(f"{name}_v", Parameter(weight.data))
        setattr(module, name, new.compute_weight(module))
        module.register_forward_pre_hook(new)
        return new


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train length and direction of a weight apart, as parameters `weight_g` and `weight_v`;
    `nn.utils.parametrizations.weight_norm` is the newer form. Returns the module.

    Raises RuntimeError if the weight has a hook already.

    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     layer = nn.utils.weight_norm(nn.Linear(4, 2))
    >>> list(layer.state_dict())
    ['bias', 'weight_g', 'weight_v']
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of "
        "`torch.nn.utils.parametrizations.weight_norm`.", FutureWarning, 2,
    )
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight an ordinary parameter again. Returns the module; raises ValueError if it has
    no weight norm.
    """
    for key, (hook, _) in module._forward_pre_hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")

"""torch.nn.utils.init: a module whose initial values do not matter."""

from __future__ import annotations

from typing import Any

from ...tracer.tensor.generator import fork_rng
from ..module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: type, *args: Any, **kwargs: Any) -> Module:
    """A module whose values will be set by the caller; no random numbers are used up.

    Raises RuntimeError for a class that is no Module.

    >>> nn.utils.skip_init(nn.Linear, 2, 3)
    Linear(in_features=2, out_features=3, bias=True)
    """
    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    with fork_rng():
        return module_cls(*args, **kwargs)
